from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text import records
from albert_model.text.examples import encode_examples, make_examples
from albert_model.text.packing import choose_rows, pack, predictions_per_row
from albert_model.text.settings import ExampleSettings

SETTINGS = ExampleSettings(
    max_seq_length=128, max_predictions_per_seq=12, short_seq_prob=0.5, packing="pack", examples_per_row=3
)


@given(
    lengths=st.lists(st.integers(5, 64), max_size=200),
    examples_per_row=st.integers(1, 6),
)
def test_rows_hold_every_example_once_and_none_is_too_long(lengths, examples_per_row):
    rows = choose_rows(np.array(lengths, np.int64), 64, examples_per_row)
    assert sorted(rows.values.tolist()) == list(range(len(lengths)))
    for row in rows.rows() if lengths else []:
        assert sum(lengths[i] for i in row) <= 64
        assert 1 <= len(row) <= examples_per_row
        assert row.tolist() == sorted(row)
    firsts = rows.values[rows.offsets[:-1]]
    assert firsts.tolist() == sorted(firsts)


def test_little_padding_is_left_of_random_lengths():
    lengths = np.random.default_rng(0).integers(8, 513, 10_000)
    rows = choose_rows(lengths, 512, 4)
    alone, packed = (1 - lengths.sum() / (512 * count) for count in (len(lengths), len(rows.lengths)))
    assert alone > 0.45
    assert packed < 0.02


def rows_of(documents, tokenizer, masked=True):
    examples = [
        record
        for columns in make_examples(documents, tokenizer, SETTINGS, 2, masked, Counter())
        for record in encode_examples(columns)
    ]
    alone = records.decode(examples).to_pylist()
    return alone, records.decode(pack(examples, SETTINGS.max_seq_length, SETTINGS.examples_per_row)).to_pylist()


def split_row(row):
    """The examples of a row, as their records were."""
    start = 0
    for number, length in enumerate(row["example_lengths"]):
        example = {name: row[name][number : number + 1] for name in row if name in SCALARS}
        example["input_ids"] = row["input_ids"][start : start + length]
        if "masked_lm_ids" in row:
            places = [i for i, p in enumerate(row["masked_lm_positions"]) if start <= p < start + length]
            example["masked_lm_positions"] = [row["masked_lm_positions"][i] - start for i in places]
            example["masked_lm_ids"] = [row["masked_lm_ids"][i] for i in places]
        start += length
        yield example
    assert start == len(row["input_ids"]) <= SETTINGS.max_seq_length


def repr_of(example):
    return repr(sorted(example.items()))


SCALARS = ("segment_a_length", "sentence_order_label", "sentence_order_weight", "document_id", "domain")


def test_rows_give_their_examples_back(documents, tokenizer):
    for masked in (True, False):
        alone, rows = rows_of(documents[:20], tokenizer, masked)
        assert len(rows) < 0.95 * len(alone)
        back = [example for row in rows for example in split_row(row)]
        assert sorted(back, key=repr_of) == sorted(alone, key=repr_of)
        assert ("masked_lm_ids" in rows[0]) == masked


def test_predictions_fit_the_row(documents, tokenizer):
    _, rows = rows_of(documents, tokenizer)
    most = max(len(row["masked_lm_ids"]) for row in rows)
    assert SETTINGS.max_predictions_per_seq < most <= predictions_per_row(SETTINGS)


def test_nothing_packed_is_nothing():
    assert pack([], 128, 3) == []
