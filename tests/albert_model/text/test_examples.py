from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

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
from tests.albert_model.text import reference

SETTINGS = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10)


def examples_of(documents, tokenizer, settings=SETTINGS, copies=2, masked=True):
    """A dict for each example, its `keys` as `key`; and what was counted."""
    counts = Counter()
    made = []
    for batch in make_examples(documents, tokenizer, settings, copies, masked, counts):
        columns = {"key": batch.keys, "document_id": batch.document_id, "domain": batch.domain}
        columns |= {name: getattr(batch, name).tolist() for name in SCALAR_FEATURES}
        ragged = {name: getattr(batch, name) for name in RAGGED_FEATURES}
        columns |= {name: column.rows() for name, column in ragged.items() if column}
        made += [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return made, counts


def records_of(documents, tokenizer, settings=SETTINGS, copies=2, masked=True):
    made = make_examples(documents, tokenizer, settings, copies, masked, Counter())
    return [value for examples in made for value in encode_examples(examples)]


def segments(example):
    """A and B without masks, in the order of the sequence."""
    ids = example["input_ids"].copy()
    ids[example["masked_lm_positions"]] = example["masked_lm_ids"]
    return ids[1 : example["segment_a_length"] - 1], ids[example["segment_a_length"] : -1]


def test_undoing_masks_and_swap_gives_a_run_of_one_document(documents, tokenizer):
    texts = {d.document_id: "," + ",".join(map(str, tokenizer.encode(d.sentences).values)) + "," for d in documents}
    examples, _ = examples_of(documents, tokenizer)
    assert {e["document_id"] for e in examples} == texts.keys()
    for example in examples:
        ids, a_length = example["input_ids"], example["segment_a_length"]
        assert ids[[0, a_length - 1, -1]].tolist() == [2, 3, 3]
        a, b = segments(example)
        run = np.concatenate([b, a] if example["sentence_order_label"] else [a, b])
        assert f",{','.join(map(str, run))}," in texts[example["document_id"]]
        assert example["domain"] == "postgresql"


@given(
    first=st.integers(0, 60),
    number=st.integers(1, 4),
    max_seq_length=st.integers(8, 100),
    changes=st.fixed_dictionaries(
        {
            "short_seq_prob": st.sampled_from([0.0, 0.1, 1.0]),
            "single_sentence": st.sampled_from(["split", "skip"]),
            "sentence_order": st.booleans(),
            "do_whole_word_mask": st.booleans(),
            "favor_shorter_ngram": st.booleans(),
            "ngram": st.integers(1, 5),
            "masked_lm_prob": st.sampled_from([0.15, 0.5, 0.99]),
            "random_seed": st.integers(0, 2**40),
        }
    ),
    max_predictions=st.integers(1, 30),
)
def test_columns_equal_the_plain_reference(
    documents, tokenizer, first, number, max_seq_length, changes, max_predictions
):
    settings = ExampleSettings(
        max_seq_length=max_seq_length, max_predictions_per_seq=min(max_predictions, max_seq_length - 3), **changes
    )
    some = documents[first : first + number]
    examples, _ = examples_of(some, tokenizer, settings)
    found = [
        (
            *(e["input_ids"].tolist(), e["segment_a_length"]),
            *(e["masked_lm_positions"].tolist(), e["masked_lm_ids"].tolist()),
            *(e["sentence_order_label"], e["sentence_order_weight"]),
        )
        for e in examples
    ]
    assert found == [e for d in some for e in reference.examples(d, tokenizer, settings, copies=2)]


def test_examples_depend_on_the_document_alone(documents, tokenizer):
    """Neither the documents beside it nor the number of copies change an example."""
    alone = [value for d in documents[:20] for value in records_of([d], tokenizer, copies=3)]
    assert records_of(documents[:20], tokenizer, copies=3) == alone
    fewer = records_of(documents[:1], tokenizer, copies=1)
    assert fewer == alone[: len(fewer)]


def test_more_pieces_than_are_worked_on_at_once(documents, tokenizer):
    """Copies enough for several batches give what each of them gives alone."""
    together = records_of(documents, tokenizer, copies=8)
    alone = [value for d in documents for value in records_of([d], tokenizer, copies=8)]
    assert sum(map(len, together)) > 1_000_000
    assert together == alone


def test_keys_are_distinct(documents, tokenizer):
    keys = [e["key"] for e in examples_of(documents[:20], tokenizer)[0]]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 16 for key in keys)


@pytest.mark.parametrize("single_sentence", ["split", "skip"])
def test_nothing_is_lost_uncounted(documents, tokenizer, single_sentence):
    settings = SETTINGS.model_copy(update={"single_sentence": single_sentence})
    lost = 0
    for document in documents[:20]:
        examples, dropped = examples_of([document], tokenizer, settings, copies=1)
        pieces = sum(len(e["input_ids"]) - 3 for e in examples)
        assert pieces + dropped["single_sentence_pieces"] == len(tokenizer.encode(document.sentences).values)
        lost += dropped["single_sentence_pieces"]
    assert (lost > 0) == (single_sentence == "skip")


