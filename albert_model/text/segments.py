"""Documents to sentence-order pairs.

A pair is two neighbouring runs of pieces of one document. Both are kept as ranges into the document's pieces,
so a pair never holds text of another document and undoing the swap always gives back one run of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from albert_model.text.settings import ExampleSettings

SPECIAL_PIECES = 3  # [CLS] A [SEP] B [SEP]


@dataclass(frozen=True)
class Pair:
    """Pieces [start, middle) and [middle, end) of a document; `swapped` says that the second one comes first."""

    start: int
    middle: int
    end: int
    swapped: bool

    def segments(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segments A and B, in the order in which the model reads them."""
        first, second = ids[self.start : self.middle], ids[self.middle : self.end]
        return (second, first) if self.swapped else (first, second)


def generator(seed: int, document_id: str, copy: int) -> np.random.Generator:
    """The one source of randomness of a document's copy, whatever machine or order it is worked on in."""
    words = np.frombuffer(bytes.fromhex(document_id), np.uint32).tolist()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, copy, *words])))


def sentence_order_pairs(
    sentence_ends: Sequence[int],
    starts_word: np.ndarray,
    settings: ExampleSettings,
    rng: np.random.Generator,
    dropped: Counter[str],
) -> Iterator[Pair]:
    """Cuts a document into pairs of segments.

    Sentences are gathered until they fill a target length, `max_seq_length` less the special pieces, or with
    probability `short_seq_prob` a random shorter one; the gathered chunk is cut in two between random
    sentences. A chunk of one sentence is cut at a random word inside it, or dropped, as
    `single_sentence` says. Chunks that are too long lose pieces at their outer ends.

    Args:
      sentence_ends: [S] where each sentence ends in the document's pieces, ascending.
      starts_word: bool [N] for each piece of the document.
      settings: lengths and probabilities.
      rng: see `generator`.
      dropped: counts what is left out, by reason (updated).

    Yields:
      Pairs in document order.
    """
    longest = settings.max_seq_length - SPECIAL_PIECES
    start, first = 0, 0
    target = _target_length(longest, settings.short_seq_prob, rng)
    for i, end in enumerate(sentence_ends):
        if end - start < target and i + 1 < len(sentence_ends):
            continue
        inner_ends = sentence_ends[first:i]
        middle = _cut(start, end, inner_ends, starts_word, settings, rng)
        if middle is None:
            dropped["single_sentence_chunks"] += end > start
        else:
            swapped = bool(rng.random() < 0.5)
            kept_start, kept_end = _trim(start, middle, end, longest)
            dropped["trimmed_pieces"] += (kept_start - start) + (end - kept_end)
            yield Pair(kept_start, middle, kept_end, swapped)
        start, first = end, i + 1
        target = _target_length(longest, settings.short_seq_prob, rng)


def _target_length(longest: int, short_seq_prob: float, rng: np.random.Generator) -> int:
    return int(rng.integers(2, longest + 1)) if rng.random() < short_seq_prob else longest


def _cut(
    start: int,
    end: int,
    inner_ends: Sequence[int],
    starts_word: np.ndarray,
    settings: ExampleSettings,
    rng: np.random.Generator,
) -> int | None:
    """Where segment A ends: between two sentences if there are two, else between two words, else nowhere."""
    inner_ends = [e for e in inner_ends if start < e < end]
    if inner_ends:
        return int(inner_ends[rng.integers(len(inner_ends))])
    if settings.single_sentence == "skip":
        return None
    words = start + 1 + np.flatnonzero(starts_word[start + 1 : end])
    return int(words[rng.integers(len(words))]) if len(words) else None


def _trim(start: int, middle: int, end: int, longest: int) -> tuple[int, int]:
    """The outer ends of a pair of at most `longest` pieces; the longer segment loses first.

    >>> _trim(0, 10, 14, longest=8)
    (6, 14)
    >>> _trim(0, 10, 20, longest=9)
    (5, 14)
    """
    left, right = middle - start, end - middle
    excess = max(0, left + right - longest)
    if excess:
        keep_right = min(right, max(longest // 2, longest - left))
        keep_left = min(left, longest - keep_right)
        return middle - keep_left, middle + keep_right
    return start, end
