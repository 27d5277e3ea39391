"""Files of records to a trained model, without TFX: what `albert run-pretraining` does."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from albert_model.config import AlbertConfig, read_json
from albert_model.errors import InputError
from albert_model.text.record_scan import Found, scan
from albert_model.training.settings import TrainingSettings
from pipeline.flags import is_remote

if TYPE_CHECKING:
    from albert_model.text.vocabulary import Vocabulary
    from albert_model.training.input_pipeline import Bin
    from albert_model.weights.names import Role, Weights
    from albert_model.weights.source import Source

_log = logging.getLogger("albert.training")
TRAINING = "training.json"
SUMMARIES = "summaries"  # TensorBoard's events and metrics.jsonl, as in ALBERT-TF2.0
RESULTS = "eval_results"
# Settings that may change when a training goes on: the steps stay the same, but for the rounding of sums.
_MAY_CHANGE = {
    *("accumulation", "strategy", "precision", "xla", "checkpoint_every", "checkpoint_minutes", "keep_checkpoints"),
    *("evaluate_every", "max_eval_batches", "max_loss_rise", "on_divergence", "early_stop_after", "log_every"),
}
_ARRAYS = 10  # as many as the weights: two checkpoints with two slots, one being written, and two H5 files, about
_PARTS = {"pooler": "the pooler", "mlm": "the masked-language-model head", "sop": "the sentence-order head"}
_STATED = {"max_seq_length": "max_seq_length", "max_predictions_per_seq": "max_predictions"}


@dataclass(frozen=True)
class Records:
    """Files of records, and what they hold."""

    files: tuple[str, ...]
    found: Found


@dataclass(frozen=True)
class Job:
    """What is asked for.

    Attributes:
      config: of the model.
      output: folder of checkpoints, weights and results.
      train: records to train on; None: nothing is trained.
      held_out: records to score, which may be those to train on; None: none are.
      settings: of the training.
      init_checkpoint: a model to start from, or to score.
      eval_batch_size: examples that are scored at once.
      max_eval_steps: batches of the final scores at most; None: all.
      evaluates: whether the final scores are asked for.
    """

    config: AlbertConfig
    output: Path
    train: Records | None
    held_out: Records | None
    settings: TrainingSettings
    init_checkpoint: str | None
    eval_batch_size: int
    max_eval_steps: int | None = None
    evaluates: bool = False


# === Records ===


def read_records(
    files: tuple[str, ...], config: AlbertConfig, stated: Mapping[str, tuple[int, str]], tell: Callable[[int], None]
) -> Records:
    """Looks at every record, and makes sure that the model takes it.

    Args:
      files: of records.
      config: of the model.
      stated: what was said of the records, by the key of ALBERT-TF2.0's metadata, and where.
      tell: told of the number of records that were read.

    Raises:
      InputError: names the file and the record.
    """
    found = scan(files, open_file, config.vocab_size, config.type_vocab_size, tell)
    if found.longest > config.max_position_embeddings:
        raise InputError(
            f"{files[0]}: examples take {found.longest} positions, and max_position_embeddings is "
            f"{config.max_position_embeddings}. Make shorter ones (--max_seq_length), or give another config."
        )
    for key, (value, where) in stated.items():
        _check_stated(found, key, value, where)
    return Records(files, found)


def _check_stated(found: Found, key: str, value: int, where: str) -> None:
    if key == "train_data_size":
        if value not in (found.records, found.examples):
            raise InputError(
                f"{where}: {key} is {value}, and the files hold {found.records} records. Is a file missing, or is it "
                "the metadata of others?"
            )
        return
    actual = getattr(found.layout, _STATED[key])
    if actual > value or (found.layout.padded and actual < value):
        raise InputError(f"{where}: {key} is {value}, and the records have {actual}. Say what they were made with.")


def read_metadata(path: str) -> dict[str, tuple[int, str]]:
    """The numbers in the file that create_pretraining_data.py writes, each with the file's name.

    Raises:
      InputError: it is no such file.
    """
    values = read_json(path)
    numbers = {key: values.get(key) for key in ("train_data_size", *_STATED)}
    if wrong := [key for key, value in numbers.items() if not isinstance(value, int) or value < 0]:
        raise InputError(f"{path}: {wrong[0]} should be a number. It is written by albert create-pretraining-data.")
    return {key: (cast(int, value), path) for key, value in numbers.items()}


def open_file(path: str) -> BinaryIO:
    if not is_remote(path):
        return Path(path).open("rb", buffering=1 << 20)
    import tensorflow as tf

    return tf.io.gfile.GFile(path, "rb")


# === Before the first step ===


def check_writable(output: Path) -> None:
    """Makes the folder; tries to write, as permissions do not tell all.

    Raises:
      InputError: it cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=output, prefix=".writable-") as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise InputError(
            f"--output_dir: cannot write to {output} ({error.strerror}). Choose a folder that can be written."
        ) from error


