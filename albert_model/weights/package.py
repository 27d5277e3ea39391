"""A model as a folder of its own: `config.json`, `vocab/`, `tf2_model_full.h5`; and the encoder package around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from albert_model.config import AlbertConfig
from albert_model.text import vocabulary
from albert_model.weights import fresh_process, huggingface, keras_h5, manifest
from albert_model.weights.manifest import MANIFEST, check_files, file_digests
from albert_model.weights.model import Model

__all__ = [
    "MANIFEST",
    "check_files",
    "file_digests",
    "read",
    "write",
    "write_around",
    "write_encoder",
    "write_manifest",
]

CONFIG = "config.json"
VOCABULARY = "vocab"
SAVED_MODEL = "saved_model"
HUGGINGFACE = "huggingface"


def write(folder: str | Path, model: Model) -> None:
    """Writes the model alone. It has all heads."""
    write_around(folder, model)
    keras_h5.write(Path(folder, keras_h5.FULL_FILE), model.weights, model.config, full=True)


def write_around(folder: str | Path, model: Model) -> None:
    """Writes `config.json` and `vocab/`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(model.config.to_json())
    if model.vocabulary:
        model.vocabulary.write(folder / VOCABULARY)


def read(folder: str | Path) -> Model:
    """Reads what `write` wrote, into memory.

    Raises:
      InputError: a file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    config = AlbertConfig.from_file(folder / CONFIG)
    weights, _ = keras_h5.read(folder / keras_h5.FULL_FILE, config)
    held = {name: weights[name] for name in weights}
    return Model(config, held, vocabulary.read(folder / VOCABULARY), str(folder))


def write_encoder(folder: str | Path, model: Model) -> None:
    """Writes the model in every form that users load: the encoder package but for its model card and its manifest.

    The bytes are the same for the same model, whatever this process did before.

    Args:
      folder: is made.
      model: with all heads.
    """
    folder = Path(folder)
    write(folder, model)
    keras_h5.write(folder / keras_h5.ENCODER_FILE, model.weights, model.config, full=False)
    huggingface.write(folder / HUGGINGFACE, model.weights, model.config, model.vocabulary)
    fresh_process.write_saved_model(folder, folder / SAVED_MODEL)


def write_manifest(folder: str | Path, more: Mapping[str, Any]) -> None:
    """Writes `manifest.json`, with the SHA-256 of every other file: last.

    Args:
      folder: of the package.
      more: values of the manifest besides.
    """
    manifest.write(folder, more)
