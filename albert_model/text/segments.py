"""Documents to sentence-order pairs.

A pair is two neighbouring runs of pieces of one document. Both are kept as ranges into the document's pieces,
so a pair never holds text of another document and undoing the swap always gives back one run of it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import NamedTuple

import numpy as np

from albert_model.text import draws
from albert_model.text.pieces import Pieces
from albert_model.text.settings import ExampleSettings

SPECIAL_PIECES = 3  # [CLS] A [SEP] B [SEP]


class Pairs(NamedTuple):
    """Pairs of segments, as columns of length M: pieces [start, middle) and [middle, end) of a document.

    Attributes:
      lane: int64, the document and its copy: the row of the keys that the pair was drawn with.
      place: int64, the pair's number in its lane.
      start, middle, end: int64, into the pieces.
      swapped: bool, the second run comes first.
      ordered: bool, the pair says something about the order of sentences; else it was cut inside one, or order does
        not count.
    """

    lane: np.ndarray
    place: np.ndarray
    start: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    swapped: np.ndarray
    ordered: np.ndarray

    def select(self, which: np.ndarray | slice) -> Pairs:
        return Pairs(*(column[which] for column in self))


# What is drawn for a pair, by index.
_SHORT, _CUT = range(2)


def sentence_order_pairs(
    pieces: Pieces, documents: np.ndarray, keys: np.ndarray, settings: ExampleSettings, dropped: Counter[str]
) -> Pairs:
    """Cuts documents into pairs of segments.

    Sentences are gathered as long as they fit into `max_seq_length` less the special pieces, or, with probability
    `short_seq_prob`, until there are two or more that reach a random shorter length; the gathered chunk is cut in
    two between random sentences. A chunk of one sentence is cut at a random word inside it, or dropped, as
    `single_sentence` says.

    Nothing is trimmed. A sentence with a ragged end would tell where the pair's outer ends are, and so the order,
    without a look at what the sentences say. For the same reason two halves of one sentence are never swapped, and
    are marked as not `ordered`.

    Args:
      pieces: the documents.
      documents: int64 [L], numbers of documents: a lane for each time that one is to be cut.
      keys: uint64 [L], of each lane's draws.
      settings: lengths and probabilities.
      dropped: counts what is left out, by reason (updated).

    Returns:
      The pairs, ordered by lane and place.
    """
    first, stop = pieces.document_sentences[documents], pieces.document_sentences[documents + 1]
    lane, rounds = np.arange(len(documents)), []
    for place in itertools.count():
        alive = first < stop
        if not alive.any():
            break
        lane, keys, first, stop = lane[alive], keys[alive], first[alive], stop[alive]
        last, pairs = _next_pairs(pieces, lane, place, first, stop, draws.derive(keys, place), settings)
        rounds.append(pairs)
        first = last + 1
    if not rounds:
        return Pairs(*(np.zeros(0, np.int64) for _ in range(5)), *(np.zeros(0, bool) for _ in range(2)))
    pairs = Pairs(*(np.concatenate(columns) for columns in zip(*rounds, strict=True)))
    pairs = pairs.select(np.lexsort((pairs.place, pairs.lane)))
    return _drop_uncut(pairs, dropped)


def _next_pairs(
    pieces: Pieces,
    lane: np.ndarray,
    place: int,
    first: np.ndarray,
    stop: np.ndarray,
    keys: np.ndarray,
    settings: ExampleSettings,
) -> tuple[np.ndarray, Pairs]:
    """The last sentence of the chunk that begins with sentence `first` in each lane, and the pair it makes."""
    ends = pieces.sentence_ends
    start = np.where(first > 0, ends[first - 1], 0)
    lengths, cuts = draws.draw(keys, _SHORT), draws.draw(keys, _CUT)
    longest = longest_pair(settings)
    short = draws.high(lengths) < draws.threshold(settings.short_seq_prob)
    target = np.where(short, 2 + draws.below(draws.low(lengths), longest - 1), longest)
    fitting = np.minimum(np.searchsorted(ends, start + longest, side="right"), stop) - 1
    reaching = np.maximum(np.searchsorted(ends, start + target), first + 1)
    last = np.minimum(fitting, reaching)

    several = last > first
    middle = np.where(
        several, ends[first + draws.below(draws.high(cuts), last - first)], _inside(pieces, start, ends[last], cuts)
    )
    if settings.single_sentence == "skip":
        middle = np.where(several, middle, start)
    ordered = several & settings.sentence_order
    swapped = ordered & (draws.low(cuts) < draws.threshold(0.5))
    return last, Pairs(lane, np.full(len(lane), place), start, middle, ends[last], swapped, ordered)


def _inside(pieces: Pieces, start: np.ndarray, end: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """A random word start between start and end; `start` itself where there is none."""
    before = np.searchsorted(pieces.word_starts, start)
    words = np.searchsorted(pieces.word_starts, end) - before
    return pieces.word_starts[before + (words > 1) * (1 + draws.below(draws.high(cuts), np.maximum(words - 1, 1)))]


def _drop_uncut(pairs: Pairs, dropped: Counter[str]) -> Pairs:
    uncut = pairs.middle == pairs.start
    dropped["single_sentence_chunks"] += int(uncut.sum())
    dropped["single_sentence_pieces"] += int((pairs.end - pairs.start)[uncut].sum())
    return pairs.select(~uncut)


def longest_pair(settings: ExampleSettings) -> int:
    """Pieces in both segments together, at most."""
    return settings.max_seq_length - SPECIAL_PIECES
