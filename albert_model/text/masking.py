"""Whole-word n-gram masking of many sequences at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from albert_model.text import draws
from albert_model.text.ragged import Ragged, ranges
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer

# Candidates that are drawn blindly; a sequence that still lacks predictions is then searched for words that fit.
_BLIND_DRAWS = 48
_FATES = 1 << 20  # index of the first draw that says what becomes of a prediction, beyond all candidates'


class Words(NamedTuple):
    """The words of M sequences, W in all, one sequence after another.

    Attributes:
      starts, ends: int64 [W], into the sequences' values.
      offsets: int64 [M + 1]; sequence m has the words from `offsets[m]` on.
      ends_of_a: int64 [M]; those before `ends_of_a[m]` are in segment A.
    """

    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    ends_of_a: np.ndarray


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
    ids: Ragged, segment_a_length: np.ndarray, settings: ExampleSettings, tokenizer: Tokenizer, keys: np.ndarray
) -> Masked:
    """Masks n-grams of whole words: of the pieces chosen, 80 % become [MASK], 10 % another piece, 10 % stay.

    An n-gram starts at a random word and has n words with probability proportional to 1/n (n ≤ `ngram`). It
    ends with its segment, and becomes shorter, or is left out, where it exceeds the budget or overlaps
    another. (ALBERT, arXiv:1909.11942, section 4.1.)

    Args:
      ids: int32, M sequences [CLS] A [SEP] B [SEP].
      segment_a_length: int64 [M], pieces of [CLS] A [SEP].
      settings: budget and n-gram law.
      tokenizer: where words begin, and replacement pieces.
      keys: uint64 [M], of the draws.
    """
    words = find_words(ids, segment_a_length, tokenizer.starts_word if settings.do_whole_word_mask else None)
    chosen = choose_words(words, prediction_budgets(ids.lengths, settings), settings, keys)
    lengths = words.ends[chosen] - words.starts[chosen]
    places = ranges(words.starts[chosen], lengths)
    counts = np.diff(np.searchsorted(places, ids.offsets))
    positions = Ragged.from_lengths(places - np.repeat(ids.offsets[:-1], counts), counts)
    return _replace(ids, places, positions, tokenizer, keys)


def find_words(ids: Ragged, segment_a_length: np.ndarray, starts_word: np.ndarray | None) -> Words:
    """Words of the segments of sequences, each segment beginning one.

    Args:
      ids: of the sequences, special pieces included.
      segment_a_length: pieces of [CLS] A [SEP].
      starts_word: bool [V], whether a piece begins a word; None: each does.
    """
    special = np.stack([ids.offsets[:-1], ids.offsets[:-1] + segment_a_length - 1, ids.offsets[1:] - 1])
    begins = np.ones(len(ids.values), bool) if starts_word is None else starts_word[ids.values]
    begins[special] = begins[special[:2] + 1] = True
    bounds = np.flatnonzero(begins)
    is_text = np.ones(len(ids.values), bool)
    is_text[special] = False
    is_text = is_text[bounds]
    starts, ends = bounds[is_text], np.append(bounds[1:], len(ids.values))[is_text]
    return Words(starts, ends, np.searchsorted(starts, ids.offsets), np.searchsorted(starts, special[1]))


def choose_words(words: Words, budgets: np.ndarray, settings: ExampleSettings, keys: np.ndarray) -> np.ndarray:
    """The words to mask, `budgets` pieces of each sequence or as near below as whole words allow.

    The order in which words are tried as the beginning of an n-gram is a random one; words are drawn until the budget
    is used up, those tried before being passed over, so that only as many are drawn as are needed.

    Returns:
      int64: numbers of words, ascending.
    """
    choice = _Choice(words, budgets, settings, keys)
    active = np.flatnonzero(np.diff(words.offsets))
    for attempt in range(_BLIND_DRAWS):
        active = active[choice.budgets[active] > 0]
        if not len(active):
            break
        choice.draw(active, attempt)
    for row in active:
        choice.draw_what_fits(row)
    return np.flatnonzero(choice.taken)


class _Choice:
    """Words that are taken so far, and what is left of the budgets."""

    def __init__(self, words: Words, budgets: np.ndarray, settings: ExampleSettings, keys: np.ndarray):
        self.words, self.keys = words, keys
        self.lengths = words.ends - words.starts
        self.law = _thresholds(settings)
        self.taken = np.zeros(len(words.starts), bool)
        self.budgets = budgets.copy()

    def draw(self, rows: np.ndarray, attempt: int) -> None:
        """Tries a random word of each of these sequences."""
        bits = draws.draw(self.keys[rows], attempt)
        first, end = self.words.offsets[rows], self.words.offsets[rows + 1]
        self._take(rows, first + draws.below(draws.high(bits), end - first), bits)

    def draw_what_fits(self, row: np.intp) -> None:
        """Goes on drawing in one sequence, from the words alone that are neither taken nor too long."""
        rows = np.array([row])
        every = np.arange(self.words.offsets[row], self.words.offsets[row + 1])
        for attempt in range(_BLIND_DRAWS, _FATES):
            fitting = every[~self.taken[every] & (self.lengths[every] <= self.budgets[row])]
            if not len(fitting):
                return
            bits = draws.draw(self.keys[rows], attempt)
            self._take(rows, fitting[draws.below(draws.high(bits), len(fitting))], bits)

    def _take(self, rows: np.ndarray, word: np.ndarray, bits: np.ndarray) -> None:
        """Takes the n-gram that begins with `word` in each sequence.

        It ends where its segment does, or with the word before one that is taken or exceeds what is left of the budget.
        """
        size = 1 + np.searchsorted(self.law, draws.low(bits), side="right")
        end_of_a = self.words.ends_of_a[rows]
        until = np.minimum(word + size, np.where(word < end_of_a, end_of_a, self.words.offsets[rows + 1]))
        while len(rows):
            length = self.lengths[word]
            free = ~self.taken[word] & (length <= self.budgets[rows])
            self.taken[word[free]] = True
            self.budgets[rows[free]] -= length[free]
            word = word + 1
            going_on = free & (word < until)
            rows, word, until = rows[going_on], word[going_on], until[going_on]


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


def _replace(ids: Ragged, places: np.ndarray, positions: Ragged, tokenizer: Tokenizer, keys: np.ndarray) -> Masked:
    counts = positions.lengths
    labels = ids.values[places]
    bits = draws.draw(np.repeat(keys, counts), _FATES + ranges(np.zeros(len(counts), np.int64), counts))
    others = tokenizer.ordinary_ids[draws.below(draws.high(bits), len(tokenizer.ordinary_ids))]
    fate = draws.low(bits)
    replaced = np.where(fate < draws.threshold(0.9), others, labels)
    values = ids.values.copy()
    values[places] = np.where(fate < draws.threshold(0.8), tokenizer.mask_id, replaced)
    return Masked(Ragged(values, ids.offsets), positions, Ragged(labels, positions.offsets))