def check_output(output: Path, config: AlbertConfig) -> None:
    """Makes sure that there is room for a training, and nothing that it would replace.

    Raises:
      InputError: the disk is too full, or what is there was not written by this command.
    """
    from albert_model.weights import keras_h5
    from albert_model.weights.names import parameters

    needed = _ARRAYS * 4 * sum(int(np.prod(row.shape)) for row in parameters(config))
    if (free := shutil.disk_usage(output).free) < needed and not (output / TRAINING).exists():
        raise InputError(
            f"--output_dir: {output} has {free / 1e6:,.0f} MB free, and checkpoints and weights take about "
            f"{needed / 1e6:,.0f} MB. Make room, or choose another folder."
        )
    foreign = [name for name in ("checkpoint", keras_h5.ENCODER_FILE, keras_h5.FULL_FILE) if (output / name).exists()]
    if foreign and not (output / TRAINING).exists():
        raise InputError(
            f"--output_dir: {output} has a {foreign[0]} that is not of this command, which would replace it. Choose "
            "another folder; --init_checkpoint names weights to start from."
        )


def check_same_training(job: Job) -> None:
    """Makes sure that the training in the folder, if there is one, is this one.

    Raises:
      InputError: says what is different.
    """
    path = job.output / TRAINING
    if not path.exists():
        return
    before, now = read_json(path).get("identity"), _identity(job)
    if not isinstance(before, dict):
        raise InputError(f"{path}: does not say which training it is of. Choose another --output_dir.")
    different = [
        f"{key} was {json.dumps(before.get(key))}, and is {json.dumps(now.get(key))}"
        for key in now | before
        if before.get(key) != now.get(key)
    ]
    if different:
        raise InputError(
            f"--output_dir: {job.output} has another training: {'; '.join(different[:4])}. Choose another folder, or "
            f"give what that training was given. --init_checkpoint={job.output} starts from its weights."
        )


def _identity(job: Job) -> dict[str, Any]:
    """All that the steps of a training depend on, as JSON has it."""
    assert job.train is not None
    settings = job.settings.model_dump(mode="json", exclude=_MAY_CHANGE)
    values = {
        **{f"training.{key}": value for key, value in settings.items()},
        **{f"config {key}": value for key, value in job.config.model_dump(mode="json").items()},
        "input_files": [[PurePath(path).name, records] for path, records in sorted(job.train.found.by_file.items())],
        "--init_checkpoint": job.init_checkpoint,
    }
    return json.loads(json.dumps(values))


@dataclass(frozen=True)
class Start:
    """Weights to begin with, the parts of them that were not in the source, and its vocabulary."""

    weights: Weights
    initialised: tuple[Role, ...]
    vocabulary: Vocabulary | None


def check_initial(name: str, config: AlbertConfig) -> None:
    """Makes sure that a model of the config is there, as far as can be seen without reading its weights.

    Raises:
      InputError: there is none, or it is of another config; names the key.
    """
    ours, own = config.network(), _own_config(name)
    if own and (keys := [key for key in ours if own[key] != ours[key]]):
        words = "; ".join(f"{key} is {own[key]} there, and {ours[key]} in --albert_config_file" for key in keys)
        raise InputError(f"--init_checkpoint: {name} is of another config: {words}. Give the config of the checkpoint.")
    with _opened(name, config):
        pass


def _own_config(name: str) -> dict[str, Any] | None:
    """What a model says of itself; most H5 files have no config beside them."""
    from albert_model.weights.source import DEDUCED

    try:
        with _opened(name) as source:
            return None if DEDUCED in source.notes else source.model.config.network()
    except InputError:
        return None  # whatever is wrong shows again with our config, but for one that is missing


def read_initial(name: str, config: AlbertConfig, seed: int) -> Start:
    """The model to start from; heads that it lacks are as those of a new network.

    Raises:
      InputError: it cannot be read.
    """
    with _opened(name, config) as source:
        model = source.model.complete(seed=seed)
        weights = {key: model.weights[key] for key in model.weights}
        _log.info("weights of %s (%s)", name, source.format)
    if model.initialised:
        fresh = ", ".join(_PARTS[part] for part in model.initialised)
        _log.info("it has none for %s: these are random", fresh)
    return Start(weights, model.initialised, model.vocabulary)


def _opened(name: str, config: AlbertConfig | None = None) -> contextlib.AbstractContextManager[Source]:
    from albert_model.weights.settings import ReadOptions
    from albert_model.weights.source import opened

    return opened(name, ReadOptions(config=config, any_vocabulary=True))


# === Training ===


