"""Models out of whatever they came in: finds out the format, the config and the vocabulary, and reads the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from albert_model.config import AlbertConfig, Architecture, read_json
from albert_model.errors import InputError
from albert_model.text import vocabulary as vocabularies
from albert_model.text.vocabulary import RELEASED_NAME, RELEASED_SIZE, Vocabulary
from albert_model.weights import (
    archive,
    hub_module,
    huggingface,
    keras_h5,
    package,
    saved_model,
    tf1_checkpoint,
    tf2_checkpoint,
)
from albert_model.weights.model import Model
from albert_model.weights.names import Run, Weights
from albert_model.weights.settings import ReadOptions

_CONFIGS = ("albert_config.json", "bert_config.json", "config.json")
_BESIDE = ("", "assets", "assets.extra", "vocab")  # folders that configs and vocabularies lie in


NOTHING_SAID = ReadOptions()


@dataclass(frozen=True)
class Source:
    """A model, and how it came.

    Attributes:
      name: what the user gave.
      format: hub_module, saved_model, tf1_checkpoint, tf2_checkpoint, huggingface, keras_h5 or package.
      path: its folder, file, or checkpoint prefix.
      model: lazy: weights are read when they are asked for.
      load: loads the source in the software that it is made for, where that is at hand.
      notes: what had to be assumed.
    """

    name: str
    format: str
    path: Path
    model: Model
    load: Callable[[], Run] | None = None
    notes: tuple[str, ...] = field(default=())


@contextlib.contextmanager
def opened(name: str, options: ReadOptions = NOTHING_SAID) -> Iterator[Source]:
    """Opens a source; an archive is unpacked for as long as the context lasts.

    Args:
      name: folder, file, archive, prefix of a checkpoint, or address of a TF-Hub module.
      options: see there.

    Raises:
      InputError: says what is wrong with which file, and what to do.
    """
    with contextlib.ExitStack() as stack:
        path = Path(name)
        if "://" in name:
            if options.sha256:
                raise InputError(f"{name}: a SHA-256 can be checked of a file. Fetch it and give its path.")
            path = archive.resolved(name)
        elif options.sha256:
            if not path.is_file():
                raise InputError(f"{name}: is no file, and a SHA-256 can be checked of files only.")
            archive.check_sha256(path, options.sha256)
        if path.is_file() and archive.is_archive(path):
            path = stack.enter_context(archive.extracted(path))
        source = _read(name, path, options)
        _check_vocabulary(source, options)
        yield source


def _read(name: str, path: Path, options: ReadOptions) -> Source:
    format_name, path = _detect(name, path)
    return _READERS[format_name](name, path, options)


def _detect(name: str, path: Path) -> tuple[str, Path]:
    if path.is_dir():
        return _detect_in_folder(name, path)
    if path.is_file() and path.suffix == ".h5":
        return "keras_h5", path
    if path.is_file() and path.name in (huggingface.WEIGHTS, huggingface.CONFIG):
        return _detect_in_folder(name, path.parent)
    if path.suffix == ".index" and path.is_file():
        path = path.with_suffix("")
    if path.with_name(path.name + ".index").is_file() or list(path.parent.glob(f"{path.name}.data-*")):
        return _checkpoint_kind(path), path
    what = "cannot be read as a model" if path.exists() else "there is no such file or folder"
    raise InputError(f"{name}: {what}. {_READABLE}")


_READABLE = (
    "What can be read: a TF-Hub module or SavedModel (folder, .tar.gz or address), a checkpoint (folder, .tar.gz or "
    "prefix), a Hugging Face folder, tf2_model.h5 or tf2_model_full.h5, an encoder package."
)


def _detect_in_folder(name: str, folder: Path) -> tuple[str, Path]:
    if hub_module.is_one(folder):
        return "hub_module", folder
    if saved_model.is_one(folder):
        return "saved_model", folder
    if (folder / package.MANIFEST).is_file() and (folder / keras_h5.FULL_FILE).is_file():
        return "package", folder
    for file in (keras_h5.FULL_FILE, keras_h5.ENCODER_FILE):
        if (folder / file).is_file():
            return "keras_h5", folder / file
    config = folder / huggingface.CONFIG
    if config.is_file() and "model_type" in read_json(config):
        return "huggingface", folder
    if list(folder.glob("*.index")) or list(folder.glob("*.data-*")):
        prefix = tf1_checkpoint.find(folder)
        return _checkpoint_kind(prefix), prefix
    raise InputError(f"{name}: holds nothing that can be read as a model. {_READABLE}")


def _checkpoint_kind(prefix: Path) -> str:
    shapes = tf1_checkpoint.open_stored(prefix).shapes
    return "tf2_checkpoint" if tf2_checkpoint.GRAPH in shapes else "tf1_checkpoint"


# === A reader for each format ===


def _read_hub_module(name: str, path: Path, options: ReadOptions) -> Source:
    stored = hub_module.open_stored(path)
    deduce = partial(tf1_checkpoint.deduce_config, stored, options.version)
    config, notes = _config(path, options, tf1_checkpoint.architecture(stored), deduce)
    model = _model(name, path, config, tf1_checkpoint.read(stored, config))
    return Source(name, "hub_module", path, model, lambda: hub_module.runner(path), notes)


def _read_saved_model(name: str, path: Path, options: ReadOptions) -> Source:
    stored = saved_model.open_stored(path)
    config, notes = _config(path, options, deduce=partial(saved_model.deduce_config, stored, options.version))
    model = _model(name, path, config, saved_model.read(stored, config))
    return Source(name, "saved_model", path, model, lambda: saved_model.runner(path), notes)


def _read_tf1_checkpoint(name: str, path: Path, options: ReadOptions) -> Source:
    stored = tf1_checkpoint.plain_names(tf1_checkpoint.open_stored(path))
    deduce = partial(tf1_checkpoint.deduce_config, stored, options.version)
    config, notes = _config(path.parent, options, tf1_checkpoint.architecture(stored), deduce)
    model = _model(name, path.parent, config, tf1_checkpoint.read(stored, config))
    return Source(name, "tf1_checkpoint", path, model, None, notes)


def _read_tf2_checkpoint(name: str, path: Path, options: ReadOptions) -> Source:
    config, notes = _config(path.parent, options)
    stored = tf2_checkpoint.open_stored(path)
    model = _model(name, path.parent, config, tf2_checkpoint.read(stored, config))
    return Source(name, "tf2_checkpoint", path, model, None, notes)


def _read_keras_h5(name: str, path: Path, options: ReadOptions) -> Source:
    config, notes = _config(path.parent, options)
    model = _model(name, path.parent, config, keras_h5.read(path, config))
    return Source(name, "keras_h5", path, model, None, notes)


def _read_package(name: str, path: Path, options: ReadOptions) -> Source:
    package.check_files(path)
    config, notes = _config(path, options)
    model = _model(name, path, config, keras_h5.read(path / keras_h5.FULL_FILE, config))
    return Source(name, "package", path, model, None, notes)


def _read_huggingface(name: str, path: Path, options: ReadOptions) -> Source:
    config, notes = _with_activation(
        options.stated_config or huggingface.read_config(path, options.hidden_act), options
    )
    weights = huggingface.read_weights(path, config)
    model = _model(name, path, config, weights)
    load = (lambda: huggingface.runner(path, config, model.roles)) if huggingface.can_run() else None
    return Source(name, "huggingface", path, model, load, notes)


_READERS: dict[str, Callable[[str, Path, ReadOptions], Source]] = {
    "hub_module": _read_hub_module,
    "saved_model": _read_saved_model,
    "tf1_checkpoint": _read_tf1_checkpoint,
    "tf2_checkpoint": _read_tf2_checkpoint,
    "keras_h5": _read_keras_h5,
    "package": _read_package,
    "huggingface": _read_huggingface,
}
DEDUCED = "the config was deduced from shapes"


def _model(name: str, folder: Path, config: AlbertConfig, read: tuple[Weights, tuple[str, ...]]) -> Model:
    return Model(config, read[0], _vocabulary(folder), name, read[1])


# === Config and vocabulary ===


def _config(
    folder: Path,
    options: ReadOptions,
    architecture: Architecture = "albert",
    deduce: Callable[[], AlbertConfig] | None = None,
) -> tuple[AlbertConfig, tuple[str, ...]]:
    """The config that is given, or else the one that lies with the weights, or else what can be deduced; and notes.

    Raises:
      InputError: there is none.
    """
    paths = [folder / beside / name for beside in _BESIDE for name in _CONFIGS]
    path = next((path for path in paths if path.is_file()), None)
    if options.stated_config is not None:
        return _with_activation(options.stated_config, options)
    if path is not None:
        return _with_activation(AlbertConfig.from_file(path, architecture), options)
    if deduce is None:
        raise InputError(f"{folder}: has no {', '.join(_CONFIGS)}. Give the config with --config.")
    config, notes = _with_activation(deduce(), options)
    return config, (DEDUCED, *notes)


def _with_activation(config: AlbertConfig, options: ReadOptions) -> tuple[AlbertConfig, tuple[str, ...]]:
    """With the activation that was asked for, and a note if the config says another one."""
    if options.hidden_act in (None, config.hidden_act):
        return config, ()
    note = f"hidden_act {options.hidden_act} as asked for, the config says {config.hidden_act}"
    return AlbertConfig.from_values(config.model_dump() | {"hidden_act": options.hidden_act}, "--hidden-act"), (note,)


def _vocabulary(folder: Path) -> Vocabulary | None:
    for beside in _BESIDE:
        if (folder / beside).is_dir() and (found := vocabularies.find(folder / beside)):
            return found
    return None


def _check_vocabulary(source: Source, options: ReadOptions) -> None:
    """Makes sure that the vocabulary is the one that the weights were trained with, as far as can be seen."""
    vocabulary, config = source.model.vocabulary, source.model.config
    if vocabulary is None:
        return
    where = f"{source.name}: {vocabulary.file_name}"
    if len(vocabulary.pieces) > config.vocab_size:
        raise InputError(f"{where} has {len(vocabulary.pieces)} pieces, the weights have rows for {config.vocab_size}.")
    if options.any_vocabulary:
        return
    if len(vocabulary.pieces) < config.vocab_size:
        raise InputError(
            f"{where} has {len(vocabulary.pieces)} pieces, the weights have rows for {config.vocab_size}. If the other "
            "rows are padding, say --any-vocabulary."
        )
    claims = vocabulary.file_name == RELEASED_NAME or (
        source.format == "hub_module" and len(vocabulary.pieces) == RELEASED_SIZE
    )
    if claims and not vocabulary.is_released:
        raise InputError(
            f"{where} is not the vocabulary of the released ALBERT models, which it seems to be: its SHA-256 is "
            f"{vocabulary.sha256}. Ids would mean other pieces than the weights learnt. If the weights were trained "
            "with it, say --any-vocabulary."
        )
