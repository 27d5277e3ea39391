"""The forms that a training can choose compute the same. Runs on TensorFlow, and on JAX from `test_jax.py`."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from albert_model.network import encoder, layers
from albert_model.network.pretrainer import PACKING_INPUTS, SOP_POSITIONS, AlbertPretrainer
from tests.albert_model.network.compiled import batch_of, loss_and_gradients

FORMS = [{"scan_layers": True}, {"rematerialize": True}, {"scan_layers": True, "rematerialize": True}]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
CONFIGS = {
    "one group": NO_DROPOUT | {"num_hidden_layers": 2},
    "one group, dropout": DROPOUT | {"num_hidden_layers": 3},
    "uneven groups": NO_DROPOUT | {"num_hidden_layers": 3, "num_hidden_groups": 2},
    "inner layers, dropout": DROPOUT | {"num_hidden_layers": 3, "num_hidden_groups": 2, "inner_group_num": 2},
}


def assert_same(one, other, tolerance=2e-6):
    (loss, gradients), (other_loss, other_gradients) = one, other
    assert abs(loss - other_loss) < 1e-5 * abs(loss)
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    for path, gradient in gradients.items():
        assert np.abs(gradient - other_gradients[path]).max() < tolerance * max(1.0, largest), path


@pytest.mark.parametrize("name", CONFIGS)
def test_loops_and_recomputation_change_no_gradient(small_config, name):
    """Dropout included: what is dropped does not depend on the form, and is the same when a layer is computed again."""
    config = small_config.model_copy(update=CONFIGS[name])
    batch = batch_of()
    plain = loss_and_gradients(AlbertPretrainer(config, seed=3), batch)
    assert any(np.abs(gradient).max() > 1e-2 for gradient in plain[1].values())
    for form in FORMS:
        assert_same(plain, loss_and_gradients(AlbertPretrainer(config, seed=3, **form), batch))


@pytest.mark.parametrize("form", FORMS[-1:])
def test_forms_are_equal_in_mixed_precision_too(small_config, form):
    batch = batch_of()
    plain = loss_and_gradients(AlbertPretrainer(small_config, seed=3, dtype="mixed_bfloat16"), batch)
    other = loss_and_gradients(AlbertPretrainer(small_config, seed=3, dtype="mixed_bfloat16", **form), batch)
    assert_same(plain, other, tolerance=2e-2)


@pytest.mark.parametrize("form", FORMS)
def test_inference_is_the_same(small_config, form):
    batch = batch_of()
    plain, other = AlbertPretrainer(small_config, seed=3)(batch), AlbertPretrainer(small_config, seed=3, **form)(batch)
    assert ("encoder_outputs" in other) == ("scan_layers" not in form)
    assert len(plain["encoder_outputs"]) == small_config.num_hidden_layers
    for name in plain.keys() - {"encoder_outputs"}:
        np.testing.assert_allclose(as_numpy(plain[name]), as_numpy(other[name]), atol=1e-5)


@pytest.mark.parametrize("form", [{}, *FORMS])
def test_an_example_computes_the_same_alone_and_packed(small_config, form):
    network = AlbertPretrainer(small_config, seed=3, **form)
    packed = batch_of(rows=1)
    second = packed[SOP_POSITIONS][0, 1]
    packed["masked_lm_positions"] = np.array([[1, second + 1, second + 3]], np.int32)
    alone = {name: value[:, second:] for name, value in packed.items() if name.startswith("input_")} | {
        "masked_lm_positions": np.array([[1, 3]], np.int32)
    }
    ours, expected = network(packed), network(alone)
    np.testing.assert_allclose(as_numpy(ours["mlm_logits"])[:, 1:], as_numpy(expected["mlm_logits"]), atol=1e-5)
    np.testing.assert_allclose(as_numpy(ours["sop_logits"])[:, 1], as_numpy(expected["sop_logits"]), atol=1e-5)
    unaware = network({name: value for name, value in packed.items() if name not in PACKING_INPUTS})
    assert np.abs(as_numpy(unaware["mlm_logits"])[:, 1:] - as_numpy(expected["mlm_logits"])).max() > 1e-3


def test_one_matmul_gives_what_three_give(small_config):
    layer = AlbertPretrainer(small_config, seed=3).encoder.groups[0][0]
    for variable in (layer.query.bias, layer.key.bias, layer.value.bias):
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    x_BSD = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 8, small_config.hidden_size)), "float32")
    mask = ops.zeros((2, 1, 1, 8))
    one, three = layer(x_BSD, mask, layer.joined_projections()), layer(x_BSD, mask)
    np.testing.assert_allclose(as_numpy(one), as_numpy(three), atol=2e-6)


# === Dropout ===


def dropped(seed, place, shape=(64, 64)):
    return as_numpy(layers.dropout(ops.ones(shape), 0.25, seed, place)) == 0


def test_what_is_dropped_depends_on_layer_place_and_pass():
    seeds = keras.random.SeedGenerator(7)
    masks = [
        dropped(layers.seed_at(seed, number), place)
        for seed in (seeds.next(), seeds.next())
        for number in range(3)
        for place in range(3)
    ]
    for one, other in itertools.combinations(masks, 2):
        assert 0.55 < (one == other).mean() < 0.7  # 0.75² + 0.25² = 0.625 of them, if they are independent
    assert all(0.2 < mask.mean() < 0.3 for mask in masks)
    assert (dropped(layers.seed_at(keras.random.SeedGenerator(7).next(), 2), 1) == masks[2 * 3 + 1]).all()


def test_passes_differ_and_repeat_from_the_state_of_the_seed(small_config):
    batch = batch_of()
    network, same = AlbertPretrainer(small_config, seed=3), AlbertPretrainer(small_config, seed=3, scan_layers=True)
    losses = [loss_and_gradients(network, batch)[0] for _ in range(2)]
    assert losses[0] != losses[1]
    (state,) = same.non_trainable_variables
    state.assign(state + np.array([0, 1]))  # as after one pass
    assert abs(loss_and_gradients(same, batch)[0] - losses[1]) < 1e-5


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
def test_each_rate_of_the_config_acts(small_config, name):
    batch = batch_of()
    network = AlbertPretrainer(small_config.model_copy(update=NO_DROPOUT | {name: 0.3}), seed=3)
    trained, run = (as_numpy(network(batch, training=flag)["sequence_output"]) for flag in (True, False))
    assert np.abs(trained - run).max() > 1e-2
    without = AlbertPretrainer(small_config.model_copy(update=NO_DROPOUT), seed=3)
    assert not without.non_trainable_variables
    np.testing.assert_allclose(as_numpy(without(batch, training=True)["sequence_output"]), run, atol=1e-5)


# === Mixed precision ===


@pytest.fixture
def mixed(small_config):
    return AlbertPretrainer(small_config.model_copy(update=NO_DROPOUT), seed=3, dtype="mixed_bfloat16")


def dtypes(values):
    return {keras.backend.standardize_dtype(value.dtype) for value in values}


def test_mixed_precision_computes_the_loss_and_gradients_of_float32(small_config, mixed):
    """To two digits or so: bfloat16 has 8 bits."""
    exact = AlbertPretrainer(small_config.model_copy(update=NO_DROPOUT), seed=3)
    (loss, gradients), (rounded_loss, rounded) = (loss_and_gradients(n, batch_of()) for n in (exact, mixed))
    assert 0 < abs(rounded_loss - loss) < 2e-3 * loss
    ours, theirs = (np.concatenate([g[path].ravel() for path in gradients]) for g in (rounded, gradients))
    assert np.linalg.norm(ours - theirs) < 0.03 * np.linalg.norm(theirs)


def test_mixed_precision_keeps_variables_and_logits_in_float32(mixed):
    assert dtypes(mixed.trainable_variables) == {"float32"}
    outputs = mixed(batch_of(), training=True)
    assert dtypes([outputs["mlm_logits"], outputs["sop_logits"]]) == {"float32"}
    assert dtypes([outputs["sequence_output"], outputs["pooled_output"]]) == {"bfloat16"}
    assert dtypes(mixed.encoder.groups[0][0].joined_projections()) == {"float32"}  # gradients add up in float32


def test_mixed_precision_has_softmax_and_norms_in_float32(mixed, monkeypatch):
    softmax, inputs = ops.softmax, []
    monkeypatch.setattr(encoder.ops, "softmax", lambda x: (inputs.append(x), softmax(x))[1])
    mixed(batch_of())
    assert len(inputs) == mixed.config.num_hidden_layers
    assert dtypes(inputs) == {"float32"}
    assert dtypes([mixed.encoder.word_embeddings(np.array([[1]]))]) == {"float32"}  # what the first norm adds up
    # The sum of the squares of these numbers is lost in bfloat16.
    x = np.where(np.arange(64) % 2, 1.0, 1.0078125)[None].astype(np.float32)
    norm = keras.layers.LayerNormalization(epsilon=1e-12, dtype="mixed_bfloat16")
    np.testing.assert_allclose(as_numpy(ops.cast(norm(x), "float32")), np.sign(x - x.mean()), atol=1e-2)


# === Operations ===


def test_rows_are_taken():
    rng = np.random.default_rng(0)
    x, positions = rng.normal(size=(3, 7, 4)).astype(np.float32), rng.integers(0, 7, (3, 5))
    expected = np.take_along_axis(x, positions[..., None], axis=1)
    assert (as_numpy(layers.take_rows(ops.convert_to_tensor(x), positions)) == expected).all()


@pytest.mark.parametrize(
    ("function", "derivative"),
    [(layers._gelu_tanh, layers._gelu_tanh_derivative), (layers._gelu_erf, layers._gelu_erf_derivative)],
)
def test_derivatives_of_gelu(function, derivative):
    x, step = np.linspace(-6, 6, 241, dtype=np.float32), np.float32(2**-7)
    slope = (as_numpy(function(x + step)) - as_numpy(function(x - step))) / (2 * step)
    np.testing.assert_allclose(as_numpy(derivative(x)), slope, atol=1e-4)


def as_numpy(tensor) -> np.ndarray:
    return ops.convert_to_numpy(tensor)
