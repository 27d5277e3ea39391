import numpy as np
import pytest
import tensorflow as tf

from albert_model.training.lamb import is_adapted
from albert_model.training.optimizers import RULES, Optimizer
from tests.albert_model.training.reference import reference_step

NAMES = {
    "bert/pooler/dense/kernel": (3, 4),
    "bert/pooler/dense/bias": (4,),
    "bert/embeddings/LayerNorm/gamma": (5,),
    "cls/predictions/output_bias": (6,),
}


def test_a_hundred_steps_agree_with_a_float64_reference():
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=shape) for name, shape in NAMES.items()}
    m = {name: np.zeros(shape) for name, shape in NAMES.items()}
    v = {name: np.zeros(shape) for name, shape in NAMES.items()}
    variables = {name: tf.Variable(value, dtype=tf.float64) for name, value in weights.items()}
    optimizer = Optimizer(RULES["lamb"], list(variables), list(variables.values()), weight_decay=0.01, clip_norm=1.0)
    for step in range(100):
        gradients = {name: rng.normal(size=shape) for name, shape in NAMES.items()}
        learning_rate = 0.01 * (step + 1) / 100
        optimizer.apply([tf.constant(g) for g in gradients.values()], tf.constant(learning_rate, tf.float64), step + 1)
        reference_step(weights, gradients, m, v, learning_rate, decay=0.01, clip=1.0)
    for name, variable in variables.items():
        np.testing.assert_allclose(variable.numpy(), weights[name], rtol=1e-10, err_msg=name)


def test_the_norm_before_clipping_is_returned():
    variable = tf.Variable([1.0, 1.0])
    optimizer = Optimizer(RULES["lamb"], ["kernel"], [variable], weight_decay=0.0, clip_norm=1.0)
    assert optimizer.apply([tf.constant([3.0, 4.0])], tf.constant(0.1), 1).numpy() == pytest.approx(5.0)


def test_weights_of_zero_still_move():
    """The trust ratio is 1 where a norm is 0, or biases and fresh kernels of zeros could never leave it."""
    variable = tf.Variable([0.0, 0.0])
    optimizer = Optimizer(RULES["lamb"], ["kernel"], [variable], weight_decay=0.01, clip_norm=1.0)
    optimizer.apply([tf.constant([1.0, 1.0])], tf.constant(0.1), 1)
    assert (variable.numpy() < 0).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert/embeddings/word_embeddings", True),
        ("bert/pooler/dense/kernel", True),
        ("cls/seq_relationship/output_weights", True),
        ("bert/pooler/dense/bias", False),
        ("cls/predictions/transform/LayerNorm/gamma", False),
        ("bert/encoder/transformer/group_0/inner_group_0/LayerNorm_1/beta", False),
        ("cls/predictions/output_bias", False),
    ],
)
def test_norms_and_biases_are_left_out(name, expected):
    assert is_adapted(name) is expected
