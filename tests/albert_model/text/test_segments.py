from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text.segments import Pair, break_long_sentences, generator, longest_pair, sentence_order_pairs
from albert_model.text.settings import ExampleSettings

DOCUMENT_ID = "00" * 16


def pairs_of(lengths, settings, starts_word=None, copy=0):
    """Pairs of a document with sentences of these lengths, where its sentences end, and what was dropped."""
    dropped = Counter()
    if starts_word is None:
        starts_word = np.ones(sum(lengths), bool)
    ends = break_long_sentences(np.cumsum(lengths).tolist(), starts_word, longest_pair(settings))
    pairs = list(sentence_order_pairs(ends, starts_word, settings, generator(1, DOCUMENT_ID, copy), dropped))
    return pairs, ends, dropped


def test_worked_example():
    """Four sentences of 5 pieces, room for 10: two chunks of two sentences, each cut between them."""
    settings = ExampleSettings(max_seq_length=13, max_predictions_per_seq=2, short_seq_prob=0)
    pairs, _, dropped = pairs_of([5, 5, 5, 5], settings)
    assert [(p.start, p.middle, p.end) for p in pairs] == [(0, 5, 10), (10, 15, 20)]
    assert +dropped == Counter()


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(any),
    max_seq_length=st.integers(8, 64),
    short_seq_prob=st.sampled_from([0.0, 0.1, 1.0]),
    single_sentence=st.sampled_from(["split", "skip"]),
    copy=st.integers(0, 1000),
    word_rate=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_pairs_are_runs_of_the_document_in_order(
    lengths, max_seq_length, short_seq_prob, single_sentence, copy, word_rate
):
    settings = ExampleSettings(
        max_seq_length=max_seq_length,
        max_predictions_per_seq=1,
        short_seq_prob=short_seq_prob,
        single_sentence=single_sentence,
    )
    starts_word = np.random.default_rng(copy).random(sum(lengths)) < word_rate
    pairs, ends, dropped = pairs_of(lengths, settings, starts_word, copy)
    previous_end = kept = 0
    for pair in pairs:
        assert previous_end <= pair.start < pair.middle < pair.end
        assert {pair.start, pair.end} <= {0, *ends}
        assert pair.end - pair.start <= max_seq_length - 3
        # Cut between sentences; between words only where there is one sentence and the policy allows it.
        inner = [end for end in ends if pair.start < end < pair.end]
        assert pair.middle in inner if inner else single_sentence == "split" and starts_word[pair.middle]
        kept += pair.end - pair.start
        previous_end = pair.end
    # Every piece is in a pair, or in a chunk that could not be cut.
    assert kept + dropped["single_sentence_pieces"] == sum(lengths)


@given(
    lengths=st.lists(st.integers(0, 200), min_size=1, max_size=10),
    longest=st.integers(5, 60),
    word_rate=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_long_sentences_are_broken_between_words(lengths, longest, word_rate):
    starts_word = np.random.default_rng(longest).random(sum(lengths)) < word_rate
    ends = break_long_sentences(np.cumsum(lengths).tolist(), starts_word, longest)
    parts = np.diff(ends, prepend=0)
    assert ((parts > 0) & (parts <= longest)).all()
    assert {0, *np.cumsum(lengths)} <= {0, *ends}
    for start, end in zip([0, *ends], ends, strict=False):
        # Broken inside a word only where the word is longer than half a pair.
        assert end in np.cumsum(lengths) or starts_word[end] or not starts_word[start + 1 : end + 1].any()


def test_a_pair_is_cut_between_any_two_of_its_sentences():
    settings = ExampleSettings(max_seq_length=28, max_predictions_per_seq=2, short_seq_prob=0)
    cuts = Counter(pair.middle for copy in range(600) for pair in pairs_of([5] * 5, settings, copy=copy)[0])
    assert set(cuts) == {5, 10, 15, 20}
    # Four standard deviations of a share of a quarter.
    assert all(abs(count / 600 - 0.25) < 4 * (0.25 * 0.75 / 600) ** 0.5 for count in cuts.values()), cuts


def test_half_of_the_pairs_are_swapped():
    settings = ExampleSettings(max_seq_length=23, max_predictions_per_seq=2)
    swapped = [p.swapped for copy in range(200) for p in pairs_of([6] * 50, settings, copy=copy)[0]]
    assert abs(np.mean(swapped) - 0.5) < 4 * 0.5 / len(swapped) ** 0.5


def test_short_lengths_are_drawn_for_each_example():
    settings = ExampleSettings(max_seq_length=103, max_predictions_per_seq=2, short_seq_prob=0.5)
    lengths = [p.end - p.start for p in pairs_of([5] * 2000, settings)[0]]
    assert 0.3 < np.mean(np.array(lengths) < 95) < 0.7


def test_a_single_sentence_is_split_or_skipped_never_paired():
    settings = {"max_seq_length": 43, "max_predictions_per_seq": 2, "short_seq_prob": 0}
    (pair,), _, _ = pairs_of([20], ExampleSettings(**settings, single_sentence="split"))
    assert (pair.start, pair.end) == (0, 20)
    pairs, _, dropped = pairs_of([20], ExampleSettings(**settings, single_sentence="skip"))
    assert pairs == []
    assert dropped["single_sentence_chunks"] == 1


def test_segments_are_exchanged_when_swapped():
    ids = np.arange(10)
    a, b = Pair(2, 5, 9, swapped=True).segments(ids)
    assert (a.tolist(), b.tolist()) == ([5, 6, 7, 8], [2, 3, 4])


@pytest.mark.parametrize("change", [{"seed": 2}, {"document_id": "01" + "00" * 15}, {"copy": 1}])
def test_the_generator_is_keyed_by_seed_document_and_copy(change):
    key = {"seed": 1, "document_id": DOCUMENT_ID, "copy": 0}
    assert generator(**key).random() == generator(**key).random()
    assert generator(**key).random() != generator(**(key | change)).random()
