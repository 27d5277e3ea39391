import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text import mixing
from albert_model.text.mixing import ALL, BUCKETS, MixingSettings

IDS = [f"{i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for i in range(1, 20_001)]


@pytest.mark.parametrize("settings", [{"window": 0}, {"replay": 1}, {"replay": -0.1}, {"replay": float("nan")}])
def test_what_is_no_window_or_share_is_refused(settings):
    with pytest.raises(ValueError):
        MixingSettings(**settings)


def test_the_default_reads_no_older_span():
    assert not MixingSettings().reads_older_spans
    assert MixingSettings(window=2).reads_older_spans
    assert MixingSettings(replay=0.1).reads_older_spans


@given(st.sets(st.integers(0, 50)), st.integers(0, 50), st.integers(1, 60))
def test_window_and_archive_are_all_older_spans_each_once(spans, newest, window):
    recent, archive = mixing.divide(sorted(spans), newest, window)
    assert archive + recent == sorted(span for span in spans if span < newest)
    assert len(recent) == min(window - 1, len(archive + recent))


def test_numbers_are_even_and_have_nothing_in_common_from_span_to_span():
    first, second = (mixing.replay_numbers(IDS, span) / float(ALL) for span in (7, 8))
    assert np.histogram(first, 20, (0, 1))[0] == pytest.approx(np.full(20, 1000), abs=150)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert (mixing.replay_numbers(IDS[::-1], 7)[::-1] / float(ALL) == first).all()


@given(st.floats(0, 0.99), st.integers(0, 10_000_000), st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_a_limit_gives_the_share_that_is_asked_for_or_all_there_is(replay, recent, documents, seed):
    sizes = np.random.RandomState(seed).randint(1, 5000, documents)
    numbers = mixing.replay_numbers(IDS[:documents], seed)
    sums = mixing.sums_of_buckets(numbers, sizes)
    assert sums.sum() == sizes.sum()
    limit = mixing.replay_limit(sums, recent, replay)
    drawn = sizes[mixing.is_below(numbers, limit)].sum()
    wanted = recent * replay / (1 - replay)
    if wanted >= sizes.sum():
        assert limit == ALL
        assert drawn == sizes.sum()
    else:  # within the bucket in which it falls
        assert abs(drawn - wanted) <= sums.max() + 1


def test_a_small_share_of_much_text_is_met_inside_of_one_bucket():
    numbers, sizes = mixing.replay_numbers(IDS, 3), np.full(len(IDS), 1000)
    limit = mixing.replay_limit(mixing.sums_of_buckets(numbers, sizes), 400_000, 0.1)
    assert limit < ALL // BUCKETS
    assert sizes[mixing.is_below(numbers, limit)].sum() == pytest.approx(400_000 / 9, rel=0.3)
