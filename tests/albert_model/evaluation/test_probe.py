import logging

import numpy as np
import pytest

from albert_model.evaluation.probe import ProbeScores, all_features, encode, report, run_probe
from albert_model.evaluation.probe_data import Example, ProbeData, read_data
from albert_model.evaluation.probe_settings import ProbeSettings
from albert_model.weights import reference
from albert_model.weights.model import Model
from tests.albert_model.evaluation.test_probe_data import MANUAL
from tests.albert_model.weights.small_models import ALBERT, assert_close, assert_same, random_model, random_weights

SHIPPED = ProbeSettings(path=str(MANUAL), seeds=2)


@pytest.fixture(scope="module")
def model(small_config, tokenizer):
    return Model(small_config, random_weights(small_config), tokenizer.vocabulary)


@pytest.fixture(scope="module")
def data():
    return read_data(SHIPPED)


def examples(*texts):
    return [Example(*text, "x") for text in texts]


def easy(count, vocabulary_letters="ab"):
    """The label is the letter that the text is made of."""
    rows = [Example(" ".join(letter * (2 + i % 5)), "", letter) for i in range(count) for letter in vocabulary_letters]
    return ProbeData(tuple(vocabulary_letters), tuple(rows[:count]), tuple(rows[count:]), {"empty": 0})


# === Inputs ===


def test_inputs_are_segments_with_padding(model):
    tokenizer = model.tokenizer
    table, index = (tokenizer.encode([text]).values.tolist() for text in ("the table", "an index"))
    found = encode(examples(("the table", ""), ("the table", "an index")), model, 128)
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    second = [cls, *table, sep, *index, sep]
    assert found["input_word_ids"][1].tolist() == second
    assert found["input_word_ids"][0].tolist() == [cls, *table, sep] + [0] * (len(index) + 1)
    assert found["input_mask"][0].sum() == len(table) + 2
    assert found["input_type_ids"].tolist() == [[0] * len(second), [0] * (len(table) + 2) + [1] * (len(index) + 1)]


@pytest.mark.parametrize(
    ("words", "lengths"),
    [
        ((100, 0), (14, 0)),
        ((100, 100), (7, 6)),
        ((3, 100), (3, 10)),
        ((100, 3), (10, 3)),
        ((6, 7), (6, 7)),
        ((1, 0), (1, 0)),
        ((0, 0), (0, 0)),
    ],
)
def test_the_longer_text_is_cut(words, lengths):
    """In a vocabulary in which each letter is a piece."""
    made = random_model(ALBERT)
    found = encode(examples(tuple(" ".join("a" * count) for count in words)), made, 16)
    ids, types = found["input_word_ids"][0], found["input_type_ids"][0]
    special = {made.tokenizer.cls_id, made.tokenizer.sep_id, 0}
    pieces = [i not in special for i in ids.tolist()]
    assert (sum(p for p, t in zip(pieces, types, strict=True) if not t), types.sum()) == (
        lengths[0],
        lengths[1] + bool(lengths[1]),
    )
    assert found["input_mask"].sum() == sum(lengths) + 2 + bool(lengths[1])


def test_no_input_is_longer_than_the_model_s_positions(model):
    assert encode(examples(("word " * 500, "")), model, 512)["input_mask"].shape == (1, 64)


def test_features_are_the_pooled_output_and_the_mean_of_the_pieces(model):
    texts = [" ".join(["table"] * n) for n in (9, 1, 30, 4)]
    inputs = encode(examples(*((text, "") for text in texts)), model, 64)
    found = all_features(model.network(), inputs)
    positions = np.zeros((4, 1), np.int32)
    outputs = reference.forward(model.weights, model.config, inputs | {"masked_lm_positions": positions})
    for row, length in enumerate(inputs["input_mask"].sum(1)):
        mean = outputs["sequence_output"][row, :length].mean(0)
        assert_close(found[row], np.concatenate([outputs["pooled_output"][row], mean]).astype(np.float32), 2e-5)


# === Scores ===


