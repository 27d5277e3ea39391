import math

import numpy as np
import pytest

from albert_model.evaluation.scores import (
    REPLICATES,
    SUMS,
    Interval,
    Scores,
    differences,
    document_weights,
    figures,
    intervals,
    row_of,
)


def document_ids(count, start=0):
    generator = np.random.default_rng(start)
    return [generator.bytes(16).hex() for _ in range(count)]


def scores_of(rows, ids):
    """Rows [D, len(SUMS)] of documents."""
    return Scores(document_weights(ids).T @ rows, len(ids), len(ids))


def rows_with(**columns):
    size = len(next(iter(columns.values())))
    return np.stack([np.asarray(columns.get(name, np.ones(size)), float) for name in SUMS], axis=1)


def test_documents_are_counted_as_poisson_draws_say():
    weights = document_weights(document_ids(4000))
    assert weights.shape == (4000, 1 + REPLICATES)
    assert (weights[:, 0] == 1).all()
    counts = np.bincount(weights[:, 1:].astype(int).ravel(), minlength=8)[:8] / weights[:, 1:].size
    expected = [math.exp(-1) / math.factorial(k) for k in range(8)]
    np.testing.assert_allclose(counts, expected, atol=1.5e-3)


def test_a_documents_draws_are_its_own_whatever_stands_beside_it():
    ids = document_ids(3)
    together = document_weights(ids)
    for number, each in enumerate(ids):
        np.testing.assert_array_equal(document_weights([each])[0], together[number])
    assert abs(np.corrcoef(together[0, 1:], together[1, 1:])[0, 1]) < 0.2


def test_figures_are_those_of_the_formulas():
    row = {
        **{"mlm_loss": 30.0, "mlm_predictions": 10.0, "mlm_hits": 4.0, "mlm_characters": 50.0},
        **{"sop_loss": 1.2, "sop_predictions": 2.0, "sop_hits": 1.0},
        **{"tokens": 90.0, "slots": 120.0, "unknown_pieces": 9.0},
    }
    values = {name: value[0] for name, value in figures(row_of(row)[None]).items()}
    assert values == pytest.approx(
        {
            **{"mlm_accuracy": 0.4, "mlm_loss": 3.0, "perplexity": math.exp(3)},
            **{"sop_accuracy": 0.5, "sop_loss": 0.6, "bits_per_character": 30 / math.log(2) / 50},
            **{"padding_share": 0.25, "unknown_share": 0.1},
        }
    )


def test_what_was_not_measured_has_no_figure():
    rows = rows_with(mlm_hits=[1.0, 0.0], sop_predictions=[0.0, 0.0], sop_hits=[0.0, 0.0])
    measured = intervals(scores_of(rows, document_ids(2)), 0.95)
    assert measured["sop_accuracy"] is None
    assert measured["mlm_accuracy"] is not None


def test_the_interval_of_a_share_is_that_of_its_standard_error():
    """Independent documents of one prediction each: the binomial's."""
    generator = np.random.default_rng(1)
    hits = generator.random(1000) < 0.3
    measured = intervals(scores_of(rows_with(mlm_hits=hits), document_ids(1000)), 0.95)["mlm_accuracy"]
    half = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert measured.value == pytest.approx(hits.mean())
    assert measured.high - measured.value == pytest.approx(half, rel=0.2)
    assert measured.value - measured.low == pytest.approx(half, rel=0.2)


def test_examples_of_one_document_count_as_one_draw():
    """A hundred documents of ten equal examples say no more than a hundred examples do."""
    generator = np.random.default_rng(2)
    hits = generator.random(100) < 0.5
    ids = document_ids(100)
    single = intervals(scores_of(rows_with(mlm_hits=hits), ids), 0.95)["mlm_accuracy"]
    tenfold = intervals(scores_of(np.repeat(rows_with(mlm_hits=hits), 10, 0), list(np.repeat(ids, 10))), 0.95)
    assert tenfold["mlm_accuracy"].high - tenfold["mlm_accuracy"].low == pytest.approx(single.high - single.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        hits = np.random.default_rng(seed).random(200) < 0.4
        measured = intervals(scores_of(rows_with(mlm_hits=hits), document_ids(200, seed)), 0.9)["mlm_accuracy"]
        covered += measured.low <= 0.4 <= measured.high
    assert 80 <= covered <= 98


def test_a_difference_is_that_of_pairs():
    """Both models fail at the same hard documents, so the gain is known far better than either accuracy."""
    generator = np.random.default_rng(3)
    hardness = generator.random(300)
    before = rows_with(mlm_predictions=np.full(300, 10.0), mlm_hits=np.round(10 * hardness))
    after = before.copy()
    after[:, SUMS.index("mlm_hits")] += generator.random(300) < 0.2
    ids = document_ids(300)
    gain = differences(scores_of(after, ids), scores_of(before, ids), 0.95)["mlm_accuracy"]
    accuracy = intervals(scores_of(after, ids), 0.95)["mlm_accuracy"]
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < (accuracy.high - accuracy.low) / 5


def test_nothing_is_no_interval():
    assert Interval.of(np.full(5, np.nan), 0.95) is None
