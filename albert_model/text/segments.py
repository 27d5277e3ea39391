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


def break_long_sentences(sentence_ends: Sequence[int], starts_word: np.ndarray, longest: int) -> list[int]:
    """Ends of sentences of which none is empty or has more than `longest` pieces.

    A longer one is broken between words into parts of at most half of that, so that two parts make a pair.

    Args:
      sentence_ends: [S] where each sentence ends in the document's pieces, ascending.
      starts_word: bool [N] for each piece of the document.
      longest: pieces in a pair at most.

    >>> break_long_sentences([3, 3, 15], np.ones(15, bool), longest=10)
    [3, 8, 13, 15]
    """
    ends: list[int] = []
    start = 0
    for end in sentence_ends:
        if end - start > longest:
            while end - start > longest // 2:
                words = np.flatnonzero(starts_word[start + 1 : start + longest // 2 + 1])
                start += int(words[-1]) + 1 if len(words) else longest // 2
                ends.append(start)
        if end > start:
            ends.append(end)
        start = end
    return ends


def sentence_order_pairs(
    sentence_ends: Sequence[int],
    starts_word: np.ndarray,
    settings: ExampleSettings,
    rng: np.random.Generator,
    dropped: Counter[str],
) -> Iterator[Pair]:
    """Cuts a document into pairs of segments.

    Sentences are gathered as long as they fit into `max_seq_length` less the special pieces, or, with probability
    `short_seq_prob`, until there are two or more that reach a random shorter length; the gathered chunk is cut in
    two between random sentences. A chunk of one sentence is cut at a random word inside it, or dropped, as
    `single_sentence` says.

    Nothing is trimmed. A sentence with a ragged end would tell where the pair's outer ends are, and so the order,
    without a look at what the sentences say.

    Args:
      sentence_ends: of `break_long_sentences`.
      starts_word: bool [N] for each piece of the document.
      settings: lengths and probabilities.
      rng: see `generator`.
      dropped: counts what is left out, by reason (updated).

    Yields:
      Pairs in document order.
    """
    longest = longest_pair(settings)
    start, first = 0, 0
    while first < len(sentence_ends):
        last = _last_sentence(sentence_ends, start, first, longest, _target_length(longest, settings, rng))
        end = sentence_ends[last]
        middle = _cut(start, end, sentence_ends[first:last], starts_word, settings, rng)
        if middle is None:
            dropped["single_sentence_chunks"] += 1
            dropped["single_sentence_pieces"] += end - start
        else:
            yield Pair(start, middle, end, swapped=bool(rng.random() < 0.5))
        start, first = end, last + 1


def longest_pair(settings: ExampleSettings) -> int:
    """Pieces in both segments together, at most."""
    return settings.max_seq_length - SPECIAL_PIECES


def _target_length(longest: int, settings: ExampleSettings, rng: np.random.Generator) -> int:
    return int(rng.integers(2, longest + 1)) if rng.random() < settings.short_seq_prob else longest


def _last_sentence(ends: Sequence[int], start: int, first: int, longest: int, target: int) -> int:
    """The last sentence of the chunk that begins with sentence `first`, at piece `start`."""
    last = first
    while last + 1 < len(ends) and ends[last + 1] - start <= longest and (last == first or ends[last] - start < target):
        last += 1
    return last


def _cut(
    start: int,
    end: int,
    inner_ends: Sequence[int],
    starts_word: np.ndarray,
    settings: ExampleSettings,
    rng: np.random.Generator,
) -> int | None:
    """Where segment A ends: between two sentences if there are two, else between two words, else nowhere."""
    if inner_ends:
        return int(inner_ends[rng.integers(len(inner_ends))])
    if settings.single_sentence == "skip":
        return None
    words = start + 1 + np.flatnonzero(starts_word[start + 1 : end])
    return int(words[rng.integers(len(words))]) if len(words) else None
