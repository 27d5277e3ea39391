from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text import draws
from albert_model.text.pieces import Pieces, sentence_ends
from albert_model.text.ragged import Ragged
from albert_model.text.segments import longest_pair, sentence_order_pairs
from albert_model.text.settings import ExampleSettings


def pieces_of(lengths, settings, starts_word=None):
    """One document with sentences of these lengths."""
    starts_word = np.ones(sum(lengths), bool) if starts_word is None else starts_word.copy()
    encoded = Ragged.from_lengths(np.zeros(sum(lengths), np.int32), np.array(lengths))
    ends = sentence_ends(encoded, starts_word, longest_pair(settings))
    starts_word[[0, *ends[:-1]]] = True
    return Pieces(encoded.values, ends, np.array([0, len(ends)]), np.append(np.flatnonzero(starts_word), sum(lengths)))


def pairs_of(lengths, settings, starts_word=None, copies=1, seed=1):
    """Pairs of a document with sentences of these lengths, and what was dropped."""
    dropped = Counter()
    lanes = np.zeros(copies, np.int64)
    keys = draws.derive(np.full(copies, seed, np.uint64), np.arange(copies))
    return sentence_order_pairs(pieces_of(lengths, settings, starts_word), lanes, keys, settings, dropped), dropped


def test_worked_example():
    """Four sentences of 5 pieces, room for 10: two chunks of two sentences, each cut between them."""
    settings = ExampleSettings(max_seq_length=13, max_predictions_per_seq=2, short_seq_prob=0)
    pairs, dropped = pairs_of([5, 5, 5, 5], settings)
    assert list(zip(pairs.start, pairs.middle, pairs.end, strict=True)) == [(0, 5, 10), (10, 15, 20)]
    assert pairs.place.tolist() == [0, 1]
    assert +dropped == Counter()


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(any),
    max_seq_length=st.integers(8, 64),
    short_seq_prob=st.sampled_from([0.0, 0.1, 1.0]),
    single_sentence=st.sampled_from(["split", "skip"]),
    seed=st.integers(0, 1000),
    word_rate=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_pairs_are_runs_of_the_document_in_order(
    lengths, max_seq_length, short_seq_prob, single_sentence, seed, word_rate
):
    settings = ExampleSettings(
        max_seq_length=max_seq_length,
        max_predictions_per_seq=1,
        short_seq_prob=short_seq_prob,
        single_sentence=single_sentence,
    )
    starts_word = np.random.default_rng(seed).random(sum(lengths)) < word_rate
    pairs, dropped = pairs_of(lengths, settings, starts_word, seed=seed)
    pieces = pieces_of(lengths, settings, starts_word)
    ends = pieces.sentence_ends.tolist()
    previous_end = kept = 0
    for start, middle, end in zip(*(column.tolist() for column in pairs[2:5]), strict=True):
        assert previous_end <= start < middle < end
        assert {start, end} <= {0, *ends}
        assert end - start <= max_seq_length - 3
        # Cut between sentences; between words only where there is one sentence and the policy allows it.
        inner = [e for e in ends if start < e < end]
        assert middle in inner if inner else single_sentence == "split" and middle in pieces.word_starts
        kept += end - start
        previous_end = end
    # Every piece is in a pair, or in a chunk that could not be cut.
    assert kept + dropped["single_sentence_pieces"] == sum(lengths)


