"""Records to batches, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

import tensorflow as tf

from albert_model.network.pretrainer import ENCODER_INPUTS, PACKING_INPUTS
from albert_model.training.strategies import Share

# Turns serialised examples, string [B], into the model's inputs and labels, [B, …] each; to train on, those of a step
# (int64 scalar) and of rows of its batch (int64 [B]).
Parse = Callable[[tf.Tensor], dict[str, tf.Tensor]]
ParseToTrain = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
_PARSERS = 2  # a parser makes some 100,000 examples a second
_PREFETCHED = 4  # batches
_SHUFFLED_AT_ONCE = 200_000  # records; compact ones, so some 100 MB
_BIN = re.compile(r"length-(\d+)(_tfrecord-.*)?")


class Bin(NamedTuple):
    """Files whose examples have a length in common.

    Attributes:
      files: TFRecord shards.
      records: in them.
      length: of the longest example; None: as long as the model's inputs.
    """

    files: tuple[str, ...]
    records: int
    length: int | None = None


def length_of(path: str) -> int | None:
    """The longest example that a file of PretrainingExampleGen may hold, by its name; None: as long as any.

    >>> length_of("train/length-00064_tfrecord-00000-of-00002"), length_of("data_tfrecord-00000-of-00001")
    (64, None)
    """
    found = _BIN.fullmatch(PurePath(path).name)
    return int(found[1]) if found else None


def bins_of(files: Sequence[str], records: Mapping[int | None, int]) -> list[Bin]:
    """Files in bins by `length_of`.

    Args:
      files: shards.
      records: how many the files of each length have.
    """
    by_length: dict[int | None, list[str]] = {}
    for path in sorted(files):
        by_length.setdefault(length_of(path), []).append(path)
    return [Bin(tuple(by_length[n]), records[n], n) for n in sorted(by_length, key=lambda length: length or 0)]


def batches_of(bins: Sequence[Bin], batch_size: int) -> int:
    """Full batches of an epoch; what is left over in each bin is left out."""
    return sum(one.records // batch_size for one in bins)


def training_batches(
    bins: Sequence[Bin],
    parse: ParseToTrain,
    batch_size: int,
    epochs: int,
    seed: int,
    start_step: int,
    share: Share = Share(),  # noqa: B008  (immutable)
) -> tf.data.Dataset:
    """Full batches of all epochs from `start_step` on, each epoch in its own order.

    The batch of a given step is the same whether or not training was interrupted before it. A batch has examples of
    one bin, and is as wide as that.
    """

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        datasets = [_shuffled(one, batch_size, seed, epoch) for one in bins]
        counts = [one.records // batch_size for one in bins]
        choice = tf.repeat(tf.range(len(bins), dtype=tf.int64), counts)
        order = tf.random.experimental.stateless_shuffle(choice, seed=[seed, epoch])
        return tf.data.Dataset.choose_from_datasets(
            datasets, tf.data.Dataset.from_tensor_slices(order), stop_on_empty_dataset=False
        )

    def parsed(step: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        serialized, *length = batch
        rows = share.rows(batch_size)
        inputs = parse(tf.gather(serialized, rows), step, rows)
        return _narrowed(inputs, length[0]) if length else inputs

    batches = tf.data.Dataset.range(epochs).flat_map(epoch_batches).enumerate().skip(start_step)
    return _with_options(batches.map(parsed, num_parallel_calls=_PARSERS).prefetch(_PREFETCHED))


def _narrowed(inputs: dict[str, tf.Tensor], length: tf.Tensor) -> dict[str, tf.Tensor]:
    """Inputs without the positions that are padding in all examples of a bin."""
    return {
        name: value[:, :length] if name in (*ENCODER_INPUTS, *PACKING_INPUTS) else value
        for name, value in inputs.items()
    }


def _shuffled(one: Bin, batch_size: int, seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    order = tf.random.experimental.stateless_shuffle(tf.constant(one.files), seed=[seed, epoch])
    records = tf.data.TFRecordDataset(order)
    records = records.shuffle(
        _SHUFFLED_AT_ONCE, seed=tf.constant(seed, tf.int64) + epoch, reshuffle_each_iteration=False
    )
    batches = records.batch(batch_size, drop_remainder=True)
    return batches.map(lambda serialized: (serialized, *([] if one.length is None else [one.length])))


def evaluation_batches(
    files: Sequence[str],
    parse: Parse,
    batch_size: int,
    share: Share = Share(),  # noqa: B008
) -> tf.data.Dataset:
    """All records once, in order."""

    def parsed(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        return parse(tf.gather(serialized, share.rows(tf.size(serialized))))

    batches = tf.data.TFRecordDataset(sorted(files)).batch(batch_size)
    return _with_options(batches.map(parsed, num_parallel_calls=_PARSERS).prefetch(_PREFETCHED))


def _with_options(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Batches are already made for all replicas; the strategy must split them, not the files.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # With autotuning an iterator's end waits for the tuner's sleep, up to a minute (TensorFlow 2.21).
    options.autotune.enabled = False
    return batches.with_options(options)
