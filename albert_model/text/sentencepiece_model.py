"""What is read from SentencePiece's model files, and added to them, beside what its package does.

The messages of sentencepiece_model.proto are declared here with the few fields that are needed: the package's own
declaration does not load beside TFX's protobuf. Bytes that are appended to a message are merged with it: lists
become longer, single values are replaced (protobuf's encoding guide, "Last One Wins").
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "albert_spm"
_BYTES, _STRING, _FLOAT, _INT32, _BOOL, _MESSAGE = 12, 9, 2, 5, 8, 11  # descriptor.proto, FieldDescriptorProto.Type
_OPTIONAL, _REPEATED = 1, 3
_FIELDS = {
    "SentencePiece": [("piece", 1, _STRING), ("score", 2, _FLOAT), ("type", 3, _INT32)],
    "TrainerSpec": [("model_type", 3, _INT32), ("vocab_size", 4, _INT32), ("treat_whitespace_as_suffix", 24, _BOOL)],
    "NormalizerSpec": [
        *[("name", 1, _STRING), ("precompiled_charsmap", 2, _BYTES), ("add_dummy_prefix", 3, _BOOL)],
        *[("remove_extra_whitespaces", 4, _BOOL), ("escape_whitespaces", 5, _BOOL)],
    ],
}
_NORMAL, _USER_DEFINED = 1, 4  # sentencepiece_model.proto, SentencePiece.Type
_UNIGRAM = 1  # TrainerSpec.ModelType
_BUILT_IN_TABLES = ("identity", "nfkc", "nfkc_cf", "nmt_nfkc", "nmt_nfkc_cf")
_SPACES = ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
_PARTS = [("pieces", 1, "SentencePiece", _REPEATED), ("trainer_spec", 2, "TrainerSpec", _OPTIONAL)]
_PARTS += [("normalizer_spec", 3, "NormalizerSpec", _OPTIONAL)]


@functools.cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, type=kind, label=_OPTIONAL)
    model = file.message_type.add(name="ModelProto")
    for field, number, part, label in _PARTS:
        model.field.add(name=field, number=number, type=_MESSAGE, label=label, type_name=f".{_PACKAGE}.{part}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelProto"))


def character_table(model: bytes) -> bytes:
    """SentencePiece's own normalisation: `normalizer_spec.precompiled_charsmap`."""
    return _model_class().FromString(model).normalizer_spec.precompiled_charsmap


def is_cut_by_words(model: bytes) -> bool:
    """Whether every word is cut by the scores of its pieces alone, be there other words beside it or not.

    So it is if spaces become word marks, which only begin pieces, and the normalisation has no rule for several
    characters of ASCII.
    """
    parsed = _model_class().FromString(model)
    spec, trainer = parsed.normalizer_spec, parsed.trainer_spec
    return (
        (trainer.model_type == _UNIGRAM or not trainer.HasField("model_type"))
        and not trainer.treat_whitespace_as_suffix
        and all(getattr(spec, name) or not spec.HasField(name) for name in _SPACES)
        and spec.name in _BUILT_IN_TABLES
        and not any(" " in each.piece or "▁" in each.piece[1:] for each in parsed.pieces)
    )


def types_of_pieces(model: bytes) -> tuple[np.ndarray, np.ndarray]:
    """bool [V] each: which pieces are used where their score says so, and which wherever they fit."""
    pieces = _model_class().FromString(model).pieces
    types = np.array([piece.type if piece.HasField("type") else _NORMAL for piece in pieces])
    return types == _NORMAL, types == _USER_DEFINED


def with_pieces(model: bytes, pieces: Iterable[tuple[str, float]]) -> bytes:
    """The model with more pieces and their scores, after all that it has."""
    more = _model_class()()
    for piece, score in pieces:
        more.pieces.add(piece=piece, score=score)
    more.trainer_spec.vocab_size = len(_model_class().FromString(model).pieces) + len(more.pieces)
    return model + more.SerializeToString()


def without_edges(model: bytes) -> bytes:
    """The model for parts of words: it neither adds a word mark in front nor takes one away."""
    changes = _model_class()()
    changes.normalizer_spec.add_dummy_prefix = False
    changes.normalizer_spec.remove_extra_whitespaces = False
    return model + changes.SerializeToString()
