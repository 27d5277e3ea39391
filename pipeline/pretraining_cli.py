"""The command that trains on files of records. Imports nothing heavy until it is needed."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pipeline import pipeline_options
from pipeline.flags import (
    BOOLEAN,
    DASHES_OR_UNDERSCORES,
    ScriptCommand,
    files,
    flag_of,
    is_remote,
    named_as_flags,
    only,
    settings_of,
    unsupported,
)

if TYPE_CHECKING:
    import rich.console

    from albert_model.config import AlbertConfig
    from albert_model.training.settings import TrainingSettings
    from pipeline.pretraining import Job, Records

_COMMAND = "run-pretraining"
_log = logging.getLogger("albert.training")
_PUBLISHED_BATCH = 4096
# Flags whose name is not that of the setting; the first one is shown.
_NAMES = {
    "batch_size": ("train_batch_size",),
    "epochs": ("num_train_epochs",),
    "max_steps": ("num_train_steps",),
    "warmup_steps": ("warmup_steps", "num_warmup_steps"),
    "clip_norm": ("max_grad_norm",),
    "strategy": ("strategy_type",),
    "checkpoint_every": ("save_checkpoints_steps",),
    "keep_checkpoints": ("keep_checkpoint_max",),
    "max_eval_batches": ("max_eval_steps",),
}
_SHOWN = {field: names[0] for field, names in _NAMES.items()}
# Where the scripts have other defaults than a pipeline, or where a flag means more than the setting.
_CHANGES: dict[str, dict[str, Any]] = {
    "batch_size": {"default": 128},
    "strategy": {"default": "one"},
    "epochs": {
        "default": None,
        "help": "Passes over the examples. By default 1, or as many as --num_train_steps need.",
    },
    "warmup_steps": {"help": "Steps of linear warm-up. Goes before --warmup_proportion."},
    "max_eval_batches": {
        "default": None,
        "show_default": False,
        "help": "Batches that are scored at most. By default 100 at a time in training, and all with --do_eval.",
    },
}


# === Flags ===


class _Command(ScriptCommand):
    after = "eval_batch_size"
    quoted = "--input_files='data/*.tf_record'"

    def flags_of_settings(self) -> tuple[click.Option, ...]:
        return _flags_of_settings()


@functools.cache
def _flags_of_settings() -> tuple[click.Option, ...]:
    from albert_model.training.settings import TrainingSettings

    flags = []
    for field, info in TrainingSettings.model_fields.items():
        words = re.sub(rf"\b({'|'.join(_SHOWN)})\b", lambda found: f"--{_SHOWN[found[1]]}", info.description or "")
        changes = {"help": words, **_CHANGES.get(field, {})}
        flags.append(flag_of(TrainingSettings, field, *_NAMES.get(field, ()), **changes))
    return tuple(flags)


def _note(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.meta.setdefault(__name__, []).append(f"--{option.name}")


_NO_MEANING: dict[str, Any] = {"expose_value": False, "hidden": True, "callback": _note}


@click.command(_COMMAND, cls=_Command, context_settings=DASHES_OR_UNDERSCORES)
@click.option("--albert_config_file", "config", required=True, metavar="FILE", help="albert_config.json, the sizes.")
@click.option(
    "--input_files",
    "--input_file",
    "input_files",
    multiple=True,
    metavar="PATTERN",
    help="TFRecord files of examples: a file or pattern, several separated by commas, or the flag several times.",
)
@click.option("--output_dir", "output", required=True, metavar="DIR", help="For checkpoints, weights and results.")
@click.option(
    "--meta_data_file_path",
    "metadata",
    metavar="FILE",
    help="What create_pretraining_data.py wrote beside the records: it is compared with them.",
)
@click.option(
    "--init_checkpoint",
    metavar="MODEL",
    help="Weights to start from: whatever albert convert reads, as tf2_model_full.h5, a checkpoint, a TF-Hub module.",
)
@click.option("--do_train", default=None, help="Train. By default, unless only --do_eval is said.", **BOOLEAN)
@click.option("--do_eval", default=False, help="Score --eval_files, or else --input_files, at the end.", **BOOLEAN)
@click.option(
    "--eval_files",
    multiple=True,
    metavar="PATTERN",
    help="Held-out examples, in the same forms: scored now and then in training, and by --do_eval.",
)
@click.option("--max_seq_length", type=int, help="Of the records; only compared with them.")
@click.option("--max_predictions_per_seq", type=int, help="Of the records; only compared with them.")
@click.option(
    "--warmup_proportion", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Of all steps, to warm up."
)
@click.option("--eval_batch_size", type=click.IntRange(1), default=64, show_default=True, help="Examples of --do_eval.")
@click.option("--use_tpu", default=False, help="As --strategy_type=tpu.", **BOOLEAN)
@click.option("--adam_epsilon", **only(1e-6, "as published."))
@click.option("--poly_power", **only(1, "the learning rate falls in a line."))
@click.option("--start_warmup_step", **only(0, "the warm-up begins with the first step."))
@click.option("--masked_lm_budget", **only(0, "masks stand in the records."))
@click.option("--init_from_group0", **unsupported("a checkpoint has the groups of its config."))
@click.option("--iterations_per_loop", **_NO_MEANING)
@click.option("--num_tpu_cores", **_NO_MEANING)
@click.option("--tpu_name", **_NO_MEANING)
@click.option("--tpu_zone", **_NO_MEANING)
@click.option("--gcp_project", **_NO_MEANING)
@click.option("--master", **_NO_MEANING)
@pipeline_options.debug
@click.pass_context
def run_pretraining(context: click.Context, debug: bool, **said: Any) -> None:
    """Trains on files of examples, as ALBERT-TF2.0's run_pretraining.py.

    The flags are those of that script and of google-research/albert's, also written -flag, --noflag, --flag=false and
    with dashes. The records may be those of either, of albert create-pretraining-data, or of this project's pipeline.

    The same command goes on where it was interrupted.

    \b
    Examples:
      albert run-pretraining --albert_config_file=base/config.json --init_checkpoint=base/tf2_model_full.h5 \\
        --input_files=processed/train.tf_record --meta_data_file_path=processed/train_meta_data \\
        --output_dir=pretrained --strategy_type=mirror --train_batch_size=128 --num_train_epochs=3
      albert run-pretraining --albert_config_file=albert_config.json --input_files='data/*.tfrecord' \\
        --eval_files=dev.tfrecord --output_dir=pretrained --num_train_steps=125000 --num_warmup_steps=3125 --do_eval
      albert run-pretraining --albert_config_file=base/config.json --init_checkpoint=albert_base_v2.tar.gz \\
        --eval_files=dev.tfrecord --output_dir=scores --do_eval
    """
    from pipeline.console import errors_in_a_line, quietly

    keys = [*(f"training.{option.name}" for option in _flags_of_settings()), "examples.dupe_factor"]
    with errors_in_a_line(debug), _told_how_to_go_on(), quietly() as console, named_as_flags(keys, _SHOWN):
        if left_out := context.meta.get(__name__):
            console.print(f"without a meaning here: {', '.join(left_out)}", markup=False)
        _run(console, **said)


class _Terminated(KeyboardInterrupt):
    """SIGTERM."""


@contextlib.contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    def terminate(*_: Any) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        click.echo("Interrupted. The same command goes on where this one stopped.", err=True)
        sys.exit(128 + (signal.SIGTERM if isinstance(interrupt, _Terminated) else signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)


# === What is asked for ===


def _run(console: rich.console.Console, **said: Any) -> None:
    job = _job(console, **said)
    from pipeline import pretraining

    if job.train:
        if not pretraining.train(job):
            return
        _tell_files(console, job.output)
    if job.evaluates:
        for key, value in pretraining.evaluate(job).items():
            console.print(f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}", markup=False)


def _job(
    console: rich.console.Console,
    config: str,
    input_files: tuple[str, ...],
    output: str,
    metadata: str | None,
    init_checkpoint: str | None,
    do_train: bool | None,
    do_eval: bool,
    eval_files: tuple[str, ...],
    eval_batch_size: int,
    use_tpu: bool,
    **said: Any,
) -> Job:
    """Everything that can be wrong is found here, the quick things first."""
    from albert_model.config import AlbertConfig
    from pipeline import pretraining

    do_train = not do_eval if do_train is None else do_train
    _check_words(do_train, do_eval, input_files, eval_files, output)
    sizes = AlbertConfig.from_file(config)
    settings = _settings({**said, "strategy": "tpu" if use_tpu else said["strategy"]})
    to_train = files("--input_files", input_files, ".tf_record") if do_train else ()
    to_score = _to_score(input_files, eval_files) if eval_files or do_eval else ()
    stated = _stated(metadata, said)
    pretraining.check_writable(Path(output))
    if do_train:
        pretraining.check_output(Path(output), sizes)
    if init_checkpoint:
        pretraining.check_initial(init_checkpoint, sizes)
    train = _records(console, to_train, sizes, stated) if to_train else None
    held_out = train
    if to_score != to_train:
        held_out = _records(console, to_score, sizes, {} if train else stated) if to_score else None
    job = pretraining.Job(
        config=sizes,
        output=Path(output),
        train=train,
        held_out=held_out,
        settings=_with_steps(console, settings, train, said) if train else settings,
        init_checkpoint=init_checkpoint,
        eval_batch_size=eval_batch_size,
        max_eval_steps=said["max_eval_batches"],
        evaluates=do_eval,
    )
    if train:
        pretraining.check_same_training(job)
    else:
        pretraining.weights_to_score(job)
    return job


def _to_score(input_files: tuple[str, ...], eval_files: tuple[str, ...]) -> tuple[str, ...]:
    if eval_files:
        return files("--eval_files", eval_files, ".tf_record")
    return files("--input_files", input_files, ".tf_record")


def _check_words(
    do_train: bool, do_eval: bool, input_files: tuple[str, ...], eval_files: tuple[str, ...], output: str
) -> None:
    if not (do_train or do_eval):
        raise click.UsageError("Say --do_train, --do_eval or both.")
    if not input_files and (do_train or not eval_files):
        raise click.UsageError("Say --input_files, the records to train on.")
    if is_remote(output):
        raise click.UsageError(f"--output_dir: {output} is not on this machine. Name a folder, and copy it afterwards.")


def _settings(said: Mapping[str, Any]) -> TrainingSettings:
    from albert_model.training.settings import TrainingSettings

    values = {field: said[field] for field in TrainingSettings.model_fields if said[field] is not None}
    return settings_of(TrainingSettings, values, _COMMAND, _SHOWN)


def _stated(metadata: str | None, said: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    from pipeline.pretraining import read_metadata

    names = ("max_seq_length", "max_predictions_per_seq")
    flags = {name: (said[name], f"--{name}") for name in names if said[name] is not None}
    return (read_metadata(metadata) if metadata else {}) | flags


def _records(
    console: rich.console.Console,
    paths: tuple[str, ...],
    config: AlbertConfig,
    stated: Mapping[str, tuple[int, str]],
) -> Records:
    from pipeline.pretraining import read_records

    records = read_records(paths, config, stated, _tell_reading)
    found, layout = records.found, records.found.layout
    padding = 1 - found.tokens / (found.records * layout.max_seq_length)
    packed = f" in {found.records:,} rows" if layout.examples_per_row else ""
    console.print(
        f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}: {found.examples:,} examples{packed}, "
        f"{layout.max_seq_length} pieces, {layout.max_predictions} predictions, {padding:.1%} padding",
        markup=False,
    )
    return records


def _tell_reading(count: int) -> None:
    _log.debug("reading the records: %s", f"{count:,}")


def _with_steps(
    console: rich.console.Console, settings: TrainingSettings, records: Records, said: Mapping[str, Any]
) -> TrainingSettings:
    """With what follows from the number of examples."""
    from pipeline.pretraining import steps_per_epoch, total_steps

    each = steps_per_epoch(records, settings.batch_size)
    if said["epochs"] is None and settings.max_steps:
        settings = settings.model_copy(update={"epochs": max(1, -(-settings.max_steps // max(1, each)))})
    total = total_steps(records, settings)
    if settings.warmup_steps is None:
        settings = settings.model_copy(update={"warmup_steps": int(total * said["warmup_proportion"])})
    console.print(f"{total:,} steps, {each:,} an epoch", markup=False)
    _tell_learning_rate(console, settings)
    return settings


def _tell_learning_rate(console: rich.console.Console, settings: TrainingSettings) -> None:
    """The published rate is high for small batches, on which many a training of others broke."""
    default = type(settings).model_fields["learning_rate"].default
    if (settings.optimizer, settings.peak_learning_rate) != (
        "lamb",
        default,
    ) or settings.batch_size >= _PUBLISHED_BATCH:
        return
    lower = settings.model_copy(update={"learning_rate_batch": _PUBLISHED_BATCH}).peak_learning_rate
    console.print(
        f"--learning_rate {default} was published for batches of {_PUBLISHED_BATCH}. If the loss rises, take "
        f"{lower:.2g} (--learning_rate_batch={_PUBLISHED_BATCH} does so).",
        markup=False,
    )


def _tell_files(console: rich.console.Console, output: Path) -> None:
    for path in sorted(output.glob("tf2_model*.h5")):
        console.print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB", markup=False)
