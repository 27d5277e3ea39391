"""How many characters of text a piece stands for, so that models of different vocabularies can be compared."""

from __future__ import annotations

import re

import numpy as np

from albert_model.text.tokenizer import Tokenizer

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_WORD_START = "▁"  # SentencePiece's
_CONTINUED = "##"  # WordPiece's


def characters_of_pieces(tokenizer: Tokenizer) -> np.ndarray:
    """float32 [V]: characters of each piece, without white space.

    A piece that is no text (a mark of a word's start alone, a special piece) has none. One that is unknown hides a
    character at least, and counts as one; so does a single byte of a character.
    """
    ordinary = set(tokenizer.ordinary_ids.tolist())
    counts = [_length(piece) if i in ordinary else 0 for i, piece in enumerate(tokenizer.pieces)]
    counts[tokenizer.unknown_id] = 1
    return np.array(counts, np.float32)


def _length(piece: str) -> int:
    if _BYTE.fullmatch(piece):
        return 1
    if len(piece) > len(_CONTINUED):
        piece = piece.removeprefix(_CONTINUED)
    return len(piece.replace(_WORD_START, ""))
