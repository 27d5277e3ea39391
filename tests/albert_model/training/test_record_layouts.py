from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from albert_model.text.examples import encode_examples, make_examples
from albert_model.text.padded import encode_padded
from albert_model.text.record_scan import Layout, scan
from albert_model.text.tfrecords import write_tfrecords
from albert_model.training.record_layouts import parser
from pipeline.pretraining import open_file
from tests.albert_model.training.conftest import SETTINGS


@pytest.fixture(scope="module")
def made(documents, tokenizer):
    (examples,) = make_examples(documents[:2], tokenizer, SETTINGS, 1, True, Counter())
    return examples


def test_both_layouts_become_the_same_inputs(made, tokenizer, tmp_path):
    """But for the weight of the sentence order, which padded records do not have."""
    inputs = []
    for values in (encode_examples(made), encode_padded(made, tokenizer, SETTINGS)):
        write_tfrecords(tmp_path / "file", values)
        layout = scan([str(tmp_path / "file")], open_file, 1000, 2).layout
        inputs.append(parser(layout)(tf.constant(values), tf.constant(0), tf.range(len(values))))
    compact, padded = ({name: value.numpy() for name, value in each.items()} for each in inputs)
    assert compact.keys() == padded.keys()
    assert (padded.pop("sentence_order_weight") == 1).all()
    assert not compact.pop("sentence_order_weight").all()
    for name, value in padded.items():
        assert value.dtype == compact[name].dtype, name
        np.testing.assert_array_equal(value, compact[name], name)


def test_worked_example():
    features = {
        "input_ids": [2, 7, 4, 3, 9, 3, 0, 0],
        "input_mask": [1, 1, 1, 1, 1, 1, 0, 0],
        "segment_ids": [0, 0, 0, 0, 1, 1, 0, 0],
        "masked_lm_positions": [2, 0],
        "masked_lm_ids": [6, 0],
        "next_sentence_labels": [1],
        "unknown": [5],
    }
    example = tf.train.Example()
    for name, values in features.items():
        example.features.feature[name].int64_list.value.extend(values)
    example.features.feature["masked_lm_weights"].float_list.value.extend([1.0, 0.0])
    outputs = parser(Layout(True, 8, 2))(tf.constant([example.SerializeToString()]))
    assert {name: value.numpy().tolist() for name, value in outputs.items()} == {
        "input_word_ids": [[2, 7, 4, 3, 9, 3, 0, 0]],
        "input_mask": [[1, 1, 1, 1, 1, 1, 0, 0]],
        "input_type_ids": [[0, 0, 0, 0, 1, 1, 0, 0]],
        "masked_lm_positions": [[2, 0]],
        "masked_lm_ids": [[6, 0]],
        "masked_lm_weights": [[1.0, 0.0]],
        "sentence_order_label": [1],
        "sentence_order_weight": [1],
    }
