from collections import Counter

import numpy as np
import pytest
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


@pytest.mark.parametrize("single_sentence", ["split", "skip"])
def test_nothing_is_lost_uncounted(documents, tokenizer, single_sentence):
    settings = SETTINGS.model_copy(update={"single_sentence": single_sentence})
    lost = 0
    for document in documents[:20]:
        pieces = sum(len(ids) for ids in tokenizer.encode(document.sentences))
        examples, dropped = examples_of(document, tokenizer, settings, copies=1)
        assert sum(len(e.input_ids) - 3 for e in examples) + dropped["single_sentence_pieces"] == pieces
        lost += dropped["single_sentence_pieces"]
    assert (lost > 0) == (single_sentence == "skip")


def test_a_whole_text_on_one_line_is_broken_not_lost(documents, tokenizer):
    document = make_document([" ".join(s for d in documents[:20] for s in d.sentences)], "x")
    (pieces,) = (len(ids) for ids in tokenizer.encode(document.sentences))
    examples, counts = examples_of(document, tokenizer, copies=1)
    assert sum(len(e.input_ids) - 3 for e in examples) == pieces
    assert counts["long_sentences"] == 1


def test_the_form_of_the_segments_does_not_tell_their_order(documents, tokenizer):
    """Full stops and word starts at the ends of A and B say nothing: a trimmed end would give the order away."""
    settings = ExampleSettings(max_seq_length=128, single_sentence="skip")
    stops = {i for i, piece in enumerate(tokenizer.pieces) if piece[-1] in ".:;?!"}
    forms: dict[tuple[bool, ...], Counter[int]] = {}
    for document in documents:
        for example in examples_of(document, tokenizer, settings, copies=2)[0]:
            ids = example.input_ids.copy()
            ids[example.masked_lm_positions] = example.masked_lm_ids
            a, b = ids[1 : example.segment_a_length - 1], ids[example.segment_a_length : -1]
            form = (a[-1] in stops, b[-1] in stops, *tokenizer.starts_word[[a[0], b[0]]])
            forms.setdefault(form, Counter())[example.sentence_order_label] += 1
    total = sum(counts.total() for counts in forms.values())
    assert total > 1000
    assert sum(max(counts.values()) for counts in forms.values()) / total < 0.55


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
