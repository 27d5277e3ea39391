"""Records to batches, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

# Turns serialised examples, string [B], into the model's inputs and labels, [B, …] each; to train on, those of a step.
Parse = Callable[[tf.Tensor], dict[str, tf.Tensor]]
ParseToTrain = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
_PARSERS = 2  # a parser makes some 100,000 examples a second
_PREFETCHED = 4  # batches
_SHUFFLED_AT_ONCE = 200_000  # records; compact ones, so some 100 MB


def training_batches(
    files: Sequence[str], parse: ParseToTrain, batch_size: int, epochs: int, seed: int, start_step: int
) -> tf.data.Dataset:
    """Full batches of all epochs from `start_step` on, each epoch in its own order.

    The batch of a given step is the same whether or not training was interrupted before it.
    """
    files = sorted(files)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.constant(files), seed=[seed, epoch])
        records = tf.data.TFRecordDataset(order)
        records = records.shuffle(
            _SHUFFLED_AT_ONCE, seed=tf.constant(seed, tf.int64) + epoch, reshuffle_each_iteration=False
        )
        return records.batch(batch_size, drop_remainder=True)

    batches = tf.data.Dataset.range(epochs).flat_map(epoch_batches).enumerate().skip(start_step)
    return _parsed(batches, lambda step, serialized: parse(serialized, step))


def evaluation_batches(files: Sequence[str], parse: Parse, batch_size: int) -> tf.data.Dataset:
    """All records once, in order."""
    return _parsed(tf.data.TFRecordDataset(sorted(files)).batch(batch_size), parse)


def _parsed(batches: tf.data.Dataset, parse: Callable[..., dict[str, tf.Tensor]]) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Batches are already made for all replicas; the strategy must split them, not the files.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # With autotuning an iterator's end waits for the tuner's sleep, up to a minute (TensorFlow 2.21).
    options.autotune.enabled = False
    return batches.map(parse, num_parallel_calls=_PARSERS).prefetch(_PREFETCHED).with_options(options)
