import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.training.loop import TrainingFolders, train
from albert_model.training.metrics import MetricsWriter
from albert_model.training.settings import TrainingSettings
from tests.demo import ROOT

SETTINGS = TrainingSettings(
    batch_size=8, epochs=4, max_steps=12, learning_rate=0.01, warmup_steps=2, checkpoint_every=5, log_every=4
)


def run(config, data, folder, settings=SETTINGS, initial=None):
    return train(config, settings, data, initial, TrainingFolders(folder / "checkpoints", folder / "metrics"))


@pytest.fixture(scope="module")
def undisturbed(small_config, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    weights, _ = run(small_config, data, folder)
    return weights, folder


def same(one, other):
    return all((one[name] == other[name]).all() for name in one.keys() | other.keys())


def test_training_twice_gives_the_same_weights(small_config, data, undisturbed, tmp_path):
    assert same(run(small_config, data, tmp_path)[0], undisturbed[0])


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("killed_at", "checkpoint"), [(4, None), (8, 5), (12, 10)])
def test_a_training_that_was_killed_ends_with_the_same_weights(
    small_config, data, undisturbed, tmp_path, monkeypatch, killed_at, checkpoint
):
    """Weights, optimizer, schedule, data position and dropout all go on where the checkpoint left them."""
    original = MetricsWriter.write

    def write(self, split, step, figures):
        original(self, split, step, figures)
        if (split, step) == ("train", killed_at):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", write)
        with pytest.raises(Killed):
            run(small_config, data, tmp_path)
    newest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    assert newest == (str(tmp_path / "checkpoints" / f"ckpt-{checkpoint}") if checkpoint else None)
    assert same(run(small_config, data, tmp_path)[0], undisturbed[0])


def test_a_damaged_checkpoint_falls_back_to_the_one_before(small_config, data, undisturbed, tmp_path, caplog):
    run(small_config, data, tmp_path)
    for name in ("ckpt-12.index", "ckpt-12.data-00000-of-00001"):
        path = tmp_path / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:100])
    weights, _ = run(small_config, data, tmp_path)
    assert "cannot be read, trying the one before" in caplog.text
    assert same(weights, undisturbed[0])


def test_metrics_are_written_for_people_and_for_tensorboard(undisturbed):
    folder = undisturbed[1] / "metrics"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == [1, 4, 8, 12]
    assert [line["step"] for line in lines if line["split"] == "eval"] == [0, 5, 10, 12]
    assert all(0 <= line["mlm_accuracy"] <= 1 and line["loss"] > 0 for line in lines)
    first, last = (line["loss"] for line in lines if line["split"] == "eval" and line["step"] in (0, 12))
    assert last < first
    assert {path.parent.name for path in folder.glob("*/events.out.tfevents.*")} == {"train", "eval"}


def test_a_warm_start_takes_the_weights_and_nothing_else(small_config, data, undisturbed, tmp_path):
    run(small_config, data, tmp_path, initial=undisturbed[0])
    lines = [json.loads(line) for line in (tmp_path / "metrics" / "metrics.jsonl").read_text().splitlines()]
    before = [json.loads(line) for line in (undisturbed[1] / "metrics" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(before[-1]["loss"])
    assert lines[1]["learning_rate"] == pytest.approx(before[1]["learning_rate"])


def test_a_batch_that_is_larger_than_the_data_is_refused(small_config, data, tmp_path):
    with pytest.raises(InputError, match=r"training\.batch_size: 100000 is more than the \d+ training examples"):
        run(small_config, data, tmp_path, TrainingSettings(batch_size=100_000))
    assert list(tmp_path.iterdir()) == []


def test_two_devices_train_as_one(tmp_path, data, small_config):
    """Each in a process of its own, as TensorFlow divides a machine into devices once only."""
    weights = {}
    for devices in (1, 2):
        target = tmp_path / f"{devices}.npz"
        arguments = [str(devices), str(target), json.dumps([data.train_files, data.eval_files, data.train_examples])]
        command = [sys.executable, "-m", "tests.albert_model.training.train_on_devices", *arguments]
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        weights[devices] = np.load(target)
    for name in weights[1]:
        np.testing.assert_allclose(weights[2][name], weights[1][name], atol=2e-5, err_msg=name)
