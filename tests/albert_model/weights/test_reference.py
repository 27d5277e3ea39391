import numpy as np
import pytest

from albert_model.weights import parity, reference, source
from tests.albert_model.weights.small_models import (
    ALBERT,
    BERT,
    CONFIGS,
    ENCODER,
    assert_close,
    changed,
    random_model,
    random_weights,
)

ACTIVATIONS = {f"albert, {name}": changed(hidden_act=name) for name in ("gelu_erf", "relu")}
ALL = CONFIGS | ACTIVATIONS


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_the_network_computes_the_same_in_float64(config):
    model = random_model(config)
    cases = parity.make_inputs(config)
    network = parity.run_network(model.network("float64"), cases)
    for case, inputs in cases.items():
        expected = reference.forward(model.weights, config, inputs)
        assert expected.keys() == network[case].keys() | {"sequence_output"}
        valid = inputs["input_mask"].astype(bool)
        for layer, ours in zip(network[case]["encoder_outputs"], expected["encoder_outputs"], strict=True):
            assert_close(ours[valid], layer[valid], 1e-12)
        for name in ("pooled_output", "mlm_logits"):
            assert_close(expected[name], network[case][name], 1e-12)


def test_every_activation_computes_something_else():
    """So that agreement under each of them says something."""
    inputs = parity.make_inputs(ALBERT)["padded"]
    weights = random_weights(ALBERT)
    gelu, erf, relu = (
        reference.forward(weights, changed(hidden_act=name), inputs)["sequence_output"]
        for name in ("gelu", "gelu_erf", "relu")
    )
    assert 1e-5 < np.abs(gelu - erf).max() < 1e-1
    assert np.abs(gelu - relu).max() > 1e-1


def test_it_agrees_with_what_other_code_computed_of_trained_weights(shared_data):
    expected = np.load(shared_data / "huggingface" / "albert_tiny_zh" / "reference.npz")
    inputs = {
        "input_word_ids": expected["input_ids"],
        "input_mask": expected["input_mask"],
        "input_type_ids": expected["segment_ids"],
        "masked_lm_positions": np.tile(expected["mlm_positions"], (len(expected["input_ids"]), 1)),
    }
    with source.opened(str(shared_data / "checkpoints" / "albert_tiny_zh")) as read:
        outputs = reference.forward(read.model.weights, read.model.config, inputs)
    valid = inputs["input_mask"].astype(bool)
    assert_close(outputs["sequence_output"][valid], expected["sequence_output_float64"][valid], 1e-9)
    assert_close(outputs["pooled_output"], expected["pooled_output_float64"], 1e-9)
    logits = expected["mlm_logits_float64"]
    assert_close(outputs["mlm_logits"][: len(logits)], logits, 1e-9)


def test_a_trained_bert_with_a_factorised_embedding(shared_data):
    with source.opened(str(shared_data / "checkpoints" / "simbert_tiny_zh")) as read:
        model = read.model
        assert (model.config.architecture, model.config.num_hidden_groups) == ("bert", 4)
        assert model.config.projects_embedding
        cases = {"padded": parity.make_inputs(model.config, mask_id=103)["padded"]}
        network = parity.run_network(model.network("float64"), cases, model.roles)["padded"]
        expected = reference.forward(model.weights, model.config, cases["padded"])
    valid = cases["padded"]["input_mask"].astype(bool)
    assert_close(network["encoder_outputs"][:, valid], expected["encoder_outputs"][:, valid], 1e-9)
    assert_close(network["pooled_output"], expected["pooled_output"], 1e-9)
    assert ("mlm_logits" in expected) == ("mlm" in model.roles)


def test_what_stands_at_padding_changes_nothing():
    inputs = parity.make_inputs(ALBERT)["padded"]
    valid = inputs["input_mask"].astype(bool)
    noisy = inputs | {"input_word_ids": np.where(valid, inputs["input_word_ids"], 7)}
    weights = random_weights(ALBERT)
    quiet, loud = (reference.forward(weights, ALBERT, x)["sequence_output"] for x in (inputs, noisy))
    assert np.abs(quiet - loud)[~valid].max() > 1e-3
    assert np.abs(quiet - loud)[valid].max() < 1e-12


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        (ENCODER, {"mlm_logits", "sop_logits"}),
        (("encoder",), {"mlm_logits", "pooled_output", "sop_logits"}),
        (("encoder", "mlm"), {"pooled_output", "sop_logits"}),
    ],
    ids=["no MLM head", "encoder alone", "no pooler"],
)
def test_what_the_weights_lack_is_not_computed(parts, missing):
    inputs = parity.make_inputs(BERT)["padded"]
    whole = reference.forward(random_weights(BERT), BERT, inputs)
    part = reference.forward(random_weights(BERT, parts=parts), BERT, inputs)
    assert whole.keys() - part.keys() == missing
