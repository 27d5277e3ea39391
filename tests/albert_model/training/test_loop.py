import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.training import loop
from albert_model.training.input_pipeline import training_batches
from albert_model.training.loop import TrainingFolders, train
from albert_model.training.metrics import MetricsWriter
from albert_model.training.settings import TrainingSettings
from albert_model.weights import network as network_weights
from tests.albert_model.training.reference import reference_step

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
    batches = training_batches(data.train_bins, data.parse_train, settings.batch_size, 1, settings.seed, 0).take(3)
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
    """Of sum(w·ce) / (sum(w) + 1e-5) over the masked pieces plus the mean cross entropy of the sentence order where
    it counts."""
    rows = network_weights.variables(network)
    with tf.GradientTape() as tape:
        outputs = network(batch)
        pieces = tf.nn.log_softmax(outputs["mlm_logits"])
        order = tf.nn.log_softmax(outputs["sop_logits"])
        weights = batch["masked_lm_weights"]
        mlm = -tf.reduce_sum(weights * tf.gather(pieces, batch["masked_lm_ids"], batch_dims=2))
        ordered = tf.cast(batch["sentence_order_weight"], tf.float32)
        assert 0 < tf.reduce_sum(ordered) < len(ordered)  # some pairs say nothing of order
        sop = -tf.reduce_sum(ordered * tf.gather(order, batch["sentence_order_label"], batch_dims=1))
        sop /= tf.reduce_sum(ordered)
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


def elsewhere(folder):
    return TrainingFolders(f"ram://{folder.name}/checkpoints", f"ram://{folder.name}/metrics")


def in_metrics(folders):
    with tf.io.gfile.GFile(f"{folders.metrics}/metrics.jsonl") as file:
        return [(line["split"], line["step"]) for line in map(json.loads, file.read().splitlines())]


def test_a_training_elsewhere_that_was_killed_while_it_uploaded_ends_with_the_same_weights(
    small_config, data, undisturbed, tmp_path, monkeypatch
):
    """The files of the checkpoint of step 10 are there, one of them in part, and no list names it."""
    folders, original = elsewhere(tmp_path), tf.train.CheckpointManager._record_state

    def killed(self, *args, **kwargs):
        if self._directory == folders.checkpoints and tf.io.gfile.exists(f"{folders.checkpoints}/ckpt-10.index"):
            with tf.io.gfile.GFile(f"{folders.checkpoints}/ckpt-10.data-00000-of-00001", "w") as file:
                file.write("half")
            raise Killed
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "_record_state", killed)
        with pytest.raises(Killed):
            train(small_config, SETTINGS, data, None, folders)
    assert tf.train.latest_checkpoint(folders.checkpoints) == f"{folders.checkpoints}/ckpt-5"
    weights, _ = train(small_config, SETTINGS, data, None, folders)
    assert same(weights, undisturbed[0])
    steps = [step for split, step in in_metrics(folders) if split == "train"]
    assert steps[:3] == [1, 4, 8]
    assert steps[-3:] == [6, 8, 12]


def test_a_checkpoint_elsewhere_that_cannot_be_written_is_said_so(small_config, data, tmp_path, monkeypatch):
    def save(*_, **__):
        raise tf.errors.PermissionDeniedError(None, None, "no storage.objects.create access")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", save)
    with pytest.raises(
        InputError, match=rf"^ram://{tmp_path.name}/checkpoints: a checkpoint .* may write .*no storage"
    ):
        train(small_config, SETTINGS, data, None, elsewhere(tmp_path))


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


def test_parts_of_a_batch_add_up_to_it(small_config, data, tmp_path):
    config = without_dropout(small_config)
    whole, _ = run(config, data, tmp_path / "whole")
    for parts in (2, 4):
        settings = SETTINGS.model_copy(update={"accumulation": parts})
        weights, _ = run(config, data, tmp_path / str(parts), settings)
        for name in whole:
            np.testing.assert_allclose(weights[name], whole[name], atol=2e-5, err_msg=name)
        expected, found = (held_out_losses(tmp_path / folder) for folder in ("whole", str(parts)))
        assert found == pytest.approx(expected, abs=1e-4)


def held_out_losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics" / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "eval"]


