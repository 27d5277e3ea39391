"""Shards of examples, and what turns them into the model's inputs."""

from __future__ import annotations

from collections import Counter

import pytest
import tensorflow as tf

from albert_model.text.examples import RAGGED_FEATURES, SCALAR_FEATURES, encode_examples, make_examples
from albert_model.text.packing import EXAMPLE_LENGTHS, pack, predictions_per_row
from albert_model.text.settings import ExampleSettings
from albert_model.training.deferred_masks import DeferredMasks
from albert_model.training.input_pipeline import Bin
from albert_model.training.loop import TrainingData
from components.preprocessing_module import preprocessing_fn

SETTINGS = ExampleSettings(max_seq_length=32, max_predictions_per_seq=5)


def parser(settings, masks=None):
    """As `components.trainer_module` makes it."""
    packed = settings.packing == "pack"
    names = (*RAGGED_FEATURES, *SCALAR_FEATURES, *([EXAMPLE_LENGTHS] if packed else []))
    spec = {name: tf.io.VarLenFeature(tf.int64) for name in names}
    shapes = {
        "max_seq_length": settings.max_seq_length,
        "max_predictions": predictions_per_row(settings),
        "examples_per_row": settings.examples_per_row if packed else None,
    }

    def parse(serialized, *place):
        features = tf.io.parse_example(serialized, spec)
        return preprocessing_fn(masks(features, *place) if masks else features, shapes)

    return parse


def write_shards(folder, documents, tokenizer, splits, settings=SETTINGS, seed=1):
    """`splits`: documents and shards of each; gives what to train on."""
    paths: dict[str, list[str]] = {}
    counts = Counter()
    deferred = settings.masking == "deferred"
    for split, (chosen, shards) in splits.items():
        made = make_examples(documents[chosen], tokenizer, settings, 1, split == "eval" or not deferred, Counter())
        values = [value for examples in made for value in encode_examples(examples)]
        if settings.packing == "pack":
            values = pack(values, settings.max_seq_length, settings.examples_per_row if split == "train" else 1)
        counts[split] = len(values)
        paths[split] = [str(folder / f"{split}-{shard}") for shard in range(shards)]
        for shard, path in enumerate(paths[split]):
            with tf.io.TFRecordWriter(path) as writer:
                for value in values[shard::shards]:
                    writer.write(value)
    masks = DeferredMasks(tokenizer, settings, seed) if deferred else None
    train = [Bin(tuple(paths["train"]), counts["train"])]
    return TrainingData(train, paths["eval"], parser(settings, masks), parser(settings))


@pytest.fixture(scope="session")
def small_config(small_config):
    """With as many layers as it takes to share parameters: most of the time here goes into tracing them."""
    return small_config.model_copy(update={"num_hidden_layers": 2})


@pytest.fixture(scope="session")
def data(tmp_path_factory, documents, tokenizer) -> TrainingData:
    splits = {"train": (slice(0, 10), 3), "eval": (slice(10, 13), 1)}
    return write_shards(tmp_path_factory.mktemp("shards"), documents, tokenizer, splits)
