"""Documents as columns of pieces, with the places where words and sentences begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from albert_model.text.documents import Document
from albert_model.text.ragged import Ragged, offsets_of
from albert_model.text.tokenizer import Tokenizer


class Pieces(NamedTuple):
    """The pieces of many documents, one after another: N pieces, S sentences, W words, D documents.

    Attributes:
      ids: int32 [N].
      sentence_ends: int64 [S], ascending; no sentence is empty, or longer than an example.
      document_sentences: int64 [D + 1]; document d has the sentences from `document_sentences[d]` on. It may have none.
      word_starts: int64 [W + 1], ascending, and N at the end. Every sentence begins a word.
    """

    ids: np.ndarray
    sentence_ends: np.ndarray
    document_sentences: np.ndarray
    word_starts: np.ndarray


def cut_into_pieces(
    documents: Sequence[Document], tokenizer: Tokenizer, longest: int, whole_words: bool, counts: Counter[str]
) -> Pieces:
    """Encodes documents.

    Args:
      documents: the text.
      tokenizer: encodes it.
      longest: pieces that a sentence may have. A longer one is broken between words into parts of at most half of
        that, so that two parts make a pair.
      whole_words: else every piece counts as a word.
      counts: `empty_sentences` and `empty_documents`, which have no piece, and `long_sentences` (updated).
    """
    encoded = tokenizer.encode([sentence for document in documents for sentence in document.sentences])
    begins_word = tokenizer.starts_word[encoded.values] if whole_words else np.ones(len(encoded.values), bool)
    counts["long_sentences"] += int((encoded.lengths > longest).sum())
    counts["empty_sentences"] += int((encoded.lengths == 0).sum())
    first_sentences = offsets_of(np.array([len(document.sentences) for document in documents], np.int64))
    document_ends = encoded.offsets[first_sentences]
    counts["empty_documents"] += int((np.diff(document_ends) == 0).sum())
    ends = sentence_ends(encoded, begins_word, longest)
    begins_word[np.concatenate([[0], ends[:-1]])[: len(ends)]] = True
    word_starts = np.append(np.flatnonzero(begins_word), len(encoded.values))
    return Pieces(encoded.values, ends, np.searchsorted(ends, document_ends, side="right"), word_starts)


def sentence_ends(encoded: Ragged, begins_word: np.ndarray, longest: int) -> np.ndarray:
    """Ends of sentences of which none is empty or has more than `longest` pieces: int64, ascending.

    >>> encoded = Ragged.from_lengths(np.zeros(15), np.array([3, 0, 12]))
    >>> sentence_ends(encoded, np.ones(15, bool), longest=10).tolist()
    [3, 8, 13, 15]
    """
    ends = encoded.offsets[1:][encoded.lengths > 0]
    long = np.flatnonzero(encoded.lengths > longest)
    breaks = [_breaks(encoded.offsets[i], encoded.offsets[i + 1], begins_word, longest) for i in long]
    return np.sort(np.concatenate([ends, *breaks])) if breaks else ends


def _breaks(start: int, end: int, begins_word: np.ndarray, longest: int) -> list[int]:
    """Where to break a sentence: between two words, or inside one of more than `longest` / 2 pieces."""
    breaks: list[int] = []
    while end - start > longest // 2:
        words = np.flatnonzero(begins_word[start + 1 : start + longest // 2 + 1])
        start += int(words[-1]) + 1 if len(words) else longest // 2
        breaks.append(start)
    return breaks
