from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from albert_model.text.examples import encode_examples, make_examples
from albert_model.training.input_pipeline import batches_of, bins_of, evaluation_batches, training_batches
from albert_model.training.strategies import Share
from tests.albert_model.training.conftest import SETTINGS, parser


def rows(batches):
    return [tuple(row) for batch in batches for row in batch["input_word_ids"].numpy().tolist()]


def test_each_epoch_holds_every_example_once_in_an_order_of_its_own(data):
    per_epoch = data.train_bins[0].records // 4
    batches = list(training_batches(data.train_bins, data.parse_train, 4, epochs=2, seed=1, start_step=0))
    assert len(batches) == 2 * per_epoch
    first, second = rows(batches[:per_epoch]), rows(batches[per_epoch:])
    everything = rows(evaluation_batches(data.train_bins[0].files, data.parse_eval, 4))
    assert len(everything) == data.train_bins[0].records
    for epoch in (first, second):
        assert set(epoch) <= set(everything)
        assert len(epoch) == per_epoch * 4
    assert first != second
    assert first != sorted(first)


@pytest.mark.parametrize("start_step", [1, 7, 100])
def test_the_batch_of_a_step_is_the_same_after_an_interruption(data, start_step):
    def batches(start):
        return training_batches(data.train_bins, data.parse_train, 4, epochs=3, seed=1, start_step=start)

    whole, rest = rows(batches(0)), rows(batches(start_step))
    assert rest == whole[start_step * 4 :]


def test_another_seed_gives_another_order(data):
    def order(seed):
        return rows(training_batches(data.train_bins, data.parse_train, 4, epochs=1, seed=seed, start_step=0))

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_inputs_have_static_shapes(data):
    (batch,) = training_batches(data.train_bins, data.parse_train, 4, 1, seed=1, start_step=0).take(1)
    assert {name: value.shape.as_list() for name, value in batch.items()} == {
        "input_word_ids": [4, 32],
        "input_mask": [4, 32],
        "input_type_ids": [4, 32],
        "masked_lm_positions": [4, 5],
        "masked_lm_ids": [4, 5],
        "masked_lm_weights": [4, 5],
        "sentence_order_label": [4],
        "sentence_order_weight": [4],
    }
    mask = batch["input_mask"].numpy()
    assert (np.diff(mask, axis=1) <= 0).all()
    assert (batch["input_word_ids"].numpy()[mask == 0] == 0).all()


BINNED = SETTINGS.model_copy(update={"max_seq_length": 64, "short_seq_prob": 0.5})


@pytest.fixture
def bins(tmp_path, documents, tokenizer):
    """Files by length, as PretrainingExampleGen writes them."""
    records, files = {}, []
    made = make_examples(documents[:20], tokenizer, BINNED, 1, True, Counter())
    by_width: dict[int, list[bytes]] = {}
    for examples in made:
        for length, value in zip(examples.input_ids.lengths.tolist(), encode_examples(examples), strict=True):
            by_width.setdefault(-(-length // 16) * 16, []).append(value)
    for width, values in by_width.items():
        records[width] = len(values)
        files.append(str(tmp_path / f"length-{width:05d}_tfrecord-00000-of-00001"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for value in values:
                writer.write(value)
    return bins_of(files, records)


def test_a_batch_is_as_wide_as_its_bin(bins):
    assert [one.length for one in bins] == [16, 32, 48, 64]
    batches = list(training_batches(bins, parser(BINNED), 4, 2, seed=1, start_step=0))
    assert len(batches) == 2 * batches_of(bins, 4)
    widths = [batch["input_word_ids"].shape[1] for batch in batches]
    assert set(widths) == {one.length for one in bins if one.records >= 4}
    assert widths[: len(widths) // 2] != sorted(widths[: len(widths) // 2])
    for width, batch in zip(widths, batches, strict=True):
        lengths = batch["input_mask"].numpy().sum(1)
        assert ((lengths > width - 16) & (lengths <= width)).all()
        assert {batch[name].shape[1] for name in ("input_mask", "input_type_ids")} == {width}
        assert batch["masked_lm_ids"].shape[1] == 5
    rest = list(training_batches(bins, parser(BINNED), 4, 2, seed=1, start_step=7))
    assert all(np.array_equal(a["input_word_ids"], b["input_word_ids"]) for a, b in zip(batches[7:], rest, strict=True))


@pytest.mark.parametrize("replicas", [2, 4])
def test_machines_share_the_rows_of_a_batch(data, replicas):
    """Two machines with half of the replicas each have every row once."""
    whole = next(iter(training_batches(data.train_bins, data.parse_train, 8, 1, seed=1, start_step=0)))
    ids = whole["input_word_ids"].numpy()
    for machine in range(2):
        share = Share(machine * replicas // 2, replicas // 2, replicas)
        own = next(iter(training_batches(data.train_bins, data.parse_train, 8, 1, 1, 0, share)))
        for local in range(share.local):
            assert np.array_equal(own["input_word_ids"][local :: share.local], ids[share.first + local :: replicas])
