import numpy as np
import pytest

from albert_model.text import draws
from tests.albert_model.text import reference

DOCUMENT_ID = "0123456789abcdef" + "f" * 16


def test_draws_are_those_of_splitmix64():
    """The first outputs from state 0 and from state 1234567, as published with Java's SplittableRandom."""
    assert [int(draws.draw(np.uint64(0), i)) for i in range(2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    keys = np.array([1234567], np.uint64)
    assert draws.draw(keys, 0).tolist() == [6457827717110365317]
    keys = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    assert draws.draw(keys, 7).tolist() == [reference.draw(key, 7) for key in keys.tolist()]


def test_document_keys_depend_on_seed_and_id():
    keys = {
        int(draws.document_keys(seed, [i])[0]) for seed in (0, 1) for i in (DOCUMENT_ID, DOCUMENT_ID[::-1], "00" * 16)
    }
    assert len(keys) == 6
    (key,) = draws.document_keys(5, [DOCUMENT_ID]).tolist()
    assert key == reference.document_key(5, DOCUMENT_ID)


@pytest.mark.parametrize("half", [draws.high, draws.low])
def test_numbers_below_a_limit_are_alike(half):
    """Each of seven numbers, within four standard deviations, across keys and across indices."""
    for bits in (draws.draw(np.arange(70_000).astype(np.uint64), 3), draws.draw(np.uint64(3), np.arange(70_000))):
        counts = np.bincount(draws.below(half(bits), 7), minlength=7)
        assert len(counts) == 7
        assert (abs(counts - 10_000) < 4 * (70_000 * 1 / 7 * 6 / 7) ** 0.5).all(), counts


def test_halves_are_independent():
    bits = draws.draw(np.arange(100_000).astype(np.uint64), 0)
    correlation = np.corrcoef(draws.high(bits).astype(float), draws.low(bits).astype(float))[0, 1]
    assert abs(correlation) < 4 / 100_000**0.5


def test_thresholds_are_probabilities():
    halves = draws.low(draws.draw(np.uint64(9), np.arange(100_000)))
    assert abs((halves < draws.threshold(0.1)).mean() - 0.1) < 4 * (0.1 * 0.9 / 100_000) ** 0.5
    assert (halves < draws.threshold(1.0)).all()
    assert not (halves < draws.threshold(0.0)).any()
