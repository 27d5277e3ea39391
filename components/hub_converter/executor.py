"""Converts, and writes the three artifacts."""

from __future__ import annotations

import json
import logging
import os
import posixpath
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types

from albert_model.publishing.stores import store_of
from albert_model.weights import archive, conversion
from albert_model.weights.settings import ReadOptions
from albert_model.weights.source import opened
from components import manifests
from components.model_layout import package_folder, serving_folder
from components.remote import FoldersHere, folders_here, is_remote, write_vocabulary

_log = logging.getLogger("albert.convert")


def convert(
    model: types.Artifact, tokenizer: types.Artifact, parity: types.Artifact, source: str, options: str
) -> None:
    """Converts `source` into `model`, with its vocabulary and the proof in artifacts of their own.

    Raises:
      InputError: the source is incomplete, has something that is not read, or does not compute the same.
    """
    tf.io.gfile.makedirs(serving_folder(model.uri))
    said = ReadOptions.model_validate_json(options)
    with folders_here() as here:
        name = _source_here(source, here)
        folder = here.of_output(package_folder(model.uri))
        with opened(name, said) as read:
            pieces = read.model.tokenizer  # nothing can be trained without one
        done = conversion.convert(name, ("keras_h5",), folder, "albert", said)
        if name != source:
            _call(source, done.manifest, folder)
        proof = (folder / conversion.PARITY).read_text()
    write_vocabulary(tokenizer.uri, pieces)
    tf.io.gfile.makedirs(parity.uri)
    with tf.io.gfile.GFile(os.path.join(parity.uri, conversion.PARITY), "w") as file:
        file.write(proof)

    initialised = done.manifest["initialised"]
    facts = {"source": source, "format": done.manifest["source"]["format"], "fingerprint": done.manifest["fingerprint"]}
    manifests.write(model, facts | {"initialised": initialised, "tokenizer_fingerprint": pieces.fingerprint})
    manifests.write(tokenizer, {"fingerprint": pieces.fingerprint, "vocab_size": pieces.vocab_size, "source": source})
    manifests.write(parity, facts | {"agrees": done.parity.agrees})
    fresh = f", {' and '.join(initialised)} freshly initialised" if initialised else ""
    _log.info("%s converted and proven%s", source, fresh)


def _source_here(source: str, here: FoldersHere) -> str:
    """A source on this machine. Beside a file and a checkpoint's prefix lie the config and the vocabulary."""
    if not is_remote(source):
        return source
    store, (folder, name) = store_of(source), posixpath.split(source)
    if not archive.is_archive(source) and (store.has_file(source) or store.has_file(f"{source}.index")):
        return str(here.of_input(folder) / name)
    return str(here.of_input(source))


def _call(source: str, manifest: dict[str, Any], folder: Path) -> None:
    """Has `conversion.json` name the source as the settings do."""
    manifest["source"]["name"] = source
    (folder / conversion.MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
