import numpy as np
import pytest

from albert_model.training.input_pipeline import evaluation_batches, training_batches


def rows(batches):
    return [tuple(row) for batch in batches for row in batch["input_word_ids"].numpy().tolist()]


def test_each_epoch_holds_every_example_once_in_an_order_of_its_own(data):
    per_epoch = data.train_records // 4
    batches = list(training_batches(data.train_files, data.parse_train, 4, epochs=2, seed=1, start_step=0))
    assert len(batches) == 2 * per_epoch
    first, second = rows(batches[:per_epoch]), rows(batches[per_epoch:])
    everything = rows(evaluation_batches(data.train_files, data.parse_eval, 4))
    assert len(everything) == data.train_records
    for epoch in (first, second):
        assert set(epoch) <= set(everything)
        assert len(epoch) == per_epoch * 4
    assert first != second
    assert first != sorted(first)


@pytest.mark.parametrize("start_step", [1, 7, 100])
def test_the_batch_of_a_step_is_the_same_after_an_interruption(data, start_step):
    def batches(start):
        return training_batches(data.train_files, data.parse_train, 4, epochs=3, seed=1, start_step=start)

    whole, rest = rows(batches(0)), rows(batches(start_step))
    assert rest == whole[start_step * 4 :]


def test_another_seed_gives_another_order(data):
    def order(seed):
        return rows(training_batches(data.train_files, data.parse_train, 4, epochs=1, seed=seed, start_step=0))

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_inputs_have_static_shapes(data):
    (batch,) = training_batches(data.train_files, data.parse_train, 4, 1, seed=1, start_step=0).take(1)
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