def test_a_linear_head_beats_guessing_on_the_shipped_set(model, data):
    found = run_probe(model, SHIPPED, data)
    assert found.mean > data.majority + 0.08
    assert found.mean > 1 / 4 + 0.05


def test_the_same_seeds_give_the_same_accuracies_and_the_model_stays_as_it_is(model, data):
    before = {name: array.copy() for name, array in model.weights.items()}
    first, second = (run_probe(model, SHIPPED.model_copy(update={"seeds": n}), data) for n in (3, 2))
    assert first.accuracies[:2] == second.accuracies
    assert_same(model.weights, before)


def test_settings_are_enough(model):
    settings = SHIPPED.model_copy(update={"epochs": 1})
    assert run_probe(model, settings) == run_probe(model, settings, read_data(settings))


def test_an_easy_label_is_learnt_by_a_head_and_by_the_whole_network():
    made = random_model(ALBERT)
    before = {name: array.copy() for name, array in made.weights.items()}
    head = run_probe(made, ProbeSettings(path="unread", seeds=2), easy(40))
    assert head.mean == 1.0
    unfrozen = ProbeSettings(path="unread", seeds=2, frozen=False, epochs=6, learning_rate=3e-3, batch_size=8)
    first, again = (run_probe(made, unfrozen, easy(40)) for _ in range(2))
    assert first.mean > 0.9
    assert first == again
    assert_same(made.weights, before)


def test_the_whole_network_is_trained_and_not_its_head_alone():
    """With features that say nothing, as all word embeddings are the same, a head alone cannot learn it."""
    made = random_model(ALBERT)
    same = dict(made.weights)
    same["bert/embeddings/word_embeddings"] = np.ones_like(same["bert/embeddings/word_embeddings"])
    blind = Model(made.config, same, made.vocabulary)
    rows = [Example("a b c d" if i % 2 else "e f g h", "", "ab"[i % 2]) for i in range(80)]
    data = ProbeData(("a", "b"), tuple(rows[:40]), tuple(rows[40:]), {"empty": 0})
    settings = ProbeSettings(path="unread", seeds=2, epochs=10, learning_rate=3e-3, batch_size=8)
    assert run_probe(blind, settings, data).mean == 0.5
    assert run_probe(blind, settings.model_copy(update={"frozen": False}), data).mean == 1.0


def test_a_model_with_another_vocabulary_and_size_is_probed_on_the_same_examples(data):
    found = run_probe(random_model(ALBERT), SHIPPED, data)
    assert all(round(accuracy * len(data.test), 6).is_integer() for accuracy in found.accuracies)
    assert found.mean > 0.15


def test_pairs_are_told_apart_by_their_second_text(model):
    rows = [Example(f"row {i % 4}", "the table" if i % 2 else "an index", "ab"[i % 2]) for i in range(60)]
    data = ProbeData(("a", "b"), tuple(rows[:40]), tuple(rows[40:]), {"empty": 0})
    assert run_probe(model, ProbeSettings(path="unread", seeds=2), data).mean == 1.0


def test_progress_is_told(model, data, caplog):
    with caplog.at_level(logging.INFO, "albert.probe"):
        found = run_probe(model, SHIPPED.model_copy(update={"epochs": 1}), data, "model before")
    assert caplog.messages == [
        f"probe of the model before: seed {n} of 2: {100 * accuracy:.1f} %"
        for n, accuracy in enumerate(found.accuracies, 1)
    ]


def test_the_report_has_what_the_gate_reads(data):
    scores = ProbeScores((0.5, 0.75, 1.0))
    found = report(SHIPPED, data, scores, None)
    assert found["candidate"] == {"accuracies": [0.5, 0.75, 1.0], "mean": 0.75, "spread": 0.25}
    assert found["baseline"] is None
    assert (found["train_examples"], found["test_examples"]) == (len(data.train), len(data.test))
    assert found["settings"]["max_loss"] == 0.0
    assert report(SHIPPED, data, scores, scores)["baseline"] == found["candidate"]
