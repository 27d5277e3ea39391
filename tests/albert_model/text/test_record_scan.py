"""Records of both layouts, and every way in which one can be unfit."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.text import records
from albert_model.text.examples import encode_examples, make_examples
from albert_model.text.packing import pack
from albert_model.text.padded import encode_padded
from albert_model.text.record_scan import Layout, scan
from albert_model.text.settings import ExampleSettings
from albert_model.text.tfrecords import read_tfrecords, write_tfrecords

SETTINGS = ExampleSettings(max_seq_length=32, max_predictions_per_seq=5)


def padded(**changes):
    """Features of three records as google-research/albert writes them."""
    ids = np.array([[2, 7, 4, 3, 9, 3, 0, 0], [2, 8, 3, 4, 3, 0, 0, 0], [2, 4, 3, 9, 9, 3, 0, 0]])
    features = {
        "input_ids": ids,
        "input_mask": (ids > 0).astype(np.int64),
        "segment_ids": np.array([[0, 0, 0, 0, 1, 1, 0, 0]] * 3),
        "token_boundary": np.ones((3, 8), np.int64),
        "masked_lm_positions": np.array([[2, 0], [3, 0], [1, 0]]),
        "masked_lm_ids": np.array([[6, 0], [7, 0], [8, 0]]),
        "masked_lm_weights": np.array([[1, 0]] * 3, np.float32),
        "next_sentence_labels": np.array([[0], [1], [0]]),
    }
    return features | changes


def serialized(features):
    return records.encode({name: records.matrix(rows) for name, rows in features.items() if rows is not None})


def found(folder, values, vocab_size=10):
    write_tfrecords(folder / "file", values)
    return scan([str(folder / "file")], lambda path: Path(path).open("rb"), vocab_size, 2)


def refused(folder, values, vocab_size=10):
    with pytest.raises(InputError) as error:
        found(folder, values, vocab_size)
    assert str(error.value).startswith(f"{folder}/file")
    return str(error.value).removeprefix(f"{folder}/file")


def test_padded_records(tmp_path):
    result = found(tmp_path, serialized(padded()))
    assert result.layout == Layout(padded=True, max_seq_length=8, max_predictions=2)
    assert (result.records, result.examples, result.tokens, result.longest) == (3, 3, 17, 8)


def test_features_that_nobody_asks_for_may_be_missing_or_more(tmp_path):
    other = found(tmp_path, serialized(padded(token_boundary=None, document=np.ones((3, 1), np.int64))))
    assert other == found(tmp_path, serialized(padded()))


@pytest.mark.parametrize("packing", ["none", "pack"])
def test_compact_records(tmp_path, documents, tokenizer, packing):
    made = list(make_examples(documents[:3], tokenizer, SETTINGS, 1, True, Counter()))
    values = [value for examples in made for value in encode_examples(examples)]
    if packing == "pack":
        values = pack(values, 64, 3)
    result = found(tmp_path, values, 1000)
    assert result.records == len(values)
    assert result.examples == sum(map(len, made))
    assert result.tokens == sum(len(examples.input_ids.values) for examples in made)
    assert result.longest <= 32
    assert result.layout.examples_per_row == (3 if packing == "pack" else None)
    assert (32 < result.layout.max_seq_length <= 64) == (packing == "pack")


def test_both_layouts_hold_the_same(tmp_path, documents, tokenizer):
    made = list(make_examples(documents[:3], tokenizer, SETTINGS, 1, True, Counter()))
    compact = found(tmp_path, [value for examples in made for value in encode_examples(examples)], 1000)
    wide = found(tmp_path, [value for e in made for value in encode_padded(e, tokenizer, SETTINGS)], 1000)
    assert dataclasses.replace(compact, layout=wide.layout, longest=wide.longest) == wide


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": [[2, 7], [2, 12]]}, ", record 1: input_ids has 12, and vocab_size is 10. Give the config"),
        ({"masked_lm_ids": [[-1, 0], [0, 0]]}, ", record 0: masked_lm_ids has -1"),
        ({"segment_ids": [[0, 1], [0, 2]]}, ", record 1: segment_ids has 2, and the model tells 2 segments apart"),
        ({"masked_lm_positions": [[0, 1], [9, 0]]}, ", record 1: masked_lm_positions has 9, and the record has 2"),
        ({"next_sentence_labels": [[0], [2]]}, ", record 1: next_sentence_labels has 2"),
        ({"input_mask": [[1, 1, 1], [1, 1, 1]]}, ", record 0: input_mask has 3 values, and 2 are in those before"),
        ({"masked_lm_ids": None}, ", record 0: has no feature masked_lm_ids; it has input_ids, input_mask"),
        ({"masked_lm_weights": [[1, 0], [1, 0]]}, ", record 0: masked_lm_weights is of type int64, not float"),
    ],
)
def test_records_that_cannot_be_trained_on(tmp_path, changes, message):
    features = padded() | {name: padded()[name][:, :2] for name in ("input_ids", "input_mask", "segment_ids")}
    features |= {"masked_lm_positions": np.array([[1, 0]] * 3)}
    features = {name: rows[:2] for name, rows in features.items()}
    changes = {name: rows and np.array(rows) for name, rows in changes.items()}
    assert refused(tmp_path, serialized(features | changes)).startswith(message)


def test_a_record_of_another_length(tmp_path):
    short = padded() | {name: padded()[name][:, :6] for name in ("input_ids", "input_mask", "segment_ids")}
    message = refused(tmp_path, [*serialized(padded()), *serialized(short)])
    assert message == ", record 3: input_ids has 6 values, and 8 are in those before."


def test_a_record_of_another_kind(tmp_path):
    other = serialized(padded(input_ids=np.ones((3, 8), np.float32)))
    assert ", record 3: it cannot be read as those before" in refused(tmp_path, [*serialized(padded()), *other])
    assert ", record 0: has no feature" in refused(tmp_path, serialized({"text": np.ones((3, 1), np.int64)}))
    assert ", record 0: it cannot be read" in refused(tmp_path, [b"no example"])


def test_masks_that_are_to_be_drawn(tmp_path, documents, tokenizer):
    made = make_examples(documents[:1], tokenizer, SETTINGS, 1, False, Counter())
    values = [value for examples in made for value in encode_examples(examples)]
    assert "make records with masking: static" in refused(tmp_path, values, 1000)


def test_no_record_at_all(tmp_path):
    assert refused(tmp_path, []) == ": there is no record. Give files that hold examples."


# === Files ===


def test_files_of_tensorflow_are_read(tmp_path):
    values = [b"", b"one", b"two" * 1000]
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        for value in values:
            writer.write(value)
    with (tmp_path / "file").open("rb") as file:
        assert list(read_tfrecords(file, "file")) == values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], ", record 1: the file ends within it"),
        (lambda data: data[:22], ", record 1: the file ends within it"),
        (lambda data: data[:-6] + b"x" + data[-5:], ", record 1: its checksum is wrong"),
        (lambda data: b"\x1f\x8b" + data, ": is compressed with gzip. Unpack it"),
        (lambda data: b"text" + data, ": is no TFRecord file"),
    ],
)
def test_damaged_files(tmp_path, damage, message):
    write_tfrecords(tmp_path / "file", [b"one", b"other"])
    (tmp_path / "file").write_bytes(damage((tmp_path / "file").read_bytes()))
    with (tmp_path / "file").open("rb") as file, pytest.raises(InputError, match=message):
        list(read_tfrecords(file, "file"))
