"""The commands on weights: convert, inspect, parity. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import pipeline_options

if TYPE_CHECKING:
    import rich.console

    from albert_model.weights.conversion import Conversion
    from albert_model.weights.parity import Comparison, Difference, Report
    from albert_model.weights.settings import ReadOptions
    from albert_model.weights.source import Source

TARGETS = ("keras_h5", "tf2_checkpoint", "saved_model", "huggingface", "tf1_checkpoint", "package")
_SIZES = ("base", "large", "xlarge", "xxlarge")
_ACTIVATIONS = ("gelu", "gelu_erf", "relu")
_MODEL_TYPES = ("albert_encoder", "albert")

_M_MMAP_THRESHOLD = -3  # of <malloc.h>

_DASHES_OR_UNDERSCORES = {"token_normalize_func": lambda name: name.replace("_", "-")}


def _source_options(command: Callable) -> Callable:
    """What can be said of a source."""
    for option in reversed(
        [
            click.option("--config", type=click.Path(), metavar="FILE", help="albert_config.json, if it has none."),
            click.option("--model", type=click.Choice(_SIZES), help="A released model's config, in place of --config."),
            click.option("--version", type=click.IntRange(1, 3), default=2, help="Of a released model; 1 has dropout."),
            click.option(
                "--hidden-act", type=click.Choice(_ACTIVATIONS), help="In place of the config's; gelu is the tanh form."
            ),
            click.option("--sha256", metavar="HEX", help="Of SOURCE, if that is a file: checked before it is opened."),
            click.option("--any-vocabulary", is_flag=True, help="Take a vocabulary that is not what it seems to be."),
        ]
    ):
        command = option(command)
    return command


def _read_options(**said: Any) -> ReadOptions:
    import pydantic

    from albert_model.config import describe
    from albert_model.errors import InputError
    from albert_model.weights.settings import ReadOptions

    try:
        return ReadOptions(**said)
    except pydantic.ValidationError as error:
        raise InputError(f"options: {describe(error)}") from error


def _return_memory() -> None:
    """Makes memory that was freed return to the system, else a large model is there many times over."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow's allocator for oneDNN gives nothing back
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):  # glibc; else it would come to keep arrays of up to 32 MiB
        libc.mallopt(_M_MMAP_THRESHOLD, 2**20)


def _told(command: Callable) -> Callable:
    """Runs a command with a console, and tells errors in a line."""

    @functools.wraps(command)
    def wrapped(*args: Any, debug: bool, **kwargs: Any) -> None:
        _return_memory()
        from pipeline.console import errors_in_a_line, quietly

        with errors_in_a_line(debug), quietly() as console:
            command(console, *args, **kwargs)

    return pipeline_options.debug(wrapped)


# === convert ===


@click.command(context_settings=_DASHES_OR_UNDERSCORES)
@click.argument("source", required=False)
@click.option(
    "--to",
    "targets",
    type=click.Choice(TARGETS),
    multiple=True,
    help="Format to write; several times for several, each in a folder of its name then.",
)
@click.option("--output", type=click.Path(), metavar="DIR", help="Folder to write to.")
@click.option(
    "--model-type",
    type=click.Choice(_MODEL_TYPES),
    help="albert_encoder: for fine-tuning, without heads. albert: with both heads, a fresh one where SOURCE has none. "
    "By default what SOURCE has, and both heads if it has one.",
)
@_source_options
@click.option("--overwrite", is_flag=True, help="Replace what is in the output folder under the same names.")
@click.option("--manifest", type=click.Path(), metavar="FILE", help="YAML list of models, in place of SOURCE.")
@click.option("--tf-hub-path", type=click.Path(), metavar="DIR", help="As in ALBERT-TF2.0's converter.py: see above.")
@_told
def convert(
    console: rich.console.Console,
    source: str | None,
    targets: tuple[str, ...],
    output: str | None,
    model_type: str | None,
    overwrite: bool,
    manifest: str | None,
    tf_hub_path: str | None,
    **said: Any,
) -> None:
    """Converts a model, and proves that the result computes the same.

    SOURCE is a folder, file, checkpoint prefix, archive (.tar.gz, .zip) or address of a TF-Hub module, a SavedModel, a
    TF1 or TF2 checkpoint, a Hugging Face folder, an H5 file of ALBERT-TF2.0 or an encoder package; of ALBERT or BERT.

    If anything is left unread, does not fit, or does not compute the same, nothing is written. The output folder
    has `conversion.json` (what was read and written) and `parity.json` (the proof).

    With --tf-hub-path, as ALBERT-TF2.0's converter.py: leaves tf2_model.h5 (albert_encoder, the default) or
    tf2_model_full.h5 (albert), config.json and vocab/ in the module's own folder.

    \b
    Examples:
      albert convert albert_base_v2.tar.gz --to huggingface --output albert-base-v2
      albert convert albert_base/ --to keras_h5 --to saved_model --output converted
      albert convert my.ckpt-1000 --config albert_config.json --to package --output encoder
      albert convert --manifest configs/conversions/small_berts.yaml --to huggingface --output small-berts
      albert convert --tf_hub_path=base/ --model_type=albert_encoder --version=2 --model=base
    """
    if sum(given is not None for given in (source, manifest, tf_hub_path)) != 1:
        raise click.UsageError("Give one of SOURCE, --manifest and --tf-hub-path. albert convert --help has examples.")
    if tf_hub_path is not None:
        if targets or output:
            raise click.UsageError("--tf-hub-path writes to its own folder: leave out --to and --output.")
        _convert_in_place(console, Path(tf_hub_path), model_type or "albert_encoder", _read_options(**said))
        return
    if not targets or not output:
        raise click.UsageError(f"Say --to ({', '.join(TARGETS)}) and --output.")
    if manifest is not None:
        if _read_options(**said) != _read_options():
            raise click.UsageError("With --manifest, say in the list what is to be said of a source.")
        _convert_all(console, manifest, targets, Path(output), model_type, overwrite)
        return
    assert source is not None
    _show_result(console, _convert(source, targets, Path(output), model_type, _read_options(**said), overwrite))


