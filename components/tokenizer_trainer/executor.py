"""Trains a vocabulary, or passes one on."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator

import tensorflow as tf
from tfx import types

from albert_model.text.examples import decode_documents
from albert_model.text.tokenizer import Tokenizer, TokenizerSettings, read_vocabulary, train, write_vocabulary
from albert_model.weights.package import VOCABULARY
from components import manifests
from components.initial_model.executor import RANDOM
from components.model_layout import package_folder
from components.sharding import split_files

_log = logging.getLogger("albert.tokenizer")
_BATCH = 64  # documents decoded at once


def make_tokenizer(
    documents: types.Artifact, initial_model: types.Artifact, output: types.Artifact, vocab_size: int, settings: str
) -> None:
    """Writes the vocabulary and its manifest."""
    wanted = TokenizerSettings.model_validate_json(settings)
    if manifests.read(initial_model.uri)["source"] == RANDOM:
        tokenizer = _train(documents, vocab_size, wanted)
        source = "trained"
    else:
        tokenizer = read_vocabulary(os.path.join(package_folder(initial_model.uri), VOCABULARY))
        source = "initial model"
        if tokenizer.do_lower_case != wanted.do_lower_case:
            _log.warning(
                "tokenizer.do_lower_case: %s has no effect, as the vocabulary is that of the model to start from. "
                "start: random trains a new one.",
                str(wanted.do_lower_case).lower(),
            )
    write_vocabulary(output.uri, tokenizer)
    manifests.write(
        output, {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size, "source": source}
    )
    _log.info("%s pieces, %s", f"{tokenizer.vocab_size:,}", source)


def _train(documents: types.Artifact, vocab_size: int, settings: TokenizerSettings) -> Tokenizer:
    share = min(1.0, settings.max_sentences / manifests.read(documents.uri)["read"]["sentences"])
    return train(_sample(_sentences(documents.uri), share), vocab_size, settings)


def _sentences(uri: str) -> Iterator[str]:
    for path in split_files(uri, "train"):
        for batch in tf.data.TFRecordDataset(path).batch(_BATCH).as_numpy_iterator():
            for document in decode_documents(batch):
                yield from document.sentences


def _sample(sentences: Iterator[str], share: float) -> Iterator[str]:
    """A share of the sentences, chosen by their hash: the same whatever their order."""
    limit = int(share * 2**64)
    for sentence in sentences:
        digest = hashlib.blake2b(sentence.encode(), digest_size=8).digest()
        if int.from_bytes(digest, "big") < limit:
            yield sentence
