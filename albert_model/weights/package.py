"""A model as a folder of its own: `config.json`, `vocab/`, `tf2_model_full.h5`; and the encoder package around it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from albert_model.config import AlbertConfig, read_json
from albert_model.errors import InputError
from albert_model.text import vocabulary
from albert_model.weights import huggingface, keras_h5, saved_model
from albert_model.weights.archive import sha256_of
from albert_model.weights.model import Model

CONFIG = "config.json"
VOCABULARY = "vocab"
MANIFEST = "manifest.json"
SAVED_MODEL = "saved_model"
HUGGINGFACE = "huggingface"
FORMAT_VERSION = 1


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


def write_encoder(folder: str | Path, model: Model, more: Mapping[str, Any]) -> None:
    """Writes the package that is published: the model in every form that users load.

    Args:
      folder: is made.
      model: with all heads.
      more: for the manifest.
    """
    folder = Path(folder)
    write(folder, model)
    keras_h5.write(folder / keras_h5.ENCODER_FILE, model.weights, model.config, full=False)
    huggingface.write(folder / HUGGINGFACE, model.weights, model.config, model.vocabulary)
    asset = folder / VOCABULARY / model.vocabulary.file_name if model.vocabulary else None
    live = model.network()
    saved_model.write(folder / SAVED_MODEL, live, asset)
    saved_model.release(live)
    manifest = {"format_version": FORMAT_VERSION, **more, "files": file_digests(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def check_files(folder: str | Path) -> None:
    """Makes sure that the files of a package are those of its manifest.

    Raises:
      InputError: names each one that is missing or changed.
    """
    folder = Path(folder)
    digests = read_json(folder / MANIFEST).get("files")
    if not isinstance(digests, dict):
        raise InputError(f"{folder / MANIFEST}: does not say which files there are (files).")
    problems = [f"{name} is missing" for name in digests if not (folder / name).is_file()]
    problems += [
        f"{name} was changed"
        for name, digest in digests.items()
        if (folder / name).is_file() and sha256_of(folder / name) != digest
    ]
    if problems:
        raise InputError(f"{folder}: not as its {MANIFEST} says: {'; '.join(problems)}. Fetch it again.")
