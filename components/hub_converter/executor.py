"""Converts, and writes the three artifacts."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from tfx import types

from albert_model.text.tokenizer import write_vocabulary
from albert_model.weights import conversion
from albert_model.weights.settings import ReadOptions
from albert_model.weights.source import opened
from components import manifests
from components.model_layout import package_folder, serving_folder

_log = logging.getLogger("albert.convert")


def convert(
    model: types.Artifact, tokenizer: types.Artifact, parity: types.Artifact, source: str, options: str
) -> None:
    """Converts `source` into `model`, with its vocabulary and the proof in artifacts of their own.

    Raises:
      InputError: the source is incomplete, has something that is not read, or does not compute the same.
    """
    Path(serving_folder(model.uri)).mkdir(parents=True)
    folder = Path(package_folder(model.uri))
    said = ReadOptions.model_validate_json(options)
    with opened(source, said) as read:
        pieces = read.model.tokenizer  # nothing can be trained without one
    done = conversion.convert(source, ("keras_h5",), folder, "albert", said)
    write_vocabulary(tokenizer.uri, pieces)
    Path(parity.uri).mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / conversion.PARITY, parity.uri)

    initialised = done.manifest["initialised"]
    facts = {"source": source, "format": done.manifest["source"]["format"], "fingerprint": done.manifest["fingerprint"]}
    manifests.write(model, facts | {"initialised": initialised, "tokenizer_fingerprint": pieces.fingerprint})
    manifests.write(tokenizer, {"fingerprint": pieces.fingerprint, "vocab_size": pieces.vocab_size, "source": source})
    manifests.write(parity, facts | {"agrees": done.parity.agrees})
    fresh = f", {' and '.join(initialised)} freshly initialised" if initialised else ""
    _log.info("%s converted and proven%s", source, fresh)
