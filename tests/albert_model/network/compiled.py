"""What a network computes in training, compiled, on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from albert_model.network.pretrainer import AlbertPretrainer, score_examples

Batch = Mapping[str, np.ndarray]


def batch_of(rows: int = 4, length: int = 24, vocab: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of two examples and some padding, with labels."""
    rng = np.random.default_rng(seed)
    second, end = length // 2 - 2, length - 3
    places = np.arange(length)
    mask = np.tile(places < end, (rows, 1)).astype(np.int32)
    return {
        "input_word_ids": rng.integers(5, vocab, (rows, length), np.int32) * mask,
        "input_mask": mask,
        "input_type_ids": np.tile(places % (length // 2) > 4, (rows, 1)).astype(np.int32) * mask,
        "position_ids": np.tile(np.where(places < second, places, places - second), (rows, 1)).astype(np.int32),
        "example_numbers": np.tile(1 + (places >= second), (rows, 1)).astype(np.int32) * mask,
        "sentence_order_positions": np.tile([0, second], (rows, 1)).astype(np.int32),
        "masked_lm_positions": np.sort(rng.integers(1, end, (rows, 3), np.int32)),
        "masked_lm_ids": rng.integers(5, vocab, (rows, 3), np.int32),
        "masked_lm_weights": np.ones((rows, 3), np.float32),
        "sentence_order_label": rng.integers(0, 2, (rows, 2), np.int32),
        "sentence_order_weight": np.ones((rows, 2), np.int32),
    }


def _loss(outputs, batch):
    scores = score_examples(outputs, batch)
    return keras.ops.mean(scores["mlm_loss"]) + keras.ops.mean(scores["sop_loss"])


def loss_and_gradients(network: AlbertPretrainer, batch: Batch, **how) -> tuple[float, dict[str, np.ndarray]]:
    """Of one step; moves the network's seed on, as a step does. `how`: for `tf.function`."""
    compute = {"tensorflow": _with_tensorflow, "jax": _with_jax}[keras.backend.backend()]
    loss, gradients = compute(network, batch, **how)
    paths = [variable.path for variable in network.trainable_variables]
    return float(loss), {path: np.asarray(value) for path, value in zip(paths, gradients, strict=True)}


def _with_tensorflow(network: AlbertPretrainer, batch: Batch, **how):
    import tensorflow as tf

    @tf.function(**how)
    def step(batch):
        with tf.GradientTape() as tape:
            loss = _loss(network(batch, training=True), batch)
        gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    return step({name: tf.constant(value) for name, value in batch.items()})


def _with_jax(network: AlbertPretrainer, batch: Batch):
    import jax

    def loss(trainable, others, batch):
        outputs, others = network.stateless_call(trainable, others, batch, training=True)
        return _loss(outputs, batch), others

    trainable = [variable.value for variable in network.trainable_variables]
    others = [variable.value for variable in network.non_trainable_variables]
    (value, others), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(trainable, others, dict(batch))
    for variable, state in zip(network.non_trainable_variables, others, strict=True):
        variable.assign(state)
    return value, gradients
