"""Trains a vocabulary, passes one on, or extends it."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils

from albert_model.text import draws
from albert_model.text.examples import decode_documents
from albert_model.text.ragged import ranges
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary_extension import extend
from albert_model.text.vocabulary_training import TokenizerSettings, train
from albert_model.weights.package import VOCABULARY
from components import manifests
from components.initial_model.executor import RANDOM
from components.model_layout import package_folder
from components.remote import read_vocabulary, write_vocabulary
from components.sharding import ReadInBatches, Record, WriteShards, shards_for, split_files

_log = logging.getLogger("albert.tokenizer")
TRAINED, PASSED_ON, EXTENDED = "trained", "initial model", "initial model, extended"
_SPLIT = "train"
_BATCH = 64  # documents sampled at once
_SEED = 1
_DRAW_BYTES = 8


class Executor(BaseBeamExecutor):
    """Documents and the model to start from → Tokenizer."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        documents_uri = artifact_utils.get_single_uri(input_dict["documents"])
        initial_uri = artifact_utils.get_single_uri(input_dict["initial_model"])
        output = artifact_utils.get_single_instance(output_dict["tokenizer"])
        asked, settings = exec_properties["vocab_size"], exec_properties["settings"]
        tokenizer, source = self._tokenizer(
            documents_uri, initial_uri, output.uri, asked, TokenizerSettings.model_validate_json(settings)
        )
        write_vocabulary(output.uri, tokenizer)
        facts = {"vocab_size": tokenizer.vocab_size, "vocab_size_asked_for": asked, "source": source}
        manifests.write(output, {"fingerprint": tokenizer.fingerprint, **facts})
        _log.info("%s pieces, %s", f"{tokenizer.vocab_size:,}", source)

    def _tokenizer(
        self, documents_uri: str, initial_uri: str, uri: str, vocab_size: int, settings: TokenizerSettings
    ) -> tuple[Tokenizer, str]:
        """The vocabulary, and where it is from."""
        old = _initial_tokenizer(initial_uri, settings)
        if old is not None and not (settings.extend and old.vocab_size < vocab_size):
            return old, PASSED_ON
        folder = os.path.join(uri, ".sample")
        sentences = self._sample(documents_uri, folder, settings.max_sentences)
        try:
            if old is None:
                made, source = train(sentences, vocab_size, settings), TRAINED
            else:
                made, source = extend(old, sentences, vocab_size, settings), EXTENDED
                _log.info("%s pieces added to the %s there were", made.vocab_size - old.vocab_size, old.vocab_size)
        finally:
            tf.io.gfile.rmtree(folder)
        if made.vocab_size < vocab_size:
            _log.warning(
                "the text supports %s pieces only; vocab_size is %s, so that many rows of the model are never used",
                *(f"{number:,}" for number in (made.vocab_size, vocab_size)),
            )
        return made, source

    def _sample(self, documents_uri: str, folder: str, most: int) -> _Sample:
        """At most that many sentences of the training documents, chosen by the document and their place in it."""
        text = manifests.read(documents_uri)["read"]
        share = min(1.0, most / text["sentences"])
        write = WriteShards(folder, {_SPLIT: shards_for(int(share * text["text_bytes"]))})
        with self._make_beam_pipeline() as pipeline:
            records = (
                pipeline
                | "ReadDocuments" >> ReadInBatches(split_files(documents_uri, _SPLIT), _BATCH)
                | "SampleSentences" >> beam.Map(_sampled, share=share)
            )
            _ = (records,) | write
        write.remove_temporary_files()
        return _Sample(folder, most)


def _initial_tokenizer(initial_uri: str, settings: TokenizerSettings) -> Tokenizer | None:
    """That of the model to start from, if there is one."""
    if manifests.read(initial_uri)["source"] == RANDOM:
        return None
    tokenizer = read_vocabulary(os.path.join(package_folder(initial_uri), VOCABULARY))
    if tokenizer.do_lower_case != settings.do_lower_case:
        _log.warning(
            "tokenizer.do_lower_case: %s has no effect, as the vocabulary is that of the model to start from. "
            "start: random trains a new one.",
            str(settings.do_lower_case).lower(),
        )
    return tokenizer


def _sampled(batch: list[bytes], share: float) -> list[Record]:
    """Serialised documents → a share of their sentences, each with the number drawn for it in front."""
    documents = decode_documents(batch)
    counts = np.array([len(document.sentences) for document in documents])
    keys = draws.document_keys(_SEED, [document.document_id for document in documents])
    bits = draws.draw(np.repeat(keys, counts), ranges(np.zeros(len(counts), np.int64), counts))
    sentences = [(document.document_id, sentence) for document in documents for sentence in document.sentences]
    return [
        _record(int(bits[i]), *sentences[i]) for i in np.flatnonzero(draws.high(bits) < draws.threshold(share)).tolist()
    ]


def _record(bits: int, document_id: str, sentence: str) -> Record:
    draw = bits.to_bytes(_DRAW_BYTES, "big")
    return Record(_SPLIT, draw + bytes.fromhex(document_id)[:_DRAW_BYTES], draw + sentence.encode())


class _Sample:
    """Sentences in the order of the numbers drawn for them, whatever files they came in. It can be read twice."""

    def __init__(self, folder: str, most: int):
        self._folder, self._most = folder, most

    def __iter__(self) -> Iterator[str]:
        shards = [tf.data.TFRecordDataset(path).as_numpy_iterator() for path in split_files(self._folder, _SPLIT)]
        records = heapq.merge(*shards, key=lambda record: record[:_DRAW_BYTES])
        return (record[_DRAW_BYTES:].decode() for record in itertools.islice(records, self._most))
