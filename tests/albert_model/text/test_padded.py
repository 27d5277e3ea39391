from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from albert_model.text.documents import make_document
from albert_model.text.examples import make_examples
from albert_model.text.padded import encode_padded
from albert_model.text.settings import ExampleSettings
from albert_model.text.tfrecords import write_tfrecords
from tests.albert_model.text.padded_reader import feature_spec, parse, text_of, unmasked

SETTINGS = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10)


def padded(documents, tokenizer, settings=SETTINGS):
    """Records, and the examples that they are of."""
    made = list(make_examples(documents, tokenizer, settings, 2, True, Counter()))
    return [record for examples in made for record in encode_padded(examples, tokenizer, settings)], made


@pytest.fixture(scope="module")
def read(documents, tokenizer):
    """Every record as its user reads it, and the document that it came from."""
    records, made = padded(documents, tokenizer)
    return parse(records, 64, 10), [document for examples in made for document in examples.document_id]


def test_undoing_masks_and_swap_gives_a_run_of_one_document(read, documents, tokenizer):
    texts = {d.document_id: "," + ",".join(map(str, tokenizer.encode(d.sentences).values)) + "," for d in documents}
    examples, document_ids = read
    assert len(examples) > 1000
    for example, document_id in zip(examples, document_ids, strict=True):
        assert f",{','.join(map(str, text_of(example)))}," in texts[document_id]
    assert {int(example["next_sentence_labels"][0]) for example in examples} == {0, 1}


def test_masks_segments_and_weights_say_where_something_is(read):
    for example in read[0]:
        ids, mask, segment = example["input_ids"], example["input_mask"], example["segment_ids"]
        pieces = mask.sum()
        assert mask.tolist() == [1] * pieces + [0] * (64 - pieces)
        first_of_b = segment.argmax()
        assert segment.tolist() == [0] * first_of_b + [1] * (pieces - first_of_b) + [0] * (64 - pieces)
        assert ids[[0, first_of_b - 1, pieces - 1]].tolist() == [2, 3, 3]
        assert not ids[pieces:].any()
        weights, positions = example["masked_lm_weights"], example["masked_lm_positions"]
        predictions = int(weights.sum())
        assert 1 <= predictions <= 10
        assert weights.tolist() == [1] * predictions + [0] * (10 - predictions)
        assert (np.diff(positions[:predictions]) > 0).all()
        assert not positions[predictions:].any()
        assert not example["masked_lm_ids"][predictions:].any()
        assert (mask[positions[:predictions]] == 1).all()


def test_token_boundaries_are_those_of_the_text_before_it_was_masked(read, tokenizer):
    """As in google-research/albert: 1 at special pieces and where a word begins, 0 elsewhere and in the padding."""
    inside = 0
    for example in read[0]:
        for place, (piece, boundary) in enumerate(zip(unmasked(example), example["token_boundary"], strict=True)):
            begins_segment = place == 1 or example["segment_ids"][place] > example["segment_ids"][place - 1]
            name = tokenizer.pieces[piece]
            begins = name.startswith(("▁", "[")) or not name.isascii() or not name.isalpha() or begins_segment
            assert boundary == (begins and example["input_mask"][place]), (name, place)
            inside += not boundary and example["input_mask"][place]
    assert inside > 1000


def test_rows_of_full_length_and_single_predictions(tokenizer):
    settings = ExampleSettings(max_seq_length=8, max_predictions_per_seq=5, masked_lm_prob=0.9, short_seq_prob=0)
    records, _ = padded([make_document(["a b", "c d", "e f", "g"], "")], tokenizer, settings)
    examples = parse(records, 8, 5)
    assert max(example["input_mask"].sum() for example in examples) <= 8
    records, _ = padded([make_document(["a b", "c d"], "")], tokenizer, SETTINGS)
    assert {int(example["masked_lm_weights"].sum()) for example in parse(records, 64, 10)} == {1}


def test_no_documents_no_records(tokenizer):
    assert padded([], tokenizer)[0] == []


def test_tensorflow_reads_the_files(tmp_path, documents, tokenizer):
    records, _ = padded(documents[:3], tokenizer)
    write_tfrecords(tmp_path / "some", [*records, b""])
    write_tfrecords(tmp_path / "none", [])
    assert list(tf.data.TFRecordDataset(str(tmp_path / "some")).as_numpy_iterator()) == [*records, b""]
    assert list(tf.data.TFRecordDataset(str(tmp_path / "none")).as_numpy_iterator()) == []
    batch = tf.data.TFRecordDataset(str(tmp_path / "some")).take(len(records)).batch(len(records))
    parsed = tf.io.parse_example(next(iter(batch)), feature_spec(64, 10))
    assert parsed["input_ids"].shape == (len(records), 64)
