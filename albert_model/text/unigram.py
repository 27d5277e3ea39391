"""The best way to cut short ASCII strings into pieces that have scores, where it is the best by far."""

from __future__ import annotations

import numpy as np

from albert_model.text.ragged import Ragged, ranges
from albert_model.text.string_index import LONGEST, StringIndex, keys_of

# SentencePiece adds scores from the start of a sentence on, in float32, so where two ways are nearly as good what goes
# before decides. Below 2¹⁵ it rounds by 2⁻¹⁰ at most, so two ways of 16 pieces each may come nearer by 2⁻⁵.
_LARGEST_SUM = 1 << 15
_MARGIN = 1 / 16
_LARGEST_PER_BYTE = 16.0  # of strings that are certain
LONGEST_SENTENCE = int(_LARGEST_SUM / _LARGEST_PER_BYTE) - LONGEST  # bytes of one that is cut as its parts are
_DEMANDED = -0.1  # SentencePiece's score of a demanded character, beside the largest one
_AT_ONCE = 1024  # strings; bounds memory


def can_add(scores: np.ndarray) -> bool:
    """Whether the scores of a vocabulary are of a size that leaves strings which are certain."""
    return bool(-_LARGEST_PER_BYTE - _DEMANDED < scores.max(initial=-np.inf) <= 0)


class Unigram:
    """Cuts parts of sentences as SentencePiece's unigram model does: so that the sum of the scores is largest.

    Args:
      pieces: of the vocabulary, a space for the word mark.
      scores: float [V]; NaN of a piece that SentencePiece gives another one.
      usable: bool [V]: pieces that stand for text.
    """

    def __init__(self, pieces: list[str], scores: np.ndarray, usable: np.ndarray):
        short = [i for i in np.flatnonzero(usable) if len(pieces[i].encode()) <= LONGEST]
        self._ids, self._scores = np.array(short, np.int32), scores[short]
        self._index = StringIndex(len(short))
        self._index.add(np.array([pieces[i].encode() for i in short], f"S{LONGEST}"))

    def encode(self, strings: np.ndarray) -> Ragged:
        """Ids; none for a string that is not certain to have the same ones in any sentence of `LONGEST_SENTENCE`.

        Args:
          strings: S16, none empty.
        """
        some = [self._encode(strings[i : i + _AT_ONCE]) for i in range(0, len(strings), _AT_ONCE)]
        return Ragged.from_lengths(*(np.concatenate(column) for column in zip(*some, strict=True)))

    def _encode(self, strings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all strings, and how many each has."""
        lengths, columns = np.char.str_len(strings), np.arange(len(strings))
        text = np.append(strings, [b""]).view(np.uint8)
        best, second, came_from = _best_ways(self._steps(text, lengths))
        best, second = best[lengths, columns], second[lengths, columns]
        certain = (best > second + _MARGIN) & (-best < _LARGEST_PER_BYTE * lengths)
        certain |= (lengths == 1) & np.isnan(best)  # there is one way, whatever its score
        is_start = _starts(came_from, lengths) & certain[:, None]
        starts = np.flatnonzero(is_start)
        string_ends = (columns * LONGEST + lengths)[starts // LONGEST]
        ends = np.minimum(
            np.append(starts[1:], string_ends[-1:]), string_ends
        )  # the next start may be another string's
        return self._ids[self._index.find(keys_of(text, starts, ends - starts))], is_start.sum(1)

    def _steps(self, text: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Scores of pieces by end, start and string: float64 [17, 16, N], -inf where there is none."""
        places = np.flatnonzero(text != 0)
        column, start = np.divmod(places, LONGEST)
        rest = lengths[column] - start
        column, start, places = (np.repeat(each, rest) for each in (column, start, places))
        taken = ranges(np.ones_like(rest), rest)
        numbers = self._index.find(keys_of(text, places, taken))
        found = np.flatnonzero(numbers >= 0)
        steps = np.full((LONGEST + 1, LONGEST, len(lengths)), -np.inf)
        steps[(start + taken)[found], start[found], column[found]] = self._scores[numbers[found]]
        return steps


def _best_ways(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[17, N] each: scores of the best and second best way to each place, and where the best one's last step starts.

    A score is -inf where there is no such way, and NaN where a step is.
    """
    columns = np.arange(steps.shape[2])
    best = np.full(steps.shape[::2], -np.inf)
    second, came_from = best.copy(), np.zeros(best.shape, np.int64)
    best[0] = 0
    for end in range(1, len(steps)):
        ways = best[:end] + steps[end, :end]
        chosen = ways.argmax(0)
        best[end], came_from[end] = ways[chosen, columns], chosen
        ways[chosen, columns] = second[chosen, columns] + steps[end, chosen, columns]
        second[end] = ways.max(0)
    return best, second, came_from


def _starts(came_from: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """bool [N, 16]: where pieces start on the best ways to the ends of strings."""
    columns, place = np.arange(len(lengths)), lengths
    starts = np.zeros((len(lengths), LONGEST), bool)
    while place.any():
        place = came_from[place, columns]
        starts[columns, place] = True
    return starts