def test_a_truncated_file_of_examples_is_named(small_config, data, tmp_path):
    (one,) = data.train_bins
    whole = Path(one.files[0]).read_bytes()
    (tmp_path / "truncated").write_bytes(whole[:-10])
    damaged = one._replace(files=(str(tmp_path / "truncated"),))
    with pytest.raises(InputError, match=r"file of examples is damaged.*truncated"):
        run(small_config, replace(data, train_bins=[damaged]), tmp_path)


def test_a_batch_that_cannot_be_divided_is_refused(small_config, data, tmp_path):
    with pytest.raises(InputError, match=r"training\.batch_size: 8 cannot be divided by 1 devices times .* 3"):
        run(small_config, data, tmp_path, SETTINGS.model_copy(update={"accumulation": 3}))


def test_machines_that_are_not_named_are_refused(small_config, data, tmp_path, monkeypatch):
    settings = SETTINGS.model_copy(update={"strategy": "multiworker"})
    for value in ("", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'):
        monkeypatch.setenv("TF_CONFIG", value)
        with pytest.raises(InputError, match="TF_CONFIG"):
            run(small_config, data, tmp_path, settings)


@pytest.mark.parametrize(("precision", "xla"), [("bfloat16", "off"), ("float32", "on"), ("bfloat16", "on")])
def test_precision_and_compilation_take_effect(small_config, data, undisturbed, tmp_path, caplog, precision, xla):
    settings = SETTINGS.model_copy(update={"precision": precision, "xla": xla})
    with caplog.at_level("INFO", "albert"):
        weights, figures = run(small_config, data, tmp_path, settings)
    assert f"{precision}, {'compiled with XLA' if xla == 'on' else 'without XLA'}" in caplog.text
    assert all(value.dtype == np.float32 for value in weights.values())
    assert not same(weights, undisturbed[0])  # other arithmetic is other rounding
    (last,) = (
        json.loads(line) for line in (undisturbed[1] / "metrics" / "metrics.jsonl").read_text().splitlines()[-2:-1]
    )
    assert figures["loss"] == pytest.approx(last["loss"], rel=0.05)


def test_a_disk_that_is_full_ends_the_training_with_a_remedy(small_config, data, tmp_path, monkeypatch):
    def save(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", save)
    with pytest.raises(InputError, match=r"a checkpoint could not be written \([\d,]+ MB are free\)"):
        run(small_config, data, tmp_path)
    assert not list((tmp_path / "checkpoints").glob("ckpt*"))


def test_a_fresh_head_is_trained_alone_at_first(small_config, data, undisturbed, tmp_path, monkeypatch):
    """Then all follows, from the start of its own warm-up."""
    original, kept = loop._Training._evaluate, {}

    def evaluate(self, data):
        kept[self.steps_taken] = network_weights.read(self.network)
        return original(self, data)

    monkeypatch.setattr(loop._Training, "_evaluate", evaluate)
    settings = SETTINGS.model_copy(update={"max_steps": 20, "evaluate_every": 2})
    folders = TrainingFolders(tmp_path / "checkpoints", tmp_path / "metrics")
    train(small_config, settings, data, undisturbed[0], folders, fresh_heads=("sop",))
    moved = {step: {name for name in kept[0] if not np.array_equal(kept[0][name], kept[step][name])} for step in (2, 6)}
    assert moved[2] == {"cls/seq_relationship/output_weights", "cls/seq_relationship/output_bias"}
    assert moved[6] == kept[0].keys()
    rates = [json.loads(line) for line in (tmp_path / "metrics" / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in rates if line["split"] == "train"}
    assert rates[1] == pytest.approx(0.01)
    assert rates[4] == pytest.approx(0.005)  # the second step of the warm-up of two


@pytest.mark.parametrize("form", [{"scan_layers": True}, {"rematerialize": True}])
def test_ways_to_take_less_memory_train_alike(small_config, data, undisturbed, tmp_path, form):
    """Dropout draws the same, whether layers are a loop or are computed twice."""
    weights, _ = run(small_config, data, tmp_path, SETTINGS.model_copy(update=form))
    for name in weights:
        np.testing.assert_allclose(weights[name], undisturbed[0][name], atol=2e-4, err_msg=name)
