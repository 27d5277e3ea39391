import numpy as np
import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import network as network_weights
from albert_model.weights import package, saved_model
from albert_model.weights.model import Model


@pytest.fixture(scope="module")
def written(small_config, tokenizer, tmp_path_factory):
    """A package and where it was written."""
    weights = network_weights.read(AlbertPretrainer(small_config, seed=5))
    made = Model(small_config, weights, tokenizer.vocabulary)
    folder = tmp_path_factory.mktemp("package")
    package.write(folder, made)
    return made, folder


def test_round_trip(written):
    made, folder = written
    read = package.read(folder)
    assert (read.config, read.tokenizer.fingerprint) == (made.config, made.tokenizer.fingerprint)
    assert all((read.weights[name] == made.weights[name]).all() for name in made.weights)


@pytest.mark.parametrize("name", ["config.json", "vocab/spm.model", "tf2_model_full.h5"])
def test_a_missing_file_is_named(written, tmp_path, name):
    package.write(tmp_path, written[0])
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=str(tmp_path)):
        package.read(tmp_path)


INPUTS = {
    "input_word_ids": tf.constant([[2, 50, 60, 3, 70, 3, 0, 0]]),
    "input_mask": tf.constant([[1, 1, 1, 1, 1, 1, 0, 0]]),
    "input_type_ids": tf.constant([[0, 0, 0, 0, 1, 1, 0, 0]]),
}


@pytest.fixture(scope="module")
def loaded(written, tmp_path_factory):
    made, folder = written
    target = tmp_path_factory.mktemp("saved_model")
    saved_model.write(target, made.network(), folder / "vocab" / "spm.model")
    return tf.saved_model.load(str(target)), made


def test_the_saved_model_computes_what_the_network_does(loaded):
    module, made = loaded
    expected = made.network().encoder(*INPUTS.values())
    outputs = module(INPUTS)
    for name in ("pooled_output", "sequence_output"):
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-6)
        np.testing.assert_allclose(module.signatures["serving_default"](**INPUTS)[name], expected[name], atol=1e-6)
    assert (outputs["default"].numpy() == outputs["pooled_output"].numpy()).all()
    assert len(outputs["encoder_outputs"]) == made.config.num_hidden_layers


def test_the_saved_model_can_be_fine_tuned(loaded):
    module, _ = loaded
    assert len(module.trainable_variables) == 25
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(INPUTS, training=True)["pooled_output"])
    gradients = tape.gradient(loss, list(module.trainable_variables))
    assert all(gradient is not None for gradient in gradients)


def test_the_saved_model_brings_its_vocabulary(loaded):
    module, made = loaded
    assert tf.io.read_file(module.sp_model_file.asset_path).numpy() == made.tokenizer.model
