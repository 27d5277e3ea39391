from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text import draws
from albert_model.text.masking import choose_words, find_words, mask, ngram_law, prediction_budgets
from albert_model.text.ragged import Ragged
from albert_model.text.settings import ExampleSettings


@pytest.mark.parametrize(("length", "expected"), [(3, 1), (10, 2), (100, 15), (130, 20), (512, 20)])
def test_budget(length, expected):
    assert prediction_budgets(np.array([length]), ExampleSettings()).tolist() == [expected]


def test_ngram_law():
    assert ngram_law(ExampleSettings()).round(3).tolist() == [0.545, 0.273, 0.182]
    longer = ngram_law(ExampleSettings(favor_shorter_ngram=False))
    assert longer.round(3).tolist() == [0.182, 0.273, 0.545]


class Sample:
    """Sequences [CLS] A [SEP] B [SEP] of random text; every sequence has A and B of the given lengths.

    Attributes:
      ids: of the sequences.
      starts_word: bool [number, S], whether a position begins a word.
    """

    def __init__(self, tokenizer, number, a_length, b_length, seed=0, kind="any"):
        rng = np.random.default_rng(seed)
        length = a_length + b_length + 3
        text = np.r_[1 : 1 + a_length, 2 + a_length : length - 1]
        choice = tokenizer.ordinary_ids
        if kind != "any":
            choice = choice[tokenizer.starts_word[choice] == (kind == "words")]
        rows = np.full((number, length), 3, np.int32)
        rows[:, 0] = 2
        rows[:, text] = rng.choice(choice, (number, len(text)))
        self.ids = Ragged.from_lengths(rows.ravel(), np.full(number, length))
        self.starts_word = np.zeros(rows.shape, bool)
        self.starts_word[:, text] = tokenizer.starts_word[rows[:, text]]
        self.starts_word[:, [1, 2 + a_length]] = True  # a segment begins a word
        self.segment_a_length = np.full(number, a_length + 2)
        self.keys = draws.derive(np.full(number, seed, np.uint64), np.arange(number))
        self.tokenizer = tokenizer

    def chosen(self, settings):
        """Numbers of the words taken, counted in their sequence, and how many in each."""
        words = find_words(self.ids, self.segment_a_length, self.tokenizer.starts_word)
        chosen = choose_words(words, prediction_budgets(self.ids.lengths, settings), settings, self.keys)
        counts = np.diff(np.searchsorted(chosen, words.offsets))
        return Ragged.from_lengths(chosen - np.repeat(words.offsets[:-1], counts), counts)

    def masked(self, settings):
        return mask(self.ids, self.segment_a_length, settings, self.tokenizer, self.keys)


def test_worked_example_of_words(tokenizer):
    """Words and segments end with their segment, even where B begins with a piece that begins no word."""
    inside = int(next(i for i in tokenizer.ordinary_ids if not tokenizer.starts_word[i]))
    the = int(tokenizer.encode(["the"]).values[0])
    ids = Ragged.from_rows([[2, the, inside, 3, inside, the, 3], [2, the, 3, the, inside, inside, 3]])
    words = find_words(ids, np.array([4, 3]), tokenizer.starts_word)
    assert (words.starts.tolist(), words.ends.tolist()) == ([1, 4, 5, 8, 10], [3, 5, 6, 9, 13])
    assert (words.offsets.tolist(), words.ends_of_a.tolist()) == ([0, 3, 5], [1, 4])
    pieces = find_words(ids, np.array([4, 3]), None)
    assert pieces.starts.tolist() == [1, 2, 4, 5, 8, 10, 11, 12]


@given(
    seed=st.integers(0, 10**6),
    a_length=st.integers(1, 60),
    b_length=st.integers(1, 60),
    kind=st.sampled_from(["any", "words", "parts"]),
    masked_lm_prob=st.sampled_from([0.15, 0.9]),
)
def test_masks_can_be_undone_and_respect_words_and_segments(tokenizer, seed, a_length, b_length, kind, masked_lm_prob):
    settings = ExampleSettings(max_seq_length=128, masked_lm_prob=masked_lm_prob)
    sample = Sample(tokenizer, 5, a_length, b_length, seed, kind)
    masked = sample.masked(settings)
    control = set(range(tokenizer.vocab_size)) - set(tokenizer.ordinary_ids.tolist()) - {tokenizer.mask_id}
    text = np.ones(a_length + b_length + 3, bool)
    text[[0, 1 + a_length, -1]] = False
    columns = (column.rows() for column in (sample.ids, *masked))
    for starts_word, before, after, positions, labels in zip(sample.starts_word, *columns, strict=True):
        # Undoing gives the sequence back, and nothing besides the positions was touched.
        restored = after.copy()
        restored[positions] = labels
        assert restored.tolist() == before.tolist()
        # Ascending, on text only, within the budget.
        assert (np.diff(positions) > 0).all()
        assert text[positions].all()
        assert len(positions) <= prediction_budgets(np.array([len(before)]), settings)[0]
        # What stands there is [MASK], the piece itself, or another piece of text; never a control piece.
        assert not control & set(after[positions].tolist())
        chosen = np.zeros(len(before), bool)
        chosen[positions] = True
        inside_word = np.flatnonzero(text & ~starts_word)
        assert (chosen[inside_word] == chosen[inside_word - 1]).all()


