import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.training.input_pipeline import training_batches
from albert_model.training.loop import TrainingFolders, train
from albert_model.training.metrics import MetricsWriter
from albert_model.training.settings import TrainingSettings
from albert_model.weights import network as network_weights
from tests.albert_model.training.reference import reference_step
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


@pytest.mark.parametrize("clip", [1.0, 100.0], ids=["clipped", "not clipped"])
def test_steps_are_those_of_the_published_recipe(small_config, data, tmp_path, clip):
    """Loss, rates, clipping and LAMB against gradients of a loss written out here and a float64 optimizer."""
    config = without_dropout(small_config)
    settings = SETTINGS.model_copy(update={"max_steps": 3, "log_every": 3, "clip_norm": clip})
    network = AlbertPretrainer(config, seed=5)
    initial = network_weights.read(network)
    expected = {name: value.astype(np.float64) for name, value in initial.items()}
    m, v = ({name: np.zeros(value.shape) for name, value in expected.items()} for _ in range(2))
    batches = training_batches(data.train_files, data.parse_train, settings.batch_size, 1, settings.seed, 0).take(3)
    for learning_rate, batch in zip((0.0, 0.01 / 2, 0.01 / 3), batches, strict=True):
        network_weights.assign(network, expected, "reference")
        assert len(set(tf.reduce_sum(batch["masked_lm_weights"], 1).numpy())) > 1  # else a mean of means would do
        reference_step(expected, gradients_of(network, batch), m, v, learning_rate, decay=0.01, clip=clip)

    weights, _ = run(config, data, tmp_path, settings, initial)
    for name in expected:
        np.testing.assert_allclose(weights[name], expected[name], atol=3e-6, err_msg=name)
    saved = tf.train.load_checkpoint(str(tmp_path / "checkpoints"))
    slots = [saved.get_tensor(key) for key in saved.get_variable_to_shape_map() if key.startswith("m/")]
    norms = (np.sqrt(sum((slot.astype(np.float64) ** 2).sum() for slot in each)) for each in (slots, m.values()))
    assert next(norms) == pytest.approx(next(norms), rel=1e-4)


def without_dropout(config):
    return config.model_copy(update={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})


def gradients_of(network, batch):
    """Of sum(w·ce) / (sum(w) + 1e-5) over the masked pieces plus the mean cross entropy of the sentence order."""
    rows = network_weights.variables(network)
    with tf.GradientTape() as tape:
        outputs = network(batch)
        pieces = tf.nn.log_softmax(outputs["mlm_logits"])
        order = tf.nn.log_softmax(outputs["sop_logits"])
        weights = batch["masked_lm_weights"]
        mlm = -tf.reduce_sum(weights * tf.gather(pieces, batch["masked_lm_ids"], batch_dims=2))
        sop = -tf.reduce_mean(tf.gather(order, batch["sentence_order_label"], batch_dims=1))
        loss = mlm / (tf.reduce_sum(weights) + 1e-5) + sop
    gradients = tape.gradient(loss, [variable.value for _, variable in rows])
    arrays = zip(rows, map(as_array, gradients), strict=True)
    return {row.name: row.keras.take(array, row.shape) for (row, _), array in arrays}


def as_array(gradient):
    return tf.convert_to_tensor(gradient).numpy().astype(np.float64)


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
    config = without_dropout(small_config).to_json()
    for devices in (1, 2):
        target = tmp_path / f"{devices}.npz"
        files = json.dumps([data.train_files, data.eval_files, data.train_records])
        command = [sys.executable, "-m", "tests.albert_model.training.train_on_devices"]
        subprocess.run([*command, str(devices), target, config, files], check=True, cwd=ROOT, capture_output=True)
        weights[devices] = np.load(target)
    for name in weights[1]:
        np.testing.assert_allclose(weights[2][name], weights[1][name], atol=2e-5, err_msg=name)
