"""Optimizers under tf.distribute. Their rules for one parameter are in `lamb.py` and here.

Gradients are summed over the replicas, then clipped, then applied: Keras' optimizers clip each replica's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import tensorflow as tf

from albert_model.training.lamb import BETA_1, BETA_2, EPSILON, Update, is_adapted, lamb_update


class Rule(Protocol):
    """One step for one parameter; tensors of its shape, but for the two scalars."""

    def __call__(self, weight, gradient, m, v, learning_rate, step, weight_decay: float, adapted: bool) -> Update: ...


def _lamb(weight, gradient, m, v, learning_rate, step, weight_decay: float, adapted: bool) -> Update:
    return lamb_update(weight, gradient, m, v, learning_rate, weight_decay, adapted)


def adamw_update(weight, gradient, m, v, learning_rate, step, weight_decay: float, adapted: bool) -> Update:
    """Adam with bias correction and decoupled weight decay (AdamW, arXiv:1711.05101); `step` counts from 1."""
    m = BETA_1 * m + (1 - BETA_1) * gradient
    v = BETA_2 * v + (1 - BETA_2) * tf.square(gradient)
    step = tf.cast(step, weight.dtype)
    update = m / (1 - BETA_1**step) / (tf.sqrt(v / (1 - BETA_2**step)) + EPSILON)
    if adapted:
        update += weight_decay * weight
    return Update(weight - learning_rate * update, m, v)


def sgd_update(weight, gradient, m, v, learning_rate, step, weight_decay: float, adapted: bool) -> Update:
    """Plain gradient descent. It shows what an adaptive optimizer hides, such as a gradient that is summed twice."""
    return Update(weight - learning_rate * gradient, m, v)


RULES: Mapping[str, Rule] = {"lamb": _lamb, "adamw": adamw_update, "sgd": sgd_update}


class Slots(NamedTuple):
    """Moving averages of a variable's gradient and of its square."""

    m: tf.Variable
    v: tf.Variable


class Optimizer:
    """Holds the slots and applies a rule under tf.distribute.

    Args:
      rule: of RULES.
      names: canonical names of the variables; they decide what is adapted and decayed.
      variables: made in the strategy's scope, as this object must be.
      weight_decay: see `TrainingSettings`.
      clip_norm: see `TrainingSettings`.
      waits: for each variable, whether it stays as it is while `apply` is told that some wait.
    """

    def __init__(
        self,
        rule: Rule,
        names: Sequence[str],
        variables: Sequence[tf.Variable],
        weight_decay: float,
        clip_norm: float,
        waits: Sequence[bool] | None = None,
    ):
        self._rule = rule
        self._variables = list(variables)
        self._adapted = [is_adapted(name) for name in names]
        self._weight_decay, self._clip_norm = weight_decay, clip_norm
        self._waits = list(waits or [False] * len(self._variables))
        self.slots = [
            Slots(*(tf.Variable(tf.zeros_like(variable), trainable=False, name=slot) for slot in Slots._fields))
            for variable in self._variables
        ]

    def apply(
        self,
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        step: tf.Tensor,
        some_wait: tf.Tensor | bool = False,
    ) -> tf.Tensor:
        """Sums the replicas' gradients, clips the sum by its global norm, updates; returns the norm before that.

        Called in replica context. The sum is clipped, not each replica's part, so that the result does not depend
        on how the batch was divided. `step` counts from 1.
        """
        context = tf.distribute.get_replica_context()
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        clipped, norm = tf.clip_by_global_norm(summed, self._clip_norm)
        context.merge_call(self._apply_everywhere, args=(clipped, learning_rate, step, some_wait))
        return norm

    def _apply_everywhere(self, strategy: tf.distribute.Strategy, gradients, learning_rate, step, some_wait) -> None:
        rows = zip(self._variables, self.slots, gradients, self._adapted, self._waits, strict=True)
        for variable, slots, gradient, adapted, waits in rows:
            arguments = (gradient, slots.m, slots.v, learning_rate, step, adapted, some_wait if waits else None)
            strategy.extended.update(variable, self._assign, args=arguments, group=False)

    def _assign(self, variable, gradient, m, v, learning_rate, step, adapted: bool, waits) -> None:
        update = self._rule(variable, gradient, m, v, learning_rate, step, self._weight_decay, adapted)
        if waits is not None:
            old = Update(variable, m, v)
            update = Update(*(tf.where(waits, before, after) for before, after in zip(old, update, strict=True)))
        variable.assign(update.weight)
        m.assign(update.m)
        v.assign(update.v)
