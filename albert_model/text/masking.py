"""Whole-word n-gram masking."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer


class Masked(NamedTuple):
    """A sequence with its predictions.

    Attributes:
      ids: int32 [N], some replaced.
      positions: int32 [P], ascending.
      labels: int32 [P], the ids that stood at `positions`.
    """

    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray


def prediction_budget(length: int, settings: ExampleSettings) -> int:
    """Pieces to predict in a sequence of `length` pieces, special ones included.

    >>> prediction_budget(100, ExampleSettings(max_predictions_per_seq=20))
    15
    """
    return min(settings.max_predictions_per_seq, max(1, round(settings.masked_lm_prob * length)))


def mask(
    ids: np.ndarray, maskable: np.ndarray, settings: ExampleSettings, tokenizer: Tokenizer, rng: np.random.Generator
) -> Masked:
    """Masks n-grams of whole words: of the pieces chosen, 80 % become [MASK], 10 % another piece, 10 % stay.

    An n-gram starts at a random word and has n words with probability proportional to 1/n (n ≤ `ngram`). It
    ends with its segment, and becomes shorter, or is left out, where it exceeds the budget or overlaps
    another. (ALBERT, arXiv:1909.11942, section 4.1.)

    Args:
      ids: int32 [N] with special pieces.
      maskable: bool [N], false at special pieces, which therefore bound the segments.
      settings: budget and n-gram law.
      tokenizer: word starts and replacement pieces.
      rng: the document's generator.
    """
    starts, ends, segments = _words(ids, maskable, tokenizer.starts_word, settings.do_whole_word_mask)
    chosen = _choose_words(starts, ends, segments, prediction_budget(len(ids), settings), settings, rng)
    positions = np.flatnonzero(np.repeat(chosen, ends - starts))
    positions = np.flatnonzero(maskable)[positions].astype(np.int32)
    return Masked(_replace(ids, positions, tokenizer, rng), positions, ids[positions])


def _words(ids: np.ndarray, maskable: np.ndarray, starts_word: np.ndarray, whole: bool) -> tuple[np.ndarray, ...]:
    """Start, end and segment number of each word. The first piece of a segment always begins a word."""
    positions = np.flatnonzero(maskable)
    new_segment = np.diff(positions, prepend=-2) > 1
    begins = new_segment | starts_word[ids[positions]] if whole else np.ones(len(positions), bool)
    first = np.flatnonzero(begins)
    starts = positions[first]
    lengths = np.diff(first, append=len(positions))
    return starts, starts + lengths, np.cumsum(new_segment)[first]


def _choose_words(
    starts: np.ndarray,
    ends: np.ndarray,
    segments: np.ndarray,
    budget: int,
    settings: ExampleSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """bool [W]: the words to mask, `budget` pieces in all or as near below as whole words allow."""
    count = len(starts)
    order = rng.permutation(count).tolist()
    sizes = rng.choice(np.arange(1, settings.ngram + 1), count, p=ngram_law(settings)).tolist()
    lengths, segment_of = (ends - starts).tolist(), segments.tolist()
    chosen = [False] * count
    for word, size in zip(order, sizes, strict=True):
        if budget == 0:
            break
        gram = []
        for w in range(word, min(word + size, count)):
            if chosen[w] or segment_of[w] != segment_of[word] or lengths[w] > budget:
                break
            gram.append(w)
            budget -= lengths[w]
        for w in gram:
            chosen[w] = True
    return np.array(chosen, bool)


def ngram_law(settings: ExampleSettings) -> np.ndarray:
    """Probability of n = 1 … `ngram`: proportional to 1/n, or to its mirror image where longer are favoured.

    >>> ngram_law(ExampleSettings()).round(3).tolist()
    [0.545, 0.273, 0.182]
    """
    weights = 1 / np.arange(1, settings.ngram + 1)
    law = weights / weights.sum()
    return law if settings.favor_shorter_ngram else law[::-1]


def _replace(ids: np.ndarray, positions: np.ndarray, tokenizer: Tokenizer, rng: np.random.Generator) -> np.ndarray:
    fate = rng.random(len(positions))
    others = tokenizer.ordinary_ids[rng.integers(len(tokenizer.ordinary_ids), size=len(positions))]
    masked = ids.copy()
    masked[positions] = np.select([fate < 0.8, fate < 0.9], [tokenizer.mask_id, others], ids[positions])
    return masked