def _convert(
    source: str,
    targets: tuple[str, ...],
    output: Path,
    model_type: Any,
    options: ReadOptions,
    overwrite: bool,
    keep: Callable[[Path], bool] = lambda _: True,
) -> Conversion:
    from albert_model.weights import conversion

    return conversion.convert(source, targets, output, model_type, options, overwrite, keep)


def _convert_in_place(console: rich.console.Console, folder: Path, model_type: str, options: ReadOptions) -> None:
    from albert_model.weights import hub_module, keras_h5

    if not hub_module.is_one(folder):
        raise click.UsageError(
            f"--tf-hub-path {folder}: holds no TF-Hub module (saved_model.pb, tfhub_module.pb). For other sources: "
            "albert convert SOURCE --to keras_h5 --output DIR"
        )
    unwanted = keras_h5.FULL_FILE if model_type == "albert_encoder" else keras_h5.ENCODER_FILE
    done = _convert(str(folder), ("keras_h5",), folder, model_type, options, True, lambda path: path.name != unwanted)
    _show_result(console, done)


def _show_result(console: rich.console.Console, done: Conversion) -> None:
    _show_comparisons(console, done.parity.comparisons, with_layers=False)
    for note in done.manifest["source"]["notes"]:
        console.print(f"Note: {note}.", markup=False)
    if done.manifest["source"]["left_out"]:
        console.print(f"Left out, no part of the model: {len(done.manifest['source']['left_out'])} arrays.")
    if done.manifest["initialised"]:
        parts = " and ".join(_PARTS[part] for part in done.manifest["initialised"])
        console.print(f"Not in the source and freshly initialised: {parts}. Train it before you rely on it.")
    if done.manifest["vocabulary"] is None:
        console.print("Note: no vocabulary was found with the source, so there is none with the result.")
    console.print(f"Converted and proven: {done.output}", markup=False)


_PARTS = {"encoder": "encoder", "pooler": "pooler", "mlm": "masked-language-model head", "sop": "sentence-order head"}


# === A list of models ===


def _convert_all(
    console: rich.console.Console,
    manifest: str,
    targets: tuple[str, ...],
    output: Path,
    model_type: str | None,
    overwrite: bool,
) -> None:
    import rich.table

    from albert_model.errors import InputError
    from albert_model.weights import conversion
    from pipeline.console import words_of
    from pipeline.conversion_list import read_conversion_list

    table = rich.table.Table("model", "kind", "L", "H", "parameters", "gap in float64", "result", "time", box=None)
    models = read_conversion_list(manifest)
    failed = 0
    for number, entry in enumerate(models, 1):
        console.print(f"{entry.name} ({number} of {len(models)})", markup=False)
        folder, start = output / entry.name, time.perf_counter()
        if not overwrite and _is_done(folder / conversion.MANIFEST, entry.source, targets):
            table.add_row(entry.name, *[""] * 5, "there already", "")
            continue
        try:
            kind = model_type or entry.model_type
            done = _convert(entry.source, targets, folder, kind, entry, overwrite)
        except (InputError, OSError, RuntimeError) as error:
            failed += 1
            console.print(f"  {words_of(error)}", markup=False, style="red")
            table.add_row(entry.name, *[""] * 5, "failed", f"{time.perf_counter() - start:.0f} s")
            continue
        table.add_row(entry.name, *_figures(done), "proven", f"{time.perf_counter() - start:.0f} s")
    console.print(table)
    if failed:
        raise InputError(f"{failed} of {len(models)} models failed; the others are in {output}.")


