"""ALBERT's LAMB.

As in google-research/albert's `lamb_optimizer.py` and unlike `keras.optimizers.Lamb`: no bias correction, weight
decay inside the update that the trust ratio scales, and norms and biases excluded from decay and from the trust
ratio alike. (LAMB: arXiv:1904.00962.)
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-6
_EXCLUDED = ("LayerNorm", "layer_norm", "bias")


class Update(NamedTuple):
    weight: tf.Tensor
    m: tf.Tensor
    v: tf.Tensor


def is_adapted(name: str) -> bool:
    """Whether a parameter is decayed and scaled by the trust ratio.

    >>> is_adapted("bert/pooler/dense/kernel"), is_adapted("bert/embeddings/LayerNorm/gamma")
    (True, False)
    """
    return not any(part in name for part in _EXCLUDED)


def lamb_update(weight, gradient, m, v, learning_rate, weight_decay: float, adapted: bool) -> Update:
    """One step for one parameter; all arguments are tensors of its shape but `learning_rate`, a scalar."""
    m = BETA_1 * m + (1 - BETA_1) * gradient
    v = BETA_2 * v + (1 - BETA_2) * tf.square(gradient)
    update = m / (tf.sqrt(v) + EPSILON)
    if adapted:
        update += weight_decay * weight
        weight_norm, update_norm = tf.norm(weight), tf.norm(update)
        both = tf.logical_and(weight_norm > 0, update_norm > 0)
        learning_rate *= tf.where(both, tf.math.divide_no_nan(weight_norm, update_norm), 1.0)
    return Update(weight - learning_rate * update, m, v)
