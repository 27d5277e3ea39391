"""Shards of examples, and what turns them into the model's inputs."""

from __future__ import annotations

from collections import Counter

import pytest
import tensorflow as tf

from albert_model.text.examples import RAGGED_FEATURES, SCALAR_FEATURES, encode_examples, make_examples
from albert_model.text.settings import ExampleSettings
from albert_model.training.loop import TrainingData
from components.preprocessing_module import preprocessing_fn

LENGTHS = {"max_seq_length": 32, "max_predictions_per_seq": 5}


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    spec = {name: tf.io.VarLenFeature(tf.int64) for name in RAGGED_FEATURES + SCALAR_FEATURES}
    return preprocessing_fn(tf.io.parse_example(serialized, spec), LENGTHS)


def write_shards(folder, documents, tokenizer, splits):
    """`splits`: documents and shards of each; gives the paths and the number of training examples."""
    paths: dict[str, list[str]] = {}
    counts = Counter()
    for split, (chosen, shards) in splits.items():
        settings = ExampleSettings(**LENGTHS)
        made = make_examples(documents[chosen], tokenizer, settings, 1, True, Counter())
        values = [value for examples in made for value in encode_examples(examples)]
        counts[split] = len(values)
        paths[split] = [str(folder / f"{split}-{shard}") for shard in range(shards)]
        for shard, path in enumerate(paths[split]):
            with tf.io.TFRecordWriter(path) as writer:
                for value in values[shard::shards]:
                    writer.write(value)
    return TrainingData(paths["train"], paths["eval"], counts["train"], parse)


@pytest.fixture(scope="session")
def data(tmp_path_factory, documents, tokenizer) -> TrainingData:
    splits = {"train": (slice(0, 10), 3), "eval": (slice(10, 13), 1)}
    return write_shards(tmp_path_factory.mktemp("shards"), documents, tokenizer, splits)
