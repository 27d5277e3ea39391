import pytest

from albert_model.training.schedules import warmup_then_decay
from albert_model.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (5, 0.5), (9, 0.9), (10, 0.9), (50, 0.5), (100, 0.0), (200, 0.0)]
)
def test_warmup_then_decay(step, expected):
    rate = warmup_then_decay(step, peak=1.0, warmup_steps=10, total_steps=100)
    assert float(rate) == pytest.approx(expected, abs=1e-6)


def test_without_warmup_the_first_step_has_the_peak():
    assert float(warmup_then_decay(0, peak=2.0, warmup_steps=0, total_steps=10)) == 2.0


@pytest.mark.parametrize(
    ("settings", "examples", "expected"),
    [
        ({"batch_size": 10, "epochs": 3}, 25, 6),  # int(examples / batch) * epochs, as ALBERT-TF2.0 counts
        ({"batch_size": 10, "epochs": 3, "max_steps": 4}, 25, 4),
        ({"batch_size": 30, "epochs": 3}, 25, 0),
    ],
)
def test_total_steps(settings, examples, expected):
    assert TrainingSettings(**settings).total_steps(examples) == expected


def test_the_published_warmup_is_shortened_for_short_trainings_only():
    assert TrainingSettings().resolved_warmup_steps(125_000) == 3125
    assert TrainingSettings().resolved_warmup_steps(500) == 50
    assert TrainingSettings(warmup_steps=7).resolved_warmup_steps(10) == 7
