"""For which SentencePiece models sentences can be encoded part by part, and how."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import numpy as np
import sentencepiece

from albert_model.text import sentencepiece_model, unigram
from albert_model.text.part_memo import PartMemo
from albert_model.text.ragged import Ragged

_VISIBLE = string.ascii_letters + string.digits + string.punctuation


def part_memo(model: bytes, encode: Callable[[Sequence[str]], Ragged]) -> PartMemo | None:
    """What encodes text as a model does, by its parts; None if that model's parts depend on each other.

    Args:
      model: SentencePiece's.
      encode: ids of sentences, by that model.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.get_piece_size()
    normal, demanded = sentencepiece_model.types_of_pieces(model)
    scores = np.array([processor.get_score(i) for i in range(size)])
    if not (sentencepiece_model.is_cut_by_words(model) and unigram.can_add(scores[normal])):
        return None
    pieces = [processor.id_to_piece(i).replace("▁", " ") for i in range(size)]
    unchanged = "".join(c for c in _VISIBLE if processor.Normalize(c) == f"▁{c}")
    cut = unigram.Unigram(pieces, np.where(normal, scores, np.nan), normal | demanded)
    return PartMemo(pieces, unchanged, encode, cut.encode, unigram.LONGEST_SENTENCE)
