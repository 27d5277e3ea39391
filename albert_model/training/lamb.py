"""ALBERT's LAMB.

As in google-research/albert's `lamb_optimizer.py` and unlike `keras.optimizers.Lamb`: no bias correction, weight
decay inside the update that the trust ratio scales, and norms and biases excluded from decay and from the trust
ratio alike. (LAMB: arXiv:1904.00962.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-6
_EXCLUDED = ("LayerNorm", "layer_norm", "bias")


class Slots(NamedTuple):
    """Moving averages of a variable's gradient and of its square."""

    m: tf.Variable
    v: tf.Variable


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


class Lamb:
    """Holds the slots and applies the update under tf.distribute.

    Args:
      names: canonical names of the variables; they decide what is adapted.
      variables: made in the strategy's scope, as this object must be.
      weight_decay: see `TrainingSettings`.
      clip_norm: see `TrainingSettings`.
    """

    def __init__(self, names: Sequence[str], variables: Sequence[tf.Variable], weight_decay: float, clip_norm: float):
        self._variables = list(variables)
        self._adapted = [is_adapted(name) for name in names]
        self._weight_decay, self._clip_norm = weight_decay, clip_norm
        self.slots = [
            Slots(*(tf.Variable(tf.zeros_like(variable), trainable=False, name=slot) for slot in Slots._fields))
            for variable in self._variables
        ]

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor) -> tf.Tensor:
        """Sums the replicas' gradients, clips the sum by its global norm, updates; returns the norm before that.

        Called in replica context. The sum is clipped, not each replica's part, so that the result does not depend
        on how the batch was divided.
        """
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        context = tf.distribute.get_replica_context()
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, dense)
        clipped, norm = tf.clip_by_global_norm(summed, self._clip_norm)
        context.merge_call(self._apply_everywhere, args=(clipped, learning_rate))
        return norm

    def _apply_everywhere(self, strategy: tf.distribute.Strategy, gradients, learning_rate) -> None:
        rows = zip(self._variables, self.slots, gradients, self._adapted, strict=True)
        for variable, slots, gradient, adapted in rows:
            strategy.extended.update(
                variable, self._assign, args=(gradient, slots.m, slots.v, learning_rate, adapted), group=False
            )

    def _assign(self, variable, gradient, m, v, learning_rate, adapted: bool) -> None:
        update = lamb_update(variable, gradient, m, v, learning_rate, self._weight_decay, adapted)
        variable.assign(update.weight)
        m.assign(update.m)
        v.assign(update.v)
