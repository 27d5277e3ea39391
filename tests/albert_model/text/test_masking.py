from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text.examples import assemble
from albert_model.text.masking import _choose_words, _words, mask, ngram_law, prediction_budget
from albert_model.text.segments import generator
from albert_model.text.settings import ExampleSettings


@pytest.mark.parametrize(
    ("length", "expected"), [(3, 1), (10, 2), (100, 15), (130, 20), (512, 20)], ids=lambda value: str(value)
)
def test_budget(length, expected):
    assert prediction_budget(length, ExampleSettings()) == expected


def test_ngram_law():
    assert ngram_law(ExampleSettings()).round(3).tolist() == [0.545, 0.273, 0.182]
    longer = ngram_law(ExampleSettings(favor_shorter_ngram=False))
    assert longer.round(3).tolist() == [0.182, 0.273, 0.545]


def masked_sequence(tokenizer, settings, seed, a_length=40, b_length=50):
    rng = np.random.default_rng(seed)
    a, b = (rng.choice(tokenizer.ordinary_ids, n) for n in (a_length, b_length))
    ids, maskable = assemble(a, b, tokenizer)
    return ids, maskable, mask(ids, maskable, settings, tokenizer, generator(seed, "00" * 16, 0))


@given(seed=st.integers(0, 10**6), a_length=st.integers(1, 60), b_length=st.integers(1, 60), whole=st.booleans())
def test_masks_can_be_undone_and_respect_words_and_segments(tokenizer, seed, a_length, b_length, whole):
    settings = ExampleSettings(max_seq_length=128, do_whole_word_mask=whole)
    ids, maskable, masked = masked_sequence(tokenizer, settings, seed, a_length, b_length)
    # Undoing gives the sequence back, and nothing besides the positions was touched.
    restored = masked.ids.copy()
    restored[masked.positions] = masked.labels
    assert restored.tolist() == ids.tolist()
    # Ascending, on text only, within the budget.
    assert (np.diff(masked.positions) > 0).all()
    assert maskable[masked.positions].all()
    assert len(masked.positions) <= prediction_budget(len(ids), settings)
    # What stands there is [MASK], the piece itself, or another piece of text; never a control piece.
    control = set(range(tokenizer.vocab_size)) - set(tokenizer.ordinary_ids.tolist()) - {tokenizer.mask_id}
    assert not control & set(masked.ids[masked.positions].tolist())
    if whole:
        chosen = np.zeros(len(ids), bool)
        chosen[masked.positions] = True
        for position in np.flatnonzero(maskable):
            inside_word = maskable[position - 1] and not tokenizer.starts_word[ids[position]]
            assert not inside_word or chosen[position] == chosen[position - 1]


class GivenDraws:
    """A generator that starts n-grams at given words and always draws three words."""

    def __init__(self, order):
        self.order = np.array(order)

    def permutation(self, count):
        assert count == len(self.order)
        return self.order

    def choice(self, sizes, count, p):
        return np.full(count, 3)


def test_words_and_ngrams_end_with_their_segment(tokenizer):
    """Even where B begins with a piece that starts no word."""
    inside = next(i for i in tokenizer.ordinary_ids if not tokenizer.starts_word[i])
    (word,) = tokenizer.encode(["the"])[0]
    ids, maskable = assemble(np.array([word, word]), np.array([inside, word, word, word]), tokenizer)
    starts, ends, segments = _words(ids, maskable, tokenizer.starts_word, whole=True)
    assert (starts.tolist(), ends.tolist()) == ([1, 2, 4, 5, 6, 7], [2, 3, 5, 6, 7, 8])
    # The n-gram at A's last word stops there, so there is room for the others.
    chosen = _choose_words(starts, ends, segments, 3, ExampleSettings(), GivenDraws([1, 5, 0, 2, 3, 4]))
    assert np.flatnonzero(chosen).tolist() == [0, 1, 5]


def test_fates_have_the_published_shares(tokenizer):
    settings = ExampleSettings(max_seq_length=128)
    fates = Counter()
    for seed in range(600):
        ids, _, masked = masked_sequence(tokenizer, settings, seed)
        for before, after in zip(masked.labels, masked.ids[masked.positions], strict=True):
            fates["mask" if after == tokenizer.mask_id else "same" if before == after else "other"] += 1
        assert len(ids) == 93
    total = fates.total()
    for fate, share in (("mask", 0.8), ("other", 0.1), ("same", 0.1)):
        # Four standard deviations; a random piece is the same one in a thousand times.
        assert abs(fates[fate] / total - share) < 4 * (share * (1 - share) / total) ** 0.5 + 0.001, fates


def test_runs_of_masked_words_follow_the_ngram_law(tokenizer):
    """With a budget so small that n-grams stay apart, runs of masked single-piece words are the n-grams."""
    settings = ExampleSettings(max_seq_length=512, max_predictions_per_seq=20, masked_lm_prob=0.02)
    words = np.array([i for i, piece in enumerate(tokenizer.pieces) if piece.startswith("▁") and i > 4], np.int32)
    runs = Counter()
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        ids, maskable = assemble(rng.choice(words, 250), rng.choice(words, 250), tokenizer)
        masked = mask(ids, maskable, settings, tokenizer, generator(seed, "00" * 16, 0))
        groups = np.split(masked.positions, np.flatnonzero(np.diff(masked.positions) > 1) + 1)
        runs.update(len(group) for group in groups)
    shares = np.array([runs[n] for n in (1, 2, 3)]) / runs.total()
    # The last n-gram of a sequence is cut to the budget and neighbours sometimes touch: a few hundredths.
    np.testing.assert_allclose(shares, ngram_law(settings), atol=0.08)
    assert shares[0] > shares[1] > shares[2]