@given(
    lengths=st.lists(st.integers(0, 200), min_size=1, max_size=10),
    longest=st.integers(5, 60),
    word_rate=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_long_sentences_are_broken_between_words(lengths, longest, word_rate):
    starts_word = np.random.default_rng(longest).random(sum(lengths)) < word_rate
    encoded = Ragged.from_lengths(np.zeros(sum(lengths)), np.array(lengths))
    ends = sentence_ends(encoded, starts_word, longest).tolist()
    parts = np.diff(ends, prepend=0)
    assert ((parts > 0) & (parts <= longest)).all()
    assert set(np.cumsum(lengths)) - {0} <= set(ends)
    for start, end in zip([0, *ends], ends, strict=False):
        # Broken inside a word only where the word is longer than half a pair.
        assert end in np.cumsum(lengths) or starts_word[end] or not starts_word[start + 1 : end + 1].any()


def test_a_pair_is_cut_between_any_two_of_its_sentences():
    settings = ExampleSettings(max_seq_length=28, max_predictions_per_seq=2, short_seq_prob=0)
    pairs, _ = pairs_of([5] * 5, settings, copies=600)
    cuts = Counter(pairs.middle.tolist())
    assert set(cuts) == {5, 10, 15, 20}
    # Four standard deviations of a share of a quarter.
    assert all(abs(count / 600 - 0.25) < 4 * (0.25 * 0.75 / 600) ** 0.5 for count in cuts.values()), cuts


def test_half_of_the_pairs_are_swapped():
    settings = ExampleSettings(max_seq_length=23, max_predictions_per_seq=2)
    swapped = pairs_of([6] * 50, settings, copies=200)[0].swapped
    assert len(swapped) > 3000
    assert abs(swapped.mean() - 0.5) < 4 * 0.5 / len(swapped) ** 0.5


def test_short_lengths_are_drawn_for_each_example():
    settings = ExampleSettings(max_seq_length=103, max_predictions_per_seq=2, short_seq_prob=0.5)
    pairs, _ = pairs_of([5] * 2000, settings)
    short = pairs.end - pairs.start < 95
    # Short ones reach a uniform length from 2 to 100, in steps of 5: 94 % of them are shorter than 95.
    assert abs(short.mean() - 0.5 * 0.94) < 4 * 0.5 / len(short) ** 0.5 + 0.02
    assert (np.diff(np.flatnonzero(short)) == 1).any(), "a draw for each example, one after another"
    assert (np.diff(np.flatnonzero(short)) > 1).any()


def test_a_single_sentence_is_split_or_skipped_never_paired():
    settings = {"max_seq_length": 43, "max_predictions_per_seq": 2, "short_seq_prob": 0}
    pairs, _ = pairs_of([20], ExampleSettings(**settings, single_sentence="split"), copies=50)
    assert set(zip(pairs.start.tolist(), pairs.end.tolist(), strict=True)) == {(0, 20)}
    assert not pairs.swapped.any()
    assert not pairs.ordered.any()
    pairs, dropped = pairs_of([20], ExampleSettings(**settings, single_sentence="skip"))
    assert len(pairs.start) == 0
    assert dropped["single_sentence_chunks"] == 1


def test_a_document_of_one_word_is_counted():
    pairs, dropped = pairs_of([3], ExampleSettings(), np.array([True, False, False]))
    assert len(pairs.start) == 0
    assert dropped["single_sentence_pieces"] == 3


def test_lanes_depend_on_their_key_alone():
    settings = ExampleSettings(max_seq_length=40, max_predictions_per_seq=2, short_seq_prob=0.5)
    together, _ = pairs_of([7, 5, 9] * 20, settings, copies=5)
    pieces = pieces_of([7, 5, 9] * 20, settings)
    for lane in range(5):
        key = draws.derive(np.array([1], np.uint64), np.array([lane]))
        alone = sentence_order_pairs(pieces, np.array([0]), key, settings, Counter())
        of_lane = together.select(together.lane == lane)
        assert all(np.array_equal(a, b) for a, b in zip(alone[1:], of_lane[1:], strict=True))


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_no_text_gives_no_pairs(lengths):
    pieces = Pieces(np.zeros(0, np.int32), np.zeros(0, np.int64), np.array([0, 0]), np.array([0]))
    pairs = sentence_order_pairs(pieces, np.array([0]), np.array([1], np.uint64), ExampleSettings(), Counter())
    assert all(len(column) == 0 for column in pairs)
