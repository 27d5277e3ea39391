import numpy as np
import pytest
import tensorflow as tf

from albert_model.training.optimizers import RULES, Optimizer
from albert_model.training.settings import TrainingSettings

NAMES = {"bert/pooler/dense/kernel": (3, 4), "bert/pooler/dense/bias": (4,)}


def test_adamw_agrees_with_a_float64_reference_over_a_hundred_steps():
    """Loshchilov and Hutter, algorithm 2, with the rate in front of the decay as in Adam's and BERT's code."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=shape) for name, shape in NAMES.items()}
    m = {name: np.zeros(shape) for name, shape in NAMES.items()}
    v = {name: np.zeros(shape) for name, shape in NAMES.items()}
    variables = {name: tf.Variable(value, dtype=tf.float64) for name, value in weights.items()}
    optimizer = Optimizer(RULES["adamw"], list(variables), list(variables.values()), weight_decay=0.1, clip_norm=1e9)
    for step in range(1, 101):
        gradients = {name: rng.normal(size=shape) for name, shape in NAMES.items()}
        rate = 0.01 * step / 100
        optimizer.apply([tf.constant(g) for g in gradients.values()], tf.constant(rate, tf.float64), tf.constant(step))
        for name, gradient in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = 0.999 * v[name] + 0.001 * gradient**2
            mean, square = m[name] / (1 - 0.9**step), v[name] / (1 - 0.999**step)
            decay = 0.1 * weights[name] if "bias" not in name else 0.0
            weights[name] = weights[name] - rate * (mean / (np.sqrt(square) + 1e-6) + decay)
    for name, variable in variables.items():
        np.testing.assert_allclose(variable.numpy(), weights[name], rtol=1e-9, err_msg=name)


def test_sgd_takes_the_gradient_as_it_is():
    variable = tf.Variable([1.0, 2.0])
    optimizer = Optimizer(RULES["sgd"], ["kernel"], [variable], weight_decay=0.1, clip_norm=100.0)
    optimizer.apply([tf.constant([3.0, -4.0])], tf.constant(0.5), tf.constant(1))
    assert variable.numpy().tolist() == [-0.5, 4.0]


@pytest.mark.parametrize(("batch", "expected"), [(4096, 0.00176), (1024, 0.00088), (64, 0.00022)])
def test_the_rate_is_scaled_with_the_root_of_the_batch(batch, expected):
    settings = TrainingSettings(batch_size=batch, learning_rate_batch=4096)
    assert settings.peak_learning_rate == pytest.approx(expected)
    assert TrainingSettings(batch_size=batch).peak_learning_rate == 0.00176
