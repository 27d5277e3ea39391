from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from albert_model.network.pretrainer import AlbertPretrainer, score_examples
from albert_model.text.masking import ngram_law, prediction_budgets
from albert_model.text.settings import ExampleSettings
from albert_model.training.deferred_masks import DeferredMasks
from albert_model.training.input_pipeline import evaluation_batches, training_batches
from tests.albert_model.training.conftest import write_shards

DEFERRED = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10, masking="deferred")
PACKED = DEFERRED.model_copy(update={"packing": "pack", "examples_per_row": 3, "short_seq_prob": 0.5})


def deferred_data(folder, documents, tokenizer, settings):
    return write_shards(
        folder, documents, tokenizer, {"train": (slice(0, 20), 2), "eval": (slice(20, 23), 1)}, settings
    )


@pytest.fixture(params=[DEFERRED, PACKED], ids=["alone", "packed"])
def settings(request):
    return request.param


@pytest.fixture
def data(tmp_path, documents, tokenizer, settings):
    return deferred_data(tmp_path, documents, tokenizer, settings)


def batches_of(data, epochs=1, start_step=0, batch_size=8):
    batches = training_batches(data.train_bins, data.parse_train, batch_size, epochs, seed=1, start_step=start_step)
    return [{name: value.numpy() for name, value in batch.items()} for batch in batches]


def without_masks(batch):
    """The ids that stood there."""
    ids = batch["input_word_ids"].copy()
    rows, places = np.nonzero(batch["masked_lm_weights"])
    ids[rows, batch["masked_lm_positions"][rows, places]] = batch["masked_lm_ids"][rows, places]
    return [row[mask > 0].tolist() for row, mask in zip(ids, batch["input_mask"], strict=True)]


def test_each_epoch_has_masks_of_its_own_on_the_same_text(data):
    batches = batches_of(data, epochs=2)
    epochs = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    texts, masked = [], []
    for epoch in epochs:
        rows = [
            (tuple(ids), tuple(row))
            for b in epoch
            for ids, row in zip(without_masks(b), b["input_word_ids"], strict=True)
        ]
        texts.append({ids for ids, _ in rows})
        masked.append(dict(rows))
    common = texts[0] & texts[1]
    assert len(common) > 20
    assert sum(masked[0][ids] != masked[1][ids] for ids in common) > 0.95 * len(common)


def test_a_step_has_the_same_masks_after_an_interruption(data):
    whole, rest = batches_of(data, epochs=2), batches_of(data, epochs=2, start_step=5)
    assert len(rest) == len(whole) - 5
    for one, other in zip(whole[5:], rest, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_what_is_held_out_has_the_masks_of_its_records(data, settings):
    (first, *_), (again, *_) = (list(evaluation_batches(data.eval_files, data.parse_eval, 8)) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert (first["masked_lm_weights"].numpy().sum(1) > 0).all()


def test_another_seed_draws_other_masks(documents, tokenizer, tmp_path):
    one, other = (
        batches_of(
            write_shards(
                tmp_path, documents, tokenizer, {"train": (slice(0, 9), 1), "eval": (slice(9, 12), 1)}, DEFERRED, seed
            )
        )
        for seed in (1, 2)
    )
    assert any(
        not np.array_equal(a["masked_lm_positions"], b["masked_lm_positions"]) for a, b in zip(one, other, strict=True)
    )


def test_the_law_is_that_of_stored_masks(documents, tokenizer):
    """Budgets, fates and n-grams; four standard deviations."""
    rng = np.random.default_rng(0)
    words = tokenizer.ordinary_ids[tokenizer.starts_word[tokenizer.ordinary_ids]]
    number, length = 4000, 103
    ids = np.full((number, length), 3, np.int64)
    ids[:, 0] = 2
    text = np.r_[1:51, 52:102]
    ids[:, text] = rng.choice(words, (number, 100))
    settings = ExampleSettings(max_seq_length=128, max_predictions_per_seq=3)
    features = {
        "input_ids": tf.sparse.from_dense(ids),
        "segment_a_length": tf.sparse.from_dense(np.full((number, 1), 52)),
    }
    masked = DeferredMasks(tokenizer, settings, seed=1)(
        features, tf.constant(7, tf.int64), tf.range(number, dtype=tf.int64)
    )
    positions = tf.sparse.to_dense(masked["masked_lm_positions"]).numpy()
    labels = tf.sparse.to_dense(masked["masked_lm_ids"]).numpy()
    assert positions.shape == (number, prediction_budgets(np.array([length]), settings)[0])
    assert np.array_equal(np.take_along_axis(ids, positions, 1), labels)
    after = np.take_along_axis(tf.sparse.to_dense(masked["input_ids"]).numpy(), positions, 1)
    for share, found in ((0.8, after == tokenizer.mask_id), (0.1, after == labels)):
        assert abs(found.mean() - share) < 4 * (share * (1 - share) / found.size) ** 0.5 + 0.001
    runs = Counter((3 - (np.diff(positions, axis=1) == 1).sum(1)).tolist())
    one, two, three = ngram_law(settings)
    for count, share in ((1, three), (2, two + one * (two + three)), (3, one * one)):
        assert abs(runs[count] / number - share) < 4 * (share * (1 - share) / number) ** 0.5 + 0.03


def test_rows_of_packed_examples_score_as_the_examples_do(documents, tokenizer, small_config, tmp_path):
    """Losses and hits of all examples add up to the same, packed or alone: they do not attend to each other."""
    static = PACKED.model_copy(update={"masking": "static"})
    network = AlbertPretrainer(small_config, seed=3)
    sums = []
    for number, settings in enumerate((static, static.model_copy(update={"packing": "none"}))):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = deferred_data(folder, documents, tokenizer, settings)
        total = Counter()
        for batch in evaluation_batches(data.train_bins[0].files, data.parse_eval, 32):
            total.update({name: float(tf.reduce_sum(v)) for name, v in score_examples(network(batch), batch).items()})
        sums.append(total | {"records": data.train_bins[0].records})
    packed, alone = sums
    assert packed.pop("records") < alone.pop("records")
    assert packed.keys() == alone.keys()
    for name in alone:
        assert packed[name] == pytest.approx(alone[name], rel=1e-5), name