def train(job: Job) -> bool:
    """Trains, or goes on with what the folder has of this very training, and writes weights and figures.

    Returns:
      Whether it is this process that wrote them, of several machines' that train together.
    """
    from albert_model.training import loop, strategies
    from albert_model.training.record_layouts import parser

    assert job.train is not None
    if not (job.output / TRAINING).exists():
        _write_json(job.output / TRAINING, _record(job, {}, ()))
    (job.output / "config.json").write_text(job.config.to_json())  # so that a checkpoint can be converted
    strategy = strategies.make_strategy(job.settings)  # before anything is computed
    start = read_initial(job.init_checkpoint, job.config, job.settings.seed) if job.init_checkpoint else None
    parse = parser(job.train.found.layout)
    held_out = job.held_out if job.held_out is not job.train else None  # --do_eval may score what was trained on
    data = loop.TrainingData(
        train_bins=_bins(job.train),
        eval_files=held_out.files if held_out else (),
        parse_train=parse,
        parse_eval=parser(held_out.found.layout) if held_out else parse,
    )
    folders = loop.TrainingFolders(job.output, job.output / SUMMARIES)
    initial = start.weights if start else None
    fresh: tuple[Role, ...] = start.initialised if start else ()
    weights, figures = loop.train(job.config, job.settings, data, initial, folders, strategy, fresh)
    if strategies.is_chief(strategy):
        _write_weights(job, weights, start)
        if "loss" not in figures:  # there was no step left, nor anything to score
            figures = read_json(job.output / TRAINING)["last_interval"]
        _write_json(job.output / TRAINING, _record(job, figures, fresh))
    return strategies.is_chief(strategy)


def steps_per_epoch(records: Records, batch_size: int) -> int:
    """Full batches; what is left over is left out, in each length bin where there are such."""
    from albert_model.training.input_pipeline import batches_of

    return batches_of(_bins(records), batch_size)


def total_steps(records: Records, settings: TrainingSettings) -> int:
    return settings.total_steps(steps_per_epoch(records, settings.batch_size) * settings.batch_size)


def _bins(records: Records) -> list[Bin]:
    from albert_model.training.input_pipeline import bins_of, length_of

    by_file = {path: count for path, count in records.found.by_file.items() if count}
    by_length: Counter[int | None] = Counter()
    for path, count in by_file.items():
        by_length[length_of(path)] += count
    return bins_of(list(by_file), by_length)


def _write_weights(job: Job, weights: Weights, start: Start | None) -> None:
    from albert_model.weights import keras_h5, package
    from albert_model.weights.model import Model
    from pipeline.example_files import written_aside

    package.write_around(job.output, Model(job.config, {}, start.vocabulary if start else None))
    names = {keras_h5.ENCODER_FILE: False, keras_h5.FULL_FILE: True}
    with written_aside([job.output / name for name in names]) as paths:
        for path, full in zip(paths, names.values(), strict=True):
            keras_h5.write(path, weights, job.config, full)


def _record(job: Job, figures: Mapping[str, float], initialised: Sequence[str]) -> dict[str, Any]:
    assert job.train is not None
    return {
        "identity": _identity(job),
        "settings": job.settings.model_dump(mode="json"),
        "steps": total_steps(job.train, job.settings),
        "records": job.train.found.records,
        "examples": job.train.found.examples,
        "initialised": list(initialised),
        "finished": bool(figures),
        "last_interval": figures,
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    """All of it or nothing."""
    unfinished = path.with_name(f".unfinished-{path.name}-{os.getpid()}")
    unfinished.write_text(json.dumps(values, indent=2) + "\n")
    unfinished.replace(path)


# === Evaluation ===


def evaluate(job: Job) -> dict[str, Any]:
    """Scores the held-out records with the weights of the folder, or of the given checkpoint if nothing is trained.

    Returns:
      The contents of eval_results.json, with google-research/albert's names.
    """
    from albert_model.training.evaluation import evaluate as score
    from albert_model.training.record_layouts import parser

    assert job.held_out is not None
    name, step = weights_to_score(job)
    weights = read_initial(name, job.config, job.settings.seed).weights
    parse = parser(job.held_out.found.layout)
    figures = score(job.config, weights, job.held_out.files, parse, job.eval_batch_size, job.max_eval_steps)
    results = {
        **({} if step is None else {"global_step": step}),
        "loss": figures["loss"],
        "masked_lm_accuracy": figures["mlm_accuracy"],
        "masked_lm_loss": figures["mlm_loss"],
        "sentence_order_accuracy": figures["sop_accuracy"],
        "sentence_order_loss": figures["sop_loss"],
    }
    _write_json(job.output / f"{RESULTS}.json", {**results, "weights": name, "files": list(job.held_out.files)})
    (job.output / f"{RESULTS}.txt").write_text("".join(f"{key} = {value}\n" for key, value in results.items()))
    return results


def weights_to_score(job: Job) -> tuple[str, int | None]:
    """The model to score, and its step where that is known.

    Raises:
      InputError: there is none.
    """
    from albert_model.weights.keras_h5 import FULL_FILE

    if job.train is None and job.init_checkpoint:
        return job.init_checkpoint, None
    record = read_json(job.output / TRAINING) if (job.output / TRAINING).exists() else {}
    if (job.output / FULL_FILE).exists():
        return str(job.output / FULL_FILE), record.get("steps")
    checkpoints = sorted(job.output.glob("ckpt-*.index"), key=lambda path: int(path.stem.rpartition("-")[2]))
    if not checkpoints:
        raise InputError(f"--output_dir: {job.output} has no weights to score. Name them with --init_checkpoint.")
    newest = checkpoints[-1].with_suffix("")
    return str(newest), int(newest.name.rpartition("-")[2])
