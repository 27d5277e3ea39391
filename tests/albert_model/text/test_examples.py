from collections import Counter

import numpy as np
import tensorflow as tf

from albert_model.text import records
from albert_model.text.documents import make_document
from albert_model.text.examples import (
    RAGGED_FEATURES,
    SCALAR_FEATURES,
    decode_documents,
    encode_documents,
    encode_examples,
    make_examples,
)
from albert_model.text.settings import ExampleSettings

SETTINGS = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10)


def examples_of(document, tokenizer, settings=SETTINGS, copies=2):
    dropped = Counter()
    return list(make_examples(document, tokenizer, settings, copies, dropped)), dropped


def test_undoing_masks_and_swap_gives_a_run_of_one_document(documents, tokenizer):
    for document in documents[:40]:
        text = [i for ids in tokenizer.encode(document.sentences) for i in ids]
        haystack = "," + ",".join(map(str, text)) + ","
        examples, _ = examples_of(document, tokenizer)
        for example in examples:
            ids = example.input_ids.copy()
            ids[example.masked_lm_positions] = example.masked_lm_ids
            a, b = ids[1 : example.segment_a_length - 1], ids[example.segment_a_length : -1]
            assert ids[[0, example.segment_a_length - 1, -1]].tolist() == [2, 3, 3]
            run = np.concatenate([b, a] if example.sentence_order_label else [a, b])
            assert f",{','.join(map(str, run))}," in haystack
            assert (example.document_id, example.domain) == (document.document_id, document.domain)


def test_examples_depend_on_the_document_alone(documents, tokenizer):
    """Neither the documents before it nor the number of copies change an example."""
    examples, _ = examples_of(documents[0], tokenizer, copies=3)
    examples_of(documents[1], tokenizer)
    again, _ = examples_of(documents[0], tokenizer, copies=1)
    assert encode_examples(again) == encode_examples(examples[: len(again)])


def test_keys_are_distinct(documents, tokenizer):
    keys = [e.key for d in documents[:20] for e in examples_of(d, tokenizer)[0]]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 16 for key in keys)


def test_nothing_is_lost_uncounted(documents, tokenizer):
    document = documents[0]
    pieces = sum(len(ids) for ids in tokenizer.encode(document.sentences))
    examples, dropped = examples_of(document, tokenizer, copies=1)
    assert sum(len(e.input_ids) - 3 for e in examples) + dropped["trimmed_pieces"] == pieces


def test_a_document_without_pieces_is_counted(tokenizer):
    examples, dropped = examples_of(make_document(["\u0301"], "x"), tokenizer)
    assert (examples, dropped["empty_documents"]) == ([], 1)


def test_records_hold_the_features_of_the_contract(documents, tokenizer):
    examples, _ = examples_of(documents[0], tokenizer)
    rows = records.decode(encode_examples(examples)).to_pydict()
    assert set(rows) == {
        *("input_ids", "segment_a_length", "sentence_order_label", "masked_lm_positions", "masked_lm_ids"),
        *("document_id", "domain"),
    }
    assert rows["input_ids"] == [e.input_ids.tolist() for e in examples]
    assert rows["domain"] == [[b"postgresql"]] * len(examples)


def test_tensorflow_reads_the_records(documents, tokenizer):
    examples, _ = examples_of(documents[0], tokenizer)
    spec = {name: tf.io.RaggedFeature(tf.int64) for name in RAGGED_FEATURES + SCALAR_FEATURES}
    parsed = tf.io.parse_example(encode_examples(examples), spec)
    assert parsed["input_ids"].to_list() == [e.input_ids.tolist() for e in examples]
    assert parsed["segment_a_length"].to_list() == [[e.segment_a_length] for e in examples]
    one = tf.train.Example.FromString(encode_examples(examples)[0])
    assert list(one.features.feature["masked_lm_ids"].int64_list.value) == examples[0].masked_lm_ids.tolist()


def test_documents_round_trip(documents):
    some = [make_document(["Ein Satz.", "力加 😀"], "x"), *documents[:3]]
    assert [d.sentences for d in decode_documents(encode_documents(some))] == [d.sentences for d in some]
    assert encode_documents([]) == []
