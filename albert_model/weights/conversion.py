"""One model into other formats: complete and proven, or not at all."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from albert_model.errors import InputError
from albert_model.weights import (
    huggingface,
    keras_h5,
    network,
    package,
    parity,
    saved_model,
    tf1_checkpoint,
    tf2_checkpoint,
)
from albert_model.weights.inspection import count_parameters, describe_vocabulary
from albert_model.weights.model import Model
from albert_model.weights.names import HEADS
from albert_model.weights.settings import ReadOptions
from albert_model.weights.source import NOTHING_SAID, Source, opened
from albert_model.weights.tensors import fingerprint

_log = logging.getLogger("albert.convert")
MANIFEST = "conversion.json"
PARITY = "parity.json"
FORMAT_VERSION = 1
_HELD = 256 * 1024 * 1024  # bytes of weights up to which they are held in memory
ModelType = Literal["albert_encoder", "albert"]


# === Targets ===


def _write_keras_h5(folder: Path, model: Model) -> None:
    package.write_around(folder, model)
    keras_h5.write(folder / keras_h5.ENCODER_FILE, model.weights, model.config, full=False)
    if _has_heads(model):
        keras_h5.write(folder / keras_h5.FULL_FILE, model.weights, model.config, full=True)


def _write_tf2_checkpoint(folder: Path, model: Model) -> None:
    package.write_around(folder, model)
    tf2_checkpoint.write(folder / tf2_checkpoint.FILE_PREFIX, model.network(), model.roles)


def _write_tf1_checkpoint(folder: Path, model: Model) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    architecture = model.config.architecture
    (folder / tf1_checkpoint.CONFIG_FILE[architecture]).write_text(model.config.to_json())
    if model.vocabulary:
        model.vocabulary.write(folder)
    tf1_checkpoint.write(folder / tf1_checkpoint.FILE_PREFIX[architecture], model.weights, model.config)


def _write_saved_model(folder: Path, model: Model) -> None:
    with tempfile.TemporaryDirectory(prefix="albert-") as scratch:
        asset = model.vocabulary.write(scratch) if model.vocabulary else None
        saved_model.write_and_release(folder, model.network(), asset, model.roles)


def _write_huggingface(folder: Path, model: Model) -> None:
    huggingface.write(folder, model.weights, model.config, model.vocabulary)


def _write_package(folder: Path, model: Model) -> None:
    if not _has_heads(model):
        raise InputError("--to package: has both heads in it. Say --model-type albert.")
    package.write_encoder(folder, model)
    package.write_manifest(folder, {"lineage": {"source": model.source}})


TARGETS: Mapping[str, Callable[[Path, Model], None]] = {
    "keras_h5": _write_keras_h5,
    "tf2_checkpoint": _write_tf2_checkpoint,
    "saved_model": _write_saved_model,
    "huggingface": _write_huggingface,
    "tf1_checkpoint": _write_tf1_checkpoint,
    "package": _write_package,
}


def _has_heads(model: Model) -> bool:
    return set(HEADS) <= set(model.roles)


# === Conversion ===


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Attributes:
      manifest: as in `conversion.json`.
      parity: the proof.
      output: where it lies.
    """

    manifest: dict[str, Any]
    parity: parity.Report
    output: Path


