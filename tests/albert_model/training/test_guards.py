import json

import numpy as np
import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.training import loop
from albert_model.training.guards import DivergedError, HeldOutGuard, LossGuard
from albert_model.training.loop import TrainingFolders, train
from albert_model.training.settings import TrainingSettings
from albert_model.weights import network as network_weights

SETTINGS = TrainingSettings(
    batch_size=8, epochs=4, max_steps=12, learning_rate=0.01, warmup_steps=2, checkpoint_every=4, log_every=2
)


def run(config, data, folder, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train(config, settings, data, None, TrainingFolders(folder / "checkpoints", folder / "metrics"))


def lines(folder, split):
    found = [json.loads(line) for line in (folder / "metrics" / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["split"] == split]


def test_the_loss_may_fall_and_rise_a_little():
    guard = LossGuard(TrainingSettings(max_loss_rise=0.5))
    for loss in (9.0, 8.0, 8.2, 8.4):
        guard.update(tf.constant(loss))
        guard.check(1)


@pytest.mark.parametrize("losses", [[8.0] + [20.0] * 5, [8.0, np.nan, 8.0], [np.inf]])
def test_a_rise_or_no_number_is_noticed(losses):
    guard = LossGuard(TrainingSettings(max_loss_rise=0.5))
    for loss in losses:
        guard.update(tf.constant(loss, tf.float32))
    with pytest.raises(DivergedError, match=r"rose from 8\.00 to|not a number"):
        guard.check(7)


def test_a_training_that_diverges_ends_with_a_remedy(small_config, data, tmp_path):
    with pytest.raises(InputError, match=r"the loss .* at step \d+.*Lower training.learning_rate"):
        run(small_config, data, tmp_path, learning_rate=1e4, optimizer="sgd", clip_norm=1e6, max_loss_rise=0.5)


def test_it_goes_back_with_half_the_rate(small_config, data, tmp_path, monkeypatch, caplog):
    """The loss is spoilt once, in steps 7 and 8; from the checkpoint of step 4 on the rates are halved."""
    original, spoilt = loop._Training.train_step, []

    def train_step(self, batch):
        sums = original(self, batch)
        if self.steps_taken == 7 and not spoilt:
            spoilt.append(7)
            self.loss_guard.update(tf.constant(np.nan))
        return sums

    monkeypatch.setattr(loop._Training, "train_step", train_step)
    with caplog.at_level("INFO", "albert"):
        _, figures = run(small_config, data, tmp_path, on_divergence="rollback")
    assert "at step 8: going back to step 4, with 0.5 of the learning rate" in caplog.text
    assert figures["steps"] == 12
    steps = [(line["step"], line["learning_rate"]) for line in lines(tmp_path, "train")]
    assert [step for step, _ in steps] == [1, 2, 4, 6, 5, 6, 8, 10, 12]
    first, second = (rate for step, rate in steps if step == 6)
    assert second == pytest.approx(first / 2)


def test_too_many_returns_end_the_training(small_config, data, tmp_path):
    with pytest.raises(InputError, match="after 3 returns to a checkpoint"):
        run(
            small_config,
            data,
            tmp_path,
            learning_rate=1e9,
            optimizer="sgd",
            clip_norm=1e9,
            max_loss_rise=0.1,
            on_divergence="rollback",
            warmup_steps=0,
            log_every=1,
        )


def test_held_out_loss_that_stays_ends_the_training_with_the_best_weights(small_config, data, tmp_path, monkeypatch):
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.2, 9.0])
    original = loop._Training._evaluate
    kept = {}

    def evaluate(self, data):
        figures = original(self, data) | {"loss": next(losses)}
        kept[self.steps_taken] = network_weights.read(self.network)
        return figures

    monkeypatch.setattr(loop._Training, "_evaluate", evaluate)
    weights, figures = run(small_config, data, tmp_path, early_stop_after=2, evaluate_every=2)
    assert sorted(kept) == [0, 2, 4, 6, 8]
    assert figures["steps"] == 4
    assert all(np.array_equal(weights[name], kept[4][name]) for name in weights)


def test_looks_are_counted_from_the_best_one():
    guard = HeldOutGuard(TrainingSettings(early_stop_after=2))
    assert [guard.is_best(loss) for loss in (3.0, 2.0, 2.5, 1.9, 2.0)] == [True, True, False, True, False]
    assert not guard.stops
    assert not guard.is_best(2.0)
    assert guard.stops
