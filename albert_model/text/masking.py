"""Whole-word n-gram masking of many sequences at a time.

What it costs depends on the number of predictions, and not on the length of the sequences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from albert_model.text import draws
from albert_model.text.ragged import Ragged, offsets_of, ranges
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer

# Candidates that are drawn blindly; a sequence that still lacks predictions is then searched for words that fit.
_BLIND_DRAWS = 48
_FATES = 1 << 20  # index of the first draw that says what becomes of a prediction, beyond all candidates'


class Words(NamedTuple):
    """Where words stand in some run of pieces: int64 [W] each, ascending."""

    starts: np.ndarray
    ends: np.ndarray


class Sequences(NamedTuple):
    """Sequences of two segments each, as columns of length M. Column 0 is segment A, column 1 segment B.

    Attributes:
      lengths: int64 [M], pieces, special ones included.
      first_word: int64 [M, 2], the segment's first word, a number in a `Words`.
      words: int64 [M, 2], how many words the segment has.
      shift: int64 [M, 2], what is to be added to a word's start for its position in the sequence.
    """

    lengths: np.ndarray
    first_word: np.ndarray
    words: np.ndarray
    shift: np.ndarray


class Masked(NamedTuple):
    """Sequences with their predictions.

    Attributes:
      ids: Ragged of the sequences' ids, some replaced.
      positions: Ragged int64, ascending in each sequence.
      labels: Ragged, the ids that stood there.
    """

    ids: Ragged
    positions: Ragged
    labels: Ragged


def prediction_budgets(lengths: np.ndarray, settings: ExampleSettings) -> np.ndarray:
    """Pieces to predict in sequences of these lengths, special pieces included.

    >>> prediction_budgets(np.array([100]), ExampleSettings(max_predictions_per_seq=20)).tolist()
    [15]
    """
    wanted = np.rint(settings.masked_lm_prob * lengths).astype(np.int64)
    return np.minimum(settings.max_predictions_per_seq, np.maximum(wanted, 1))


def mask(
    ids: Ragged, sequences: Sequences, words: Words, settings: ExampleSettings, tokenizer: Tokenizer, keys: np.ndarray
) -> Masked:
    """Masks n-grams of whole words: of the pieces chosen, 80 % become [MASK], 10 % another piece, 10 % stay.

    An n-gram starts at a random word and has n words with probability proportional to 1/n (n ≤ `ngram`). It
    ends with its segment, and becomes shorter, or is left out, where it exceeds the budget or overlaps
    another. (ALBERT, arXiv:1909.11942, section 4.1.)

    Args:
      ids: of the sequences, special pieces included.
      sequences: where their words are.
      words: where those stand.
      settings: budget and n-gram law.
      tokenizer: replacement pieces.
      keys: uint64 [M], of the draws.
    """
    chosen = choose_words(sequences, words, settings, keys)
    sequence = np.repeat(np.arange(len(chosen.lengths)), chosen.lengths)
    segment, word = _words_at(sequences, sequence, chosen.values)
    lengths = words.ends[word] - words.starts[word]
    positions = ranges(words.starts[word] + sequences.shift[sequence, segment], lengths)
    counts = np.bincount(sequence, lengths, len(ids.lengths)).astype(np.int64)
    return _replace(ids, Ragged.from_lengths(positions, counts), tokenizer, keys)


def choose_words(sequences: Sequences, words: Words, settings: ExampleSettings, keys: np.ndarray) -> Ragged:
    """The words to mask, `prediction_budgets` pieces in all or as near below as whole words allow.

    The order in which words are tried as the beginning of an n-gram is a random one; words are drawn until the budget
    is used up, those tried before being passed over, so that only as many are drawn as are needed.

    Returns:
      Ragged: for each sequence the numbers of its words, counted from its first word on, ascending.
    """
    choice = _Choice(sequences, words, settings, keys)
    active = np.flatnonzero(np.diff(choice.offsets))
    for attempt in range(_BLIND_DRAWS):
        active = active[choice.budgets[active] > 0]
        if not len(active):
            break
        choice.draw(active, attempt)
    for row in active:
        choice.draw_what_fits(row)
    return choice.result()


class _Choice:
    """Words that are taken so far, and what is left of the budgets."""

    def __init__(self, sequences: Sequences, words: Words, settings: ExampleSettings, keys: np.ndarray):
        self.sequences, self.words, self.keys = sequences, words, keys
        self.law = _thresholds(settings)
        self.offsets = offsets_of(sequences.words.sum(1))
        self.taken = np.zeros(self.offsets[-1], bool)
        self.budgets = prediction_budgets(sequences.lengths, settings)

    def draw(self, rows: np.ndarray, attempt: int) -> None:
        """Tries a random word of each of these sequences."""
        bits = draws.draw(self.keys[rows], attempt)
        word = draws.below(draws.high(bits), self.offsets[rows + 1] - self.offsets[rows])
        self._take(rows, word, bits)

    def draw_what_fits(self, row: np.intp) -> None:
        """Goes on drawing in one sequence, from the words alone that are neither taken nor too long."""
        rows = np.array([row])
        every = np.arange(self.offsets[row + 1] - self.offsets[row])
        lengths = self._lengths(np.full(len(every), row), every)
        for attempt in range(_BLIND_DRAWS, _FATES):
            taken = self.taken[self.offsets[row] : self.offsets[row + 1]]
            fitting = np.flatnonzero(~taken & (lengths <= self.budgets[row]))
            if not len(fitting):
                return
            bits = draws.draw(self.keys[rows], attempt)
            self._take(rows, fitting[draws.below(draws.high(bits), len(fitting))], bits)

    def _take(self, rows: np.ndarray, word: np.ndarray, bits: np.ndarray) -> None:
        """Takes the n-gram that begins with `word` in each sequence.

        It ends where its segment does, or with the word before one that is taken or exceeds what is left of the budget.
        """
        size = 1 + np.searchsorted(self.law, draws.low(bits), side="right")
        in_a, in_b = self.sequences.words[rows].T
        until = np.minimum(word + size, np.where(word < in_a, in_a, in_a + in_b))
        while len(rows):
            length, place = self._lengths(rows, word), self.offsets[rows] + word
            free = ~self.taken[place] & (length <= self.budgets[rows])
            self.taken[place[free]] = True
            self.budgets[rows[free]] -= length[free]
            word = word + 1
            going_on = free & (word < until)
            rows, word, until = rows[going_on], word[going_on], until[going_on]

    def _lengths(self, rows: np.ndarray, word: np.ndarray) -> np.ndarray:
        _, number = _words_at(self.sequences, rows, word)
        return self.words.ends[number] - self.words.starts[number]

    def result(self) -> Ragged:
        flat = np.flatnonzero(self.taken)
        counts = np.diff(np.searchsorted(flat, self.offsets))
        return Ragged.from_lengths(flat - np.repeat(self.offsets[:-1], counts), counts)


def ngram_law(settings: ExampleSettings) -> np.ndarray:
    """Probability of n = 1 … `ngram`: proportional to 1/n, or to its mirror image where longer are favoured.

    >>> ngram_law(ExampleSettings()).round(3).tolist()
    [0.545, 0.273, 0.182]
    """
    weights = 1 / np.arange(1, settings.ngram + 1)
    law = weights / weights.sum()
    return law if settings.favor_shorter_ngram else law[::-1]


def _thresholds(settings: ExampleSettings) -> np.ndarray:
    """uint64 [ngram - 1]: how many of them a half of a draw reaches is n - 1."""
    return np.array([draws.threshold(p) for p in np.cumsum(ngram_law(settings))[:-1]], np.uint64)


def _words_at(sequences: Sequences, rows: np.ndarray, word: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segment (0 or 1) and number in `Words` of words that are counted from their sequence's first one on."""
    in_a = sequences.words[rows, 0]
    segment = (word >= in_a).astype(np.int64)
    return segment, sequences.first_word[rows, segment] + word - segment * in_a


def _replace(ids: Ragged, positions: Ragged, tokenizer: Tokenizer, keys: np.ndarray) -> Masked:
    counts = positions.lengths
    places = positions.values + np.repeat(ids.offsets[:-1], counts)
    labels = ids.values[places]
    bits = draws.draw(np.repeat(keys, counts), _FATES + ranges(np.zeros(len(counts), np.int64), counts))
    others = tokenizer.ordinary_ids[draws.below(draws.high(bits), len(tokenizer.ordinary_ids))]
    fate = draws.low(bits)
    replaced = np.where(fate < draws.threshold(0.9), others, labels)
    values = ids.values.copy()
    values[places] = np.where(fate < draws.threshold(0.8), tokenizer.mask_id, replaced)
    return Masked(Ragged(values, ids.offsets), positions, Ragged(labels, positions.offsets))