def test_a_whole_text_on_one_line_is_broken_not_lost(documents, tokenizer):
    document = make_document([" ".join(s for d in documents[:20] for s in d.sentences)], "x")
    examples, counts = examples_of([document], tokenizer, copies=1)
    assert sum(len(e["input_ids"]) - 3 for e in examples) == len(tokenizer.encode(document.sentences).values)
    assert counts["long_sentences"] == 1


@pytest.mark.parametrize("length", [64, 128])
def test_the_form_of_the_segments_does_not_tell_their_order(documents, tokenizer, length):
    """Full stops and word starts at the ends of A and B say nothing, nor does the place of the cut."""
    settings = ExampleSettings(max_seq_length=length, max_predictions_per_seq=9)
    stops = {i for i, piece in enumerate(tokenizer.pieces) if piece[-1] in ".:;?!"}
    forms: dict[tuple[bool, ...], Counter[int]] = {}
    for example in examples_of(documents, tokenizer, settings, copies=4)[0]:
        if example["sentence_order_weight"]:
            a, b = segments(example)
            form = (a[-1] in stops, b[-1] in stops, *tokenizer.starts_word[[a[0], b[0]]])
            forms.setdefault(form, Counter())[example["sentence_order_label"]] += 1
    total = sum(counts.total() for counts in forms.values())
    assert total > 1000
    assert sum(max(counts.values()) for counts in forms.values()) / total < 0.55


def test_a_sentence_cut_in_two_says_nothing_of_order(documents, tokenizer):
    examples, _ = examples_of(documents, tokenizer)
    cut = [e for e in examples if not e["sentence_order_weight"]]
    assert 0 < len(cut) < len(examples)
    assert not any(e["sentence_order_label"] for e in cut)


def test_text_without_order_is_never_swapped(documents, tokenizer):
    settings = SETTINGS.model_copy(update={"sentence_order": False})
    examples, _ = examples_of(documents, tokenizer, settings)
    assert not any(e["sentence_order_weight"] or e["sentence_order_label"] for e in examples)


def test_a_document_without_pieces_is_counted(documents, tokenizer):
    empty = make_document(["\u0301"], "x")
    examples, dropped = examples_of([empty, documents[0], empty], tokenizer)
    assert dropped["empty_documents"] == 2
    assert {e["document_id"] for e in examples} == {documents[0].document_id}
    assert examples_of([empty], tokenizer)[0] == examples_of([], tokenizer)[0] == []


def test_deferred_examples_are_those_without_masks(documents, tokenizer):
    masked, _ = examples_of(documents[:5], tokenizer)
    unmasked, _ = examples_of(documents[:5], tokenizer, masked=False)
    for one, other in zip(masked, unmasked, strict=True):
        assert np.concatenate(segments(one)).tolist() == [i for i in other["input_ids"] if i not in (2, 3)]
        assert "masked_lm_ids" not in other
    rows = records.decode(records_of(documents[:5], tokenizer, masked=False)).to_pydict()
    assert not {"masked_lm_positions", "masked_lm_ids"} & rows.keys()


def test_records_hold_the_features_of_the_contract(documents, tokenizer):
    examples, _ = examples_of(documents[:1], tokenizer)
    rows = records.decode(records_of(documents[:1], tokenizer)).to_pydict()
    assert set(rows) == {
        *("input_ids", "segment_a_length", "sentence_order_label", "sentence_order_weight"),
        *("masked_lm_positions", "masked_lm_ids", "document_id", "domain"),
    }
    assert rows["input_ids"] == [e["input_ids"].tolist() for e in examples]
    assert rows["domain"] == [[b"postgresql"]] * len(examples)


def test_tensorflow_reads_the_records(documents, tokenizer):
    examples, _ = examples_of(documents[:1], tokenizer)
    serialized = records_of(documents[:1], tokenizer)
    spec = {name: tf.io.RaggedFeature(tf.int64) for name in RAGGED_FEATURES + SCALAR_FEATURES}
    parsed = tf.io.parse_example(serialized, spec)
    assert parsed["input_ids"].to_list() == [e["input_ids"].tolist() for e in examples]
    assert parsed["segment_a_length"].to_list() == [[e["segment_a_length"]] for e in examples]
    one = tf.train.Example.FromString(serialized[0])
    assert list(one.features.feature["masked_lm_ids"].int64_list.value) == examples[0]["masked_lm_ids"].tolist()


def test_documents_round_trip(documents):
    some = [make_document(["Ein Satz.", "力加 😀"], "x"), *documents[:3]]
    assert [d.sentences for d in decode_documents(encode_documents(some))] == [d.sentences for d in some]
    assert encode_documents([]) == []