def convert(
    name: str,
    targets: Sequence[str],
    output: str | Path,
    model_type: ModelType | None = None,
    options: ReadOptions = NOTHING_SAID,
    overwrite: bool = False,
    keep: Callable[[Path], bool] = lambda _: True,
) -> Conversion:
    """Reads a model, writes it in other formats, reads those back, and proves that the network computes the same.

    Args:
      name: of the source, as `source.opened` takes it.
      targets: names in `TARGETS`. One is written to `output` itself, several to folders of their names in there.
      output: a folder; made if need be.
      model_type: "albert": with all heads, fresh ones where the source has none; "albert_encoder": without heads;
        None: as the source is, completed if it has one head of two.
      options: what the source leaves unsaid.
      overwrite: whether files that are there are replaced.
      keep: of the files and folders that a target writes, those to publish.

    Raises:
      InputError: the source cannot be read as a whole, or the proof fails. `output` is as it was then.
    """
    output = Path(output)
    if not overwrite and (there := [file for file in (MANIFEST, PARITY) if (output / file).exists()]):
        raise _there_already(output, there)
    with opened(name, options) as source:
        _check_activation(source, options)
        held = _held(source.model)
        with _step("reading and checking every weight"):
            read = fingerprint(held.weights, held.config)
        model = _chosen_parts(held, model_type)
        with _staged(output, overwrite, keep) as staging:
            written = read if model is held else fingerprint(model.weights, model.config)
            report = _prove(source, model)
            _write(model, targets, staging, written)
            manifest = _manifest(source, model, targets, report) | {"fingerprint": written}
            manifest["source"]["fingerprint"] = read
            (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
            (staging / PARITY).write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    return Conversion(manifest, report, output)


def _check_activation(source: Source, options: ReadOptions) -> None:
    """An ALBERT of Hugging Face's that says "gelu" says erf, where every ALBERT of Google's was trained with tanh."""
    config = source.model.config
    unsaid = options.hidden_act is None and options.stated_config is None
    if unsaid and source.format == "huggingface" and (config.architecture, config.hidden_act) == ("albert", "gelu_erf"):
        raise InputError(
            f'{source.path / huggingface.CONFIG}: hidden_act "gelu" is the erf form in Hugging Face, and contradicts '
            'the tanh form ("gelu_new") that Google\'s ALBERTs were trained with. Say which one these weights had: '
            "--hidden-act gelu (tanh) or --hidden-act gelu_erf."
        )


def _held(model: Model) -> Model:
    """A small model is read once; a large one each time that one of its arrays is needed."""
    if 4 * count_parameters(model.weights, model.config) > _HELD:
        return model
    return replace(model, weights={name: model.weights[name] for name in model.weights})


def _chosen_parts(model: Model, model_type: ModelType | None) -> Model:
    if model_type == "albert_encoder" or (model_type is None and not set(HEADS) & set(model.roles)):
        return model.complete(("pooler",)).only(("encoder", "pooler"))
    return model.complete()


def _prove(source: Source, model: Model) -> parity.Report:
    """Nothing here holds the weights."""
    with _step("running " + ("the source and " if source.load else "") + "the reference"):
        truth = parity.establish(source, model)
    with _step("running the converted network in float32"):
        converted = parity.single(truth, network.streamed(model.config, model.weights, model.source))
    with _step("running the converted network in float64"):
        report = parity.judge(truth, converted, parity.double(truth))
    if not report.agrees:
        raise InputError(f"{source.name}: the converted network is not the same. {'; '.join(report.causes)}.")
    return report


def _write(model: Model, targets: Sequence[str], staging: Path, expected: str) -> None:
    """Nothing here holds the weights, but the writers that need a live network, each for its time."""
    for target in targets:
        gc.collect()  # Keras' layers refer to each other, so that a network stays until then
        with _step(f"writing {target}"):
            TARGETS[target](_folder(staging, target, targets), model)
        gc.collect()
        with _step(f"reading {target} back"):
            _check_written(_folder(staging, target, targets), target, model, expected)


def _folder(staging: Path, target: str, targets: Sequence[str]) -> Path:
    return staging / target if len(targets) > 1 else staging


def _check_written(folder: Path, target: str, model: Model, expected: str) -> None:
    """Reads back each file with weights; `expected` is the fingerprint of all of them."""
    options = ReadOptions(hidden_act=model.config.hidden_act, any_vocabulary=True)
    for path in _written(folder, target):
        encoder_alone = path.name == keras_h5.ENCODER_FILE
        wanted = fingerprint(model.only(("encoder", "pooler")).weights, model.config) if encoder_alone else expected
        with opened(str(path), options) as source:
            if fingerprint(source.model.weights, source.model.config) != wanted:
                raise RuntimeError(f"{target}: what was written reads back as other weights.")
            theirs, ours = source.model.config.network(), model.config.network()
            if any(theirs[key] != ours[key] for key in ours.keys() - {"architecture"}):
                raise RuntimeError(f"{target}: what was written reads back with another config.")


def _written(folder: Path, target: str) -> list[Path]:
    inner = {
        "keras_h5": (keras_h5.ENCODER_FILE, keras_h5.FULL_FILE),
        "package": (".", keras_h5.ENCODER_FILE, package.SAVED_MODEL, package.HUGGINGFACE),
    }
    return [folder / name for name in inner.get(target, (".",)) if (folder / name).exists()]


def _manifest(source: Source, model: Model, targets: Sequence[str], report: parity.Report) -> dict[str, Any]:
    vocabulary = model.vocabulary
    return {
        "format_version": FORMAT_VERSION,
        "source": {
            "name": source.name,
            "format": source.format,
            "parts": list(source.model.roles),
            "left_out": list(source.model.left_out),
            "notes": list(source.notes),
        },
        "parts": list(model.roles),
        "initialised": list(model.initialised),
        "config": model.config.model_dump(),
        "parameters": count_parameters(model.weights, model.config),
        "vocabulary": vocabulary and describe_vocabulary(vocabulary),
        "targets": list(targets),
        "parity": {"agrees": report.agrees, "causes": list(report.causes), "details": PARITY},
    }


@contextmanager
def _step(what: str) -> Iterator[None]:
    _log.debug(what)  # for those who wait
    start = time.perf_counter()
    yield
    _log.info("%s ✓ %.1f s", what, time.perf_counter() - start)


# === Publishing ===


@contextmanager
def _staged(output: Path, overwrite: bool, keep: Callable[[Path], bool]) -> Iterator[Path]:
    """A folder beside or inside of `output`, whose contents move there when the context ends without an error."""
    made = not output.exists()
    if not made and not output.is_dir():
        raise InputError(f"{output}: is no folder. Give another --output.")
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    staging = Path(tempfile.mkdtemp(prefix=".albert-", dir=there))
    staging.chmod(0o755)
    try:
        yield staging
        if made and not output.exists():
            for child in list(staging.iterdir()):
                if not keep(child):
                    _remove(child)
            output.parent.mkdir(parents=True, exist_ok=True)
            staging.rename(output)
        else:
            _move_in([child for child in sorted(staging.iterdir()) if keep(child)], output, overwrite)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_in(children: Sequence[Path], output: Path, overwrite: bool) -> None:
    there = [child.name for child in children if (output / child.name).exists()]
    if there and not overwrite:
        raise _there_already(output, there)
    with tempfile.TemporaryDirectory(prefix=".albert-", dir=output) as aside:
        try:
            for name in there:
                (output / name).rename(Path(aside, name))
            for child in children:
                child.rename(output / child.name)
        except BaseException:
            for child in children:
                if not child.exists():
                    _remove(output / child.name)
            for path in Path(aside).iterdir():
                path.rename(output / path.name)
            raise


def _there_already(output: Path, names: Sequence[str]) -> InputError:
    return InputError(f"{output}: has {', '.join(names)} already. Give another --output, or say --overwrite.")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