def _is_done(manifest: Path, source: str, targets: tuple[str, ...]) -> bool:
    """Whether this was converted before."""
    if not manifest.is_file():
        return False
    values = json.loads(manifest.read_text())
    return (values["source"]["name"], values["targets"]) == (source, list(targets))


def _figures(done: Conversion) -> tuple[str, ...]:
    config = done.manifest["config"]
    exact = next(c for c in done.parity.comparisons if c.first == "converted, float64")
    return (
        config["architecture"],
        str(config["num_hidden_layers"]),
        str(config["hidden_size"]),
        f"{done.manifest['parameters']:,}",
        f"{max(difference.max_abs for difference in exact.differences):.1e}",
    )


# === inspect ===


@click.command(context_settings=_DASHES_OR_UNDERSCORES)
@click.argument("source")
@_source_options
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@_told
def inspect(console: rich.console.Console, source: str, as_json: bool, **said: Any) -> None:
    """Tells what a model is: format, architecture, size, heads, variables, vocabulary, fingerprint.

    Reads every weight, so that a damaged file is found.

    \b
    Examples:
      albert inspect albert_base_v2.tar.gz
      albert inspect encoders/3 --json
    """
    from albert_model.weights.inspection import inspect as inspect_source
    from albert_model.weights.source import opened

    with opened(source, _read_options(**said)) as read:
        found = inspect_source(read)
    if as_json:
        console.print(json.dumps(found, indent=2), markup=False)
        return
    import rich.markup
    import rich.table

    variables = found.pop("variables")
    table = rich.table.Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in found.items():
        table.add_row(key, rich.markup.escape(_readable(value)))
    console.print(table)
    listing = rich.table.Table("variable", "shape", "part", box=None, padding=(0, 2, 0, 0))
    for variable in variables:
        listing.add_row(variable["name"], " × ".join(map(str, variable["shape"])), variable["part"])
    console.print()
    console.print(listing)


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_readable(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


# === parity ===


@click.command(context_settings=_DASHES_OR_UNDERSCORES)
@click.argument("sources", nargs=-1, required=True, metavar="A B [C]")
@_source_options
@click.option("--output", type=click.Path(), metavar="FILE", help="Write the whole report there, in JSON.")
@_told
def parity(console: rich.console.Console, sources: tuple[str, ...], output: str | None, **said: Any) -> None:
    """Says whether two or three models compute the same, and if not, why.

    Each runs by itself where it can (TF-Hub module, SavedModel, transformers if installed), else its weights run in an
    independent implementation in float64. Of three, the one that disagrees is named. The exit status is 1 if they
    do not compute the same.

    \b
    Examples:
      albert parity albert_base_v2.tar.gz albert-base-v2/
      albert parity bert_model.ckpt small_bert/ converted/ --output parity.json
    """
    if len(sources) not in (2, 3):
        raise click.UsageError(f"Give two or three models, not {len(sources)}.")
    from albert_model.weights import parity as parities

    options = _read_options(**said)
    with _all_opened(sources, options) as read:
        report = parities.compare_sources(read)
    _show_comparisons(console, report.comparisons, with_layers=True)
    if output:
        Path(output).write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    _give_verdict(console, report)


@contextlib.contextmanager
def _all_opened(names: tuple[str, ...], options: ReadOptions) -> Iterator[list[Source]]:
    from albert_model.weights.source import opened

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(opened(name, options)) for name in names]


def _give_verdict(console: rich.console.Console, report: Report) -> None:
    for cause in report.causes:
        console.print(f"Because: {cause}.", markup=False)
    console.print("They compute the same." if report.agrees else "They do NOT compute the same.", style="bold")
    if not report.agrees:
        sys.exit(1)


def _show_comparisons(console: rich.console.Console, comparisons: tuple[Comparison, ...], with_layers: bool) -> None:
    import rich.table

    for comparison in comparisons:
        console.print(f"\n{comparison.first}, against {comparison.second}", markup=False)
        table = rich.table.Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("output")
        for column in ("max abs", "allowed", "relative", "cosine", "top 1", "top 5", ""):
            table.add_column(column, justify="right")
        for difference in _rows(comparison, with_layers):
            verdict = "[green]✓[/green]" if difference.agrees else "[red]✗[/red]"
            table.add_row(difference.output, *_numbers(difference), verdict)
        console.print(table)
    console.print()


def _rows(comparison: Comparison, with_layers: bool) -> list[Difference]:
    worst = comparison.worst()
    layers = [difference for difference in worst if difference.output.startswith("layer ")]
    if with_layers or not layers:
        return worst
    furthest = max(layers, key=lambda difference: difference.max_abs / difference.allowed)
    return [furthest, *(difference for difference in worst if difference not in layers)]


def _numbers(difference: Difference) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.0f} %"

    return (
        f"{difference.max_abs:.1e}",
        f"{difference.allowed:.1e}",
        f"{difference.relative:.1e}",
        f"{difference.cosine:.7f}",
        share(difference.top_1),
        share(difference.top_5),
    )
