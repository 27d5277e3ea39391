"""The command that makes files of pre-training examples. Imports nothing heavy until it is needed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from pipeline import pipeline_options
from pipeline.flags import (
    BOOLEAN,
    DASHES_OR_UNDERSCORES,
    NO_EFFECT,
    ScriptCommand,
    files,
    flag_of,
    is_remote,
    named_as_flags,
    parts,
    remote_files,
    settings_of,
    unsupported,
)

if TYPE_CHECKING:
    import pydantic
    import rich.console

    from albert_model.text.tokenizer import Tokenizer
    from pipeline.example_files import Job, Tell

_EXAMPLE_SETTINGS = (
    *("max_seq_length", "max_predictions_per_seq", "masked_lm_prob", "ngram", "favor_shorter_ngram"),
    *("do_whole_word_mask", "short_seq_prob", "dupe_factor", "random_seed", "single_sentence"),
)
_DOCUMENT_SETTINGS = ("sentences", "language", "invalid_utf8", "max_sentences_per_document")
# Those names in a pipeline's settings.
_KEYS = (*(f"corpus.{name}" for name in _DOCUMENT_SETTINGS), *(f"examples.{name}" for name in _EXAMPLE_SETTINGS))
# Text, times copies, of which one process makes examples in some minutes.
_MUCH_TEXT = 40 * 64 * 10**6
_ALL_PROCESSORS = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=0")
_SECONDS_BETWEEN_LINES = 30  # of progress, where it is not shown on a terminal


# === Flags ===


class _Command(ScriptCommand):
    """With --runner, it takes the flags of Beam too."""

    after = "layout"
    quoted = "--input_file='data/*.txt'"

    def flags_of_settings(self) -> tuple[click.Option, ...]:
        return _flags_of_settings()

    def takes_others(self, arguments: list[str]) -> bool:
        return any(re.match(r"--?runner(=|$)", argument) for argument in arguments)


@functools.cache
def _flags_of_settings() -> tuple[click.Option, ...]:
    from albert_model.text.documents import DocumentSettings
    from albert_model.text.settings import ExampleSettings

    return tuple(
        flag_of(settings, name)
        for settings, names in ((ExampleSettings, _EXAMPLE_SETTINGS), (DocumentSettings, _DOCUMENT_SETTINGS))
        for name in names
    )


@click.command(
    "create-pretraining-data",
    cls=_Command,
    context_settings=DASHES_OR_UNDERSCORES,
)
@click.option(
    "--input_file",
    "patterns",
    multiple=True,
    required=True,
    metavar="PATTERN",
    help="Text, UTF-8, plain or .gz: one sentence per line, a blank line between documents. A file or pattern, several "
    "separated by commas, or the flag several times.",
)
@click.option(
    "--output_file",
    "outputs",
    required=True,
    metavar="FILE",
    help="TFRecord file to write; several, separated by commas, get about equal parts.",
)
@click.option(
    "--spm_model_file", metavar="FILE", help="SentencePiece model, as 30k-clean.model. Goes before --vocab_file."
)
@click.option("--vocab_file", metavar="FILE", help="WordPiece vocabulary, as vocab.txt.")
@click.option(
    "--do_lower_case",
    default=True,
    show_default=True,
    help="Lower-case the text, as for all uncased models.",
    **BOOLEAN,
)
@click.option("--meta_data_file_path", "metadata", metavar="FILE", help="JSON for ALBERT-TF2.0's run_pretraining.py.")
@click.option(
    "--layout",
    type=click.Choice(("padded", "compact")),
    default="padded",
    show_default=True,
    help="padded: the features of the original, all of one length. compact: those of this project's pipeline.",
)
@click.option(
    "--random_next_sentence",
    **unsupported("it pairs text with that of another document, which is no question of order."),
)
@click.option("--do_permutation", **unsupported("an experiment that the paper does not speak of."))
@click.option("--input_file_mode", **NO_EFFECT)
@click.option("--parallel", **NO_EFFECT, **BOOLEAN)
@click.option("--overwrite", is_flag=True, help="Replace files that are there; once the new ones are complete.")
@click.option(
    "--runner",
    metavar="RUNNER",
    help="Run on Beam: DirectRunner, FnApiRunner, DataflowRunner … All further flags that are not listed here are "
    "Beam's. By default one process does it; above 64 MB of text (at 40 copies) Beam does, on all processors.",
)
@pipeline_options.debug
@click.pass_context
def create_pretraining_data(context: click.Context, debug: bool, **said: Any) -> None:
    """Makes text into files of pre-training examples, as ALBERT-TF2.0's create_pretraining_data.py.

    The flags are those of that script and of google-research/albert's, also written -flag, --noflag, --flag=false and
    with dashes. The same text, vocabulary and settings give the same bytes, whatever the order of files and the runner.

    Nothing appears under the names of the outputs before everything is complete.

    \b
    Examples:
      albert create-pretraining-data --input_file='data/*.txt' --output_file=processed/train.tf_record \\
        --spm_model_file=base/vocab/30k-clean.model --meta_data_file_path=processed/train_meta_data
      albert create-pretraining-data --input_file=corpus.txt.gz --output_file=a.tfrecord,b.tfrecord \\
        --vocab_file=vocab.txt --max_seq_length=128 --dupe_factor=5 --nodo_lower_case
      albert create-pretraining-data --input_file='gs://texts/*.txt' --output_file=gs://records/train.tf_record \\
        --spm_model_file=30k-clean.model --runner=DataflowRunner --project=mine --region=europe-west4
    """
    from pipeline.console import errors_in_a_line, quietly

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that nothing half-written stays
    with errors_in_a_line(debug), _standard_error() as terminal, quietly() as console, named_as_flags(_KEYS):
        _run(console, terminal, context.args, **said)


# === What is asked for ===


def _run(
    console: rich.console.Console,
    terminal: TextIO,
    beam_options: list[str],
    patterns: tuple[str, ...],
    outputs: str,
    metadata: str | None,
    overwrite: bool,
    runner: str | None,
    **said: Any,
) -> None:
    start = time.monotonic()
    job = _job(patterns, outputs, **said)
    finals = [*job.outputs, *([metadata] if metadata else [])]
    _check_outputs(finals, job.inputs, overwrite)
    options = _beam_options(console, runner, beam_options, job, finals)
    counts = _write_on_beam(job, finals, options, terminal) if options else _write_here(job, finals, terminal)
    _sum_up(console, counts, job, finals, time.monotonic() - start)


def _beam_options(
    console: rich.console.Console, runner: str | None, others: list[str], job: Job, finals: list[str]
) -> list[str]:
    """What Beam is run with; empty where one process does it."""
    from pipeline.example_files import text_bytes

    if runner:
        return [f"--runner={runner}", *others]
    if any(map(is_remote, (*job.inputs, *finals))):
        console.print("Not all files are on this machine, so Beam makes the examples. --runner says where.")
        return list(_ALL_PROCESSORS)
    if text_bytes(job.inputs) * job.examples.dupe_factor > _MUCH_TEXT and (os.cpu_count() or 1) > 1:
        console.print("Much text, so Beam makes the examples, on all processors. --runner says otherwise.")
        return list(_ALL_PROCESSORS)
    return []


def _write_here(job: Job, finals: list[str], terminal: TextIO) -> Counter[str]:
    from pipeline import example_files

    with example_files.written_aside([Path(path) for path in finals]) as aside, _progress(terminal) as tell:
        counts = example_files.write_examples(job, aside[: len(job.outputs)], tell)
        _check_counts(counts, job)
        for path in aside[len(job.outputs) :]:
            path.write_text(example_files.metadata(counts["examples"], job.examples))
    return counts


def _write_on_beam(job: Job, finals: list[str], options: list[str], terminal: TextIO) -> Counter[str]:
    with _progress(terminal) as tell:
        tell("starting Beam", 0, 0)
        import tensorflow as tf

        from pipeline import example_files, example_files_on_beam

        tell("starting Beam", 1, 1)
        job = dataclasses.replace(job, inputs=tuple(map(_absolute, job.inputs)))
        with _errors_of_workers(), example_files_on_beam.written_aside(list(map(_absolute, finals))) as aside:
            counts = example_files_on_beam.write_examples(job, aside[: len(job.outputs)], options, tell)
            _check_counts(counts, job)
            for path in aside[len(job.outputs) :]:
                with tf.io.gfile.GFile(path, "w") as file:
                    file.write(example_files.metadata(counts["examples"], job.examples))
    return counts


def _absolute(path: str) -> str:
    """Workers may have another working directory."""
    return path if is_remote(path) else os.path.abspath(path)


@contextlib.contextmanager
def _errors_of_workers() -> Iterator[None]:
    """Gives what a user can mend as it was raised, not as Beam passes it on."""
    from albert_model.errors import InputError
    from pipeline.local_runner import user_error

    try:
        yield
    except Exception as error:
        if str(error).startswith(KeyboardInterrupt.__name__):
            raise KeyboardInterrupt from error
        if known := user_error(error):
            raise InputError(str(known).replace("root or of push.destination", "--output_file")) from error
        raise


def _job(
    patterns: tuple[str, ...],
    outputs: str,
    spm_model_file: str | None,
    vocab_file: str | None,
    do_lower_case: bool,
    layout: Any,
    **said: Any,
) -> Job:
    from albert_model.text.documents import DocumentSettings
    from albert_model.text.settings import ExampleSettings
    from pipeline.example_files import Job

    return Job(
        inputs=files("--input_file", patterns, ".txt"),
        outputs=tuple(parts(outputs)),
        documents=_checked(DocumentSettings, {name: said[name] for name in _DOCUMENT_SETTINGS}),
        examples=_checked(ExampleSettings, {name: said[name] for name in _EXAMPLE_SETTINGS}),
        tokenizer=_tokenizer(spm_model_file, vocab_file, do_lower_case),
        layout=layout,
    )


def _checked(kind: type[pydantic.BaseModel], values: dict[str, Any]) -> Any:
    return settings_of(kind, values, "create-pretraining-data")


def _tokenizer(spm_model_file: str | None, vocab_file: str | None, do_lower_case: bool) -> Tokenizer:
    from albert_model.errors import InputError
    from albert_model.text.tokenizer import Tokenizer

    path = spm_model_file or vocab_file
    if not path:
        raise click.UsageError("Say --spm_model_file (SentencePiece, *.model) or --vocab_file (WordPiece).")
    if path.endswith(".vocab"):
        raise InputError(f"{path}: is the list of a SentencePiece model's pieces. Give the model: --spm_model_file")
    if spm_model_file and not path.endswith(".model"):
        raise InputError(f"--spm_model_file: {path} should be a SentencePiece model, whose name ends in .model.")
    return Tokenizer.from_file(path, do_lower_case)


def _check_outputs(finals: list[str], inputs: tuple[str, ...], overwrite: bool) -> None:
    """Raises InputError before any work is done."""
    from albert_model.errors import InputError

    for path in finals:
        if Path(path).is_dir():
            raise InputError(f"--output_file: {path} is a folder. Name a file in it.")
        if finals.count(path) > 1:
            raise InputError(f"--output_file: {path} is named twice.")
        if not (remote_files(path) if is_remote(path) else Path(path).exists()):
            continue
        if any(path == text or _is_same_file(path, text) for text in inputs):
            raise InputError(f"--output_file: {path} is one of the input files.")
        if not overwrite:
            raise InputError(f"--output_file: {path} is there already. Say --overwrite to replace it.")


def _is_same_file(path: str, other: str) -> bool:
    return Path(path).exists() and Path(other).exists() and Path(path).samefile(other)


def _check_counts(counts: Counter[str], job: Job) -> None:
    from albert_model.errors import InputError

    where = job.inputs[0] if len(job.inputs) == 1 else f"{job.inputs[0]} and {len(job.inputs) - 1} more"
    if not counts["documents"]:
        raise InputError(f"{where}: no text. Write one sentence per line, a blank line between documents.")
    if not counts["examples"]:
        remedy = "Say --single_sentence=split." if counts["single_sentence_chunks"] else "Is it text?"
        raise InputError(
            f"{where}: no example could be made of {counts['documents']:,} documents "
            f"({', '.join(_left_out(counts)) or 'each has less than two words'}). {remedy}"
        )


# === What is told ===


_LEFT_OUT = {
    "duplicate_documents": "duplicate documents",
    "empty_documents": "documents without a piece",
    "empty_sentences": "sentences without a piece",
    "single_sentence_chunks": "chunks of one sentence",
    "invalid_utf8_lines": "lines that are not UTF-8",
}
_NOTED = {
    "replaced_utf8_lines": "lines that are not UTF-8 have U+FFFD where they cannot be read",
    "cut_documents": "times a document was cut, as it has more sentences than --max_sentences_per_document",
    "long_sentences": "sentences are longer than an example and were broken between words",
}


def _left_out(counts: Counter[str]) -> list[str]:
    return [f"{counts[key]:,} {words}" for key, words in _LEFT_OUT.items() if counts[key]]


def _sum_up(console: rich.console.Console, counts: Counter[str], job: Job, finals: list[str], seconds: float) -> None:
    def tell(line: str) -> None:
        console.print(line, markup=False)

    examples, copies = counts["examples"], job.examples.dupe_factor
    tell(
        f"{examples:,} examples of {counts['documents']:,} documents, {copies} {'copy' if copies == 1 else 'copies'}, "
        f"in {seconds:.0f} s ({examples / seconds:,.0f} examples/s)"
    )
    tell(f"  left out: {', '.join(_left_out(counts)) or 'nothing'}")
    for key, words in _NOTED.items():
        if counts[key]:
            tell(f"  {counts[key]:,} {words}")
    if halves := examples - counts["ordered"]:
        tell(f"  {halves / examples:.1%} of the pairs are two parts of one sentence, in order (--single_sentence)")
    tell(
        f"  swapped: {counts['swapped'] / examples:.1%}; predictions: {counts['predictions'] / examples:.1f} an example"
    )
    if job.layout == "padded":
        tell(f"  padding: {1 - counts['tokens'] / (examples * job.examples.max_seq_length):.1%} of all positions")
    for path in finals:
        tell(f"{path}: {Path(path).stat().st_size / 1e6:,.1f} MB" if Path(path).exists() else path)


@contextlib.contextmanager
def _standard_error() -> Iterator[TextIO]:
    """What standard error is now, wherever it is sent later."""
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as stream:
        yield stream


@contextlib.contextmanager
def _progress(stream: TextIO) -> Iterator[Tell]:
    """Shows progress: as bars on a terminal, else as a line now and then."""
    import rich.console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = rich.console.Console(file=stream)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    time_columns = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
    progress = Progress(*columns, *time_columns, console=console, transient=True)
    interval = 0.2 if console.is_terminal else _SECONDS_BETWEEN_LINES
    with progress if console.is_terminal else contextlib.nullcontext():
        yield _told_now_and_then(progress, interval, console)


def _told_now_and_then(progress: Any, interval: float, console: rich.console.Console) -> Tell:
    tasks: dict[str, Any] = {}
    next_time = time.monotonic() + interval

    def tell(step: str, done: int, total: int) -> None:
        nonlocal next_time
        if step not in tasks:
            tasks[step] = progress.add_task(step)
        if done < total and time.monotonic() < next_time:
            return
        next_time = time.monotonic() + interval
        progress.update(tasks[step], completed=done, total=total or None)
        if not console.is_terminal and done < total:
            console.print(progress.get_renderable())

    return tell
