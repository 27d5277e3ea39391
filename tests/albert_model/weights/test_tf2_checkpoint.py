import numpy as np
import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.training.checkpoints import Checkpoints
from albert_model.training.optimizers import RULES, Optimizer
from albert_model.weights import network as network_weights
from albert_model.weights import source, tf2_checkpoint
from albert_model.weights.settings import ReadOptions
from tests.albert_model.weights.small_models import ALBERT, CONFIGS, ENCODER, assert_same, random_model, random_weights
from tests.albert_model.weights.test_tf1_checkpoint import save

WEIGHTS = random_weights(ALBERT)


@pytest.fixture(scope="module")
def network():
    return random_model().network()


@pytest.fixture
def prefix(network, tmp_path):
    tf2_checkpoint.write(tmp_path / "model.ckpt", network)
    return tmp_path / "model.ckpt"


def read(path, config=ALBERT):
    with source.opened(str(path), ReadOptions(config=config)) as opened:
        assert opened.format == "tf2_checkpoint"
        return dict(opened.model.weights), opened.model.left_out


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_network_is_restored_and_the_weights_are_read(config, tmp_path):
    """As users restore it, and as this project reads it."""
    weights = random_weights(config)
    tf2_checkpoint.write(tmp_path / "model.ckpt", random_model(config).network())
    restored = AlbertPretrainer(config, seed=1)
    tf.train.Checkpoint(model=restored).read(str(tmp_path / "model.ckpt")).assert_existing_objects_matched()
    assert_same(network_weights.read(restored), weights)
    read_back, left_out = read(tmp_path, config)
    assert_same(read_back, weights)
    assert left_out == ()


def test_an_encoder_is_restored_alone(network, tmp_path):
    tf2_checkpoint.write(tmp_path / "model.ckpt", network, ENCODER)
    expected = random_weights(ALBERT, parts=ENCODER)
    assert_same(read(tmp_path)[0], {name: WEIGHTS[name] for name in expected})
    restored = AlbertPretrainer(ALBERT, seed=1)
    checkpoint = tf.train.Checkpoint(encoder=restored.encoder)
    checkpoint.read(str(tmp_path / "model.ckpt")).assert_existing_objects_matched()
    after = network_weights.read(restored)
    assert_same({name: after[name] for name in expected}, {name: WEIGHTS[name] for name in expected})


def test_every_variable_is_on_disk_once(prefix):
    size = prefix.with_name("model.ckpt.data-00000-of-00001").stat().st_size
    arrays = sum(array.nbytes for array in WEIGHTS.values())
    assert arrays < size < arrays + 12_000  # the graph of objects


@pytest.mark.parametrize("place", ["folder", "prefix"])
def test_a_trainings_checkpoint_gives_its_weights_without_its_slots(network, tmp_path, place):
    variables = {name: variable.value for name, variable in tf2_checkpoint.by_name(network).items()}
    optimizer = Optimizer(RULES["lamb"], list(variables), list(variables.values()), weight_decay=0.01, clip_norm=1.0)
    for slot in optimizer.slots:
        slot.m.assign_add(tf.ones_like(slot.m))
    step = tf.Variable(5, dtype=tf.int64)
    state, dropout_state = {"step": step}, [tf.Variable([1, 2], dtype=tf.int64)]
    checkpoints = Checkpoints(tmp_path, variables, optimizer.slots, state, dropout_state, keep=2)
    checkpoints.save()
    step.assign(8)
    checkpoints.save()
    checkpoints.close()
    weights, left_out = read(tmp_path if place == "folder" else tmp_path / "ckpt-5")
    assert_same(weights, WEIGHTS)
    assert {name.split("/")[0] for name in left_out} == {"m", "v", "step", "dropout_state", "save_counter"}


def test_its_arrays_are_those_of_the_config(prefix):
    with pytest.raises(InputError, match=r"embedding_hidden_mapping_in/kernel has shape \(24, 64\), the config says"):
        read(prefix, CONFIGS["albert without a projection"].model_copy(update={"embedding_size": 32}))


def test_another_objects_checkpoint_is_refused(tmp_path):
    tf.train.Checkpoint(weight=tf.Variable([1.0, 2.0])).write(str(tmp_path / "model.ckpt"))
    with pytest.raises(InputError, match="bert/embeddings/word_embeddings is missing"):
        read(tmp_path)


def test_a_tf1_checkpoint_is_no_object_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"model\.ckpt: is no TF2 object checkpoint"):
        tf2_checkpoint.open_stored(save(tmp_path / "model.ckpt", WEIGHTS))


def test_a_damaged_object_graph_is_refused(tmp_path):
    prefix = save(tmp_path / "model.ckpt", {tf2_checkpoint.GRAPH: np.array(b"\xff\xff garbage")})
    with pytest.raises(InputError, match=r"model\.ckpt: its object graph cannot be read"):
        tf2_checkpoint.open_stored(prefix)


def test_variables_of_one_name_are_told_apart_by_their_keys(tmp_path):
    pair = [tf.Variable([1.0], name="kernel"), tf.Variable([2.0], name="kernel"), tf.Variable([3.0], name="bias")]
    tf.train.Checkpoint(parts=pair).write(str(tmp_path / "model.ckpt"))
    stored = tf2_checkpoint.open_stored(tmp_path / "model.ckpt")
    found = {name: float(stored.read(name)[0]) for name in stored.shapes if name != "save_counter"}
    keys = [f"parts/{number}/.ATTRIBUTES/VARIABLE_VALUE" for number in range(2)]
    assert found == {keys[0]: 1.0, keys[1]: 2.0, "bias": 3.0}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-6000], "cannot be read .*The checkpoint is truncated or damaged"),
        (lambda content: bytes([content[0] ^ 1]) + content[1:], "cannot be read .*hecksum"),
    ],
    ids=["truncated", "one bit"],
)
def test_damage_is_named(prefix, damage, message):
    path = prefix.with_name("model.ckpt.data-00000-of-00001")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{prefix}: variable .* {message}"):
        read(prefix)