def test_the_budget_is_used_up_where_words_allow_it(tokenizer):
    masked = Sample(tokenizer, 200, 40, 50).masked(ExampleSettings(max_seq_length=128))
    assert set(masked.positions.lengths.tolist()) == {14}


def test_ngrams_end_with_their_segment(tokenizer):
    """No run of masked words reaches from A's last word to B's first more often than two n-grams by themselves."""
    settings = ExampleSettings(max_seq_length=128, ngram=10, favor_shorter_ngram=False, max_predictions_per_seq=8)
    sample = Sample(tokenizer, 4000, 30, 30, kind="words")
    chosen = sample.chosen(settings)
    taken = np.zeros((4000, 60), bool)
    taken[np.repeat(np.arange(4000), chosen.lengths), chosen.values] = True
    inside, across = (taken[:, i] & taken[:, i + 1] for i in (14, 29))
    # One n-gram of up to 10 words takes the whole budget, so what is left for a second one is little.
    assert inside.mean() > 0.08
    assert across.mean() < 0.02


def test_fates_have_the_published_shares(tokenizer):
    sample = Sample(tokenizer, 3000, 40, 50)
    masked = sample.masked(ExampleSettings(max_seq_length=128))
    places = masked.positions.values + np.repeat(masked.ids.offsets[:-1], masked.positions.lengths)
    after, before = masked.ids.values[places], masked.labels.values
    assert sample.ids.values[places].tolist() == before.tolist()
    is_mask, is_same = after == tokenizer.mask_id, after == before
    total = len(after)
    assert total == 3000 * 14
    for share, found in ((0.8, is_mask.mean()), (0.1, is_same.mean()), (0.1, (~is_mask & ~is_same).mean())):
        # Four standard deviations; a random piece is the same one in a thousand times.
        assert abs(found - share) < 4 * (share * (1 - share) / total) ** 0.5 + 0.001
    # Replacements are drawn from all ordinary pieces alike: chi-square with 4 standard deviations of its law.
    others = Counter(after[~is_mask & ~is_same].tolist())
    assert set(others) <= set(tokenizer.ordinary_ids.tolist())
    pieces = len(tokenizer.ordinary_ids)
    expected = others.total() / pieces
    chi_square = sum((others[int(i)] - expected) ** 2 / expected for i in tokenizer.ordinary_ids)
    assert abs(chi_square - pieces) < 4 * (2 * pieces) ** 0.5


def test_every_word_is_masked_alike(tokenizer):
    """The rate is the same from the first word to the last but for n-grams' starts and segments' ends."""
    sample = Sample(tokenizer, 6000, 40, 50, kind="words")
    chosen = sample.chosen(ExampleSettings(max_seq_length=128))
    rates = np.bincount(chosen.values, minlength=90) / 6000
    expected = 14 / 90
    inner = np.r_[2:40, 42:90]
    assert abs(rates[inner] - rates[inner].mean()).max() < 5 * (expected * (1 - expected) / 6000) ** 0.5
    assert abs(rates.mean() - expected) < 1e-9


@pytest.mark.parametrize("favor_shorter_ngram", [True, False])
def test_runs_of_masked_words_follow_the_ngram_law(tokenizer, favor_shorter_ngram):
    """Three predictions are one n-gram of 3 words, one of 2 and one of 1, or three of 1; a last one is cut to fit."""
    number = 20_000
    settings = ExampleSettings(max_predictions_per_seq=3, favor_shorter_ngram=favor_shorter_ngram)
    sample = Sample(tokenizer, number, 250, 250, kind="words")
    rows = sample.chosen(settings).values.reshape(number, 3)
    runs = 3 - (np.diff(rows, axis=1) == 1).sum(1)
    one, two, three = ngram_law(settings)
    for count, share in ((1, three), (2, two + one * (two + three)), (3, one * one)):
        # Four standard deviations, and a hundredth for n-grams that touch.
        assert abs((runs == count).mean() - share) < 4 * (share * (1 - share) / number) ** 0.5 + 0.01


def test_a_sequence_is_masked_the_same_alone_and_in_a_batch(tokenizer):
    settings = ExampleSettings(max_seq_length=128, masked_lm_prob=0.5, max_predictions_per_seq=60)
    sample = Sample(tokenizer, 20, 40, 50)
    together = sample.masked(settings)
    for row, ids in enumerate(sample.ids.rows()):
        one = slice(row, row + 1)
        alone = mask(Ragged.from_rows([ids]), sample.segment_a_length[one], settings, tokenizer, sample.keys[one])
        for single, batch in zip(alone, together, strict=True):
            assert single.values.tolist() == batch.rows()[row].tolist()
