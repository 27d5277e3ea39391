import contextlib
import json

import numpy as np
import pytest

from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS, MLM_POSITIONS
from albert_model.weights import conversion, keras_h5, package, parity, reference, source
from albert_model.weights import network as network_weights
from albert_model.weights.model import Model
from albert_model.weights.parity import Party
from albert_model.weights.source import ReadOptions, Source
from tests.albert_model.weights.small_models import (
    ALBERT,
    BERT,
    CONFIGS,
    ENCODER,
    assert_close,
    changed,
    random_model,
    write_checkpoint,
)

# === Inputs ===


def test_inputs_show_what_may_go_wrong():
    config = changed(vocab_size=200, max_position_embeddings=96)
    cases = parity.make_inputs(config, mask_id=7)
    assert cases.keys() == {"padded", "permuted", "full length"}
    padded = cases["padded"]
    assert padded.keys() == {*ENCODER_INPUTS, MLM_POSITIONS}
    ids, mask, segments = (padded[name] for name in ENCODER_INPUTS)
    lengths = mask.sum(1)
    assert sorted(lengths) == [16, 32, 48]  # of 48 columns: one row is full, two are padded
    assert (np.diff(mask, axis=1) <= 0).all()  # padding is at the end
    for row, length in enumerate(lengths):
        assert set(segments[row, :length]) == {0, 1}
        assert not ids[row, length:].any()
        assert not segments[row, length:].any()
        assert (ids[row, padded[MLM_POSITIONS][row]] == 7).all()
        assert (padded[MLM_POSITIONS][row] < length).all()
    assert ids.max() < config.vocab_size
    full = cases["full length"]
    assert full["input_mask"].tolist() == [[1] * 96]
    assert set(full["input_type_ids"][0]) == {0, 1}


def test_the_permuted_rows_are_the_padded_ones():
    cases = parity.make_inputs(ALBERT)
    for name, array in cases["padded"].items():
        rows = [row.tolist() for row in array]
        permuted = [row.tolist() for row in cases["permuted"][name]]
        assert permuted != rows
        assert sorted(permuted) == sorted(rows)


def test_inputs_are_the_same_each_time():
    first, second = parity.make_inputs(ALBERT), parity.make_inputs(ALBERT)
    assert all(np.array_equal(first[case][name], second[case][name]) for case in first for name in first[case])


@pytest.mark.parametrize("positions", [8, 9, 14, 15, 512])
def test_there_are_inputs_for_any_number_of_positions(positions):
    cases = parity.make_inputs(changed(max_position_embeddings=positions))
    assert cases["full length"]["input_mask"].sum() == positions
    assert all(inputs[MLM_POSITIONS].shape[1] >= 1 for inputs in cases.values())


# === Comparison ===


def outputs(mlm=None, layers=2):
    rng = np.random.default_rng(0)
    inputs = parity.make_inputs(ALBERT)["padded"]
    batch, length = inputs["input_mask"].shape
    states = rng.normal(size=(layers, batch, length, 8))
    logits = rng.normal(size=(batch, 3, 50)) if mlm is None else mlm
    return inputs, {
        "encoder_outputs": states,
        "sequence_output": states[-1],
        "pooled_output": np.tanh(rng.normal(size=(batch, 8))),
        "mlm_logits": logits,
    }


def compared(change, noise=None):
    """The differences that a change of one party's outputs makes, by output."""
    inputs, expected = outputs()
    ours = {name: array.copy() for name, array in expected.items()}
    change(ours)
    cases = {"padded": inputs}
    found = parity.compare(Party("a", {"padded": ours}, True), Party("b", {"padded": expected}, True), cases, noise)
    assert (found.first, found.second) == ("a", "b")
    return found, {difference.output: difference for difference in found.differences}


def test_every_layer_and_every_output_has_a_row():
    found, rows = compared(lambda ours: None)
    assert list(rows) == ["layer 1", "layer 2", "sequence_output", "pooled_output", "mlm_logits"]
    assert found.agrees
    assert all((row.max_abs, row.relative) == (0, 0) for row in rows.values())
    assert all(abs(row.cosine - 1) < 1e-12 for row in rows.values())
    assert (rows["mlm_logits"].top_1, rows["mlm_logits"].top_5) == (1, 1)
    assert rows["pooled_output"].top_1 is None


def test_the_layer_where_it_begins_has_the_difference():
    found, rows = compared(lambda ours: ours["encoder_outputs"][1, 0, 0].__iadd__(1e-3))
    assert not found.agrees
    assert [name for name, row in rows.items() if not row.agrees] == ["layer 2"]
    assert rows["layer 2"].max_abs == pytest.approx(1e-3)


def test_relative_and_cosine_are_those_of_the_definitions():
    _, rows = compared(lambda ours: ours["pooled_output"].__imul__(-1))
    row = rows["pooled_output"]
    assert (row.relative, row.cosine) == (pytest.approx(2), pytest.approx(-1))


def test_top_1_and_top_5_count_predictions():
    def change(ours):
        logits = ours["mlm_logits"]
        best = logits[0, 0].argsort()
        logits[0, 0, best[-2]] = logits[0, 0, best[-1]] + 1  # another first one, the same five
        best = logits[1, 0].argsort()
        logits[1, 0, best[-6]] = logits[1, 0, best[-5]] + 1e-6  # the same first one, another fifth

    _, rows = compared(change)
    predictions = outputs()[1]["mlm_logits"][..., 0].size
    assert rows["mlm_logits"].top_1 == pytest.approx(1 - 1 / predictions)
    assert rows["mlm_logits"].top_5 == pytest.approx(1 - 1 / predictions)


def test_what_stands_at_padding_does_not_count():
    inputs, _ = outputs()
    row, column = np.argwhere(inputs["input_mask"] == 0)[0]
    for name in ("sequence_output", "encoder_outputs"):
        assert compared(lambda ours, name=name: ours[name][..., row, column, :].__iadd__(9))[0].agrees


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_never_count_as_agreement(value):
    for name in ("sequence_output", "pooled_output", "mlm_logits", "encoder_outputs"):
        for given in (None, value):
            found, _ = compared(lambda ours, name=name: ours[name].flat.__setitem__(0, value), given)
            assert not found.agrees
            assert [row.output for row in found.worst() if not row.agrees]
            inputs, expected = outputs()
            expected[name].flat[0] = value
            turned = Party("", {"padded": outputs()[1]}, True), Party("", {"padded": expected}, True)
            assert not parity.compare(*turned, {"padded": inputs}, given).agrees


def test_the_worst_case_of_an_output_is_the_one_with_nan():
    inputs, expected = outputs()
    broken = {name: np.full_like(array, np.nan) for name, array in expected.items()}
    cases = dict.fromkeys(("first", "second", "third"), inputs)
    ours = {"first": expected, "second": broken, "third": expected}
    found = parity.compare(Party("a", ours, True), Party("b", dict.fromkeys(cases, expected), True), cases)
    assert {row.case for row in found.worst()} == {"second"}


def test_outputs_of_different_sizes_do_not_agree():
    found, rows = compared(lambda ours: ours.update(pooled_output=ours["pooled_output"][:, :4]))
    assert not found.agrees
    assert rows["pooled_output"].max_abs == np.inf


def test_what_one_of_them_lacks_is_not_compared():
    _, rows = compared(lambda ours: [ours.pop(name) for name in ("mlm_logits", "pooled_output", "encoder_outputs")])
    assert list(rows) == ["sequence_output"]


@pytest.mark.parametrize(
    ("noise", "difference", "agrees"),
    [
        (None, 5e-10, True),
        (None, 1e-8, False),
        (0.0, 1e-5, True),
        (0.0, 1e-4, False),
        (1e-3, 5e-3, True),  # where our own float32 is off by 1e-3, another one may be off by 1e-2
        (1e-3, 2e-2, False),
        (1.0, 1.0, False),  # and never by more than 0.05 of the largest value
    ],
)
def test_what_is_allowed(noise, difference, agrees):
    found, _ = compared(
        lambda ours: ours["pooled_output"].flat.__setitem__(0, ours["pooled_output"].flat[0] + difference), noise
    )
    assert found.agrees == agrees


# === A conversion ===


def judged(opened: Source, model: Model | None = None) -> parity.Report:
    truth = parity.establish(opened, model or opened.model)
    return parity.judge(truth, parity.single(truth, truth.model.network()), parity.double(truth))


def source_of(model: Model, run=None, name="a model") -> Source:
    return Source(name, "something", None, model, run)


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_network_agrees_with_its_weights(kind):
    report = judged(source_of(random_model(CONFIGS[kind])))
    assert (report.agrees, report.causes) == (True, ())
    exact, single = report.comparisons
    assert (exact.first, single.first) == ("converted, float64", "converted, float32")
    layers = [f"layer {i + 1}" for i in range(CONFIGS[kind].num_hidden_layers)]
    assert [row.output for row in exact.worst()] == [
        *(*layers, "sequence_output", "pooled_output", "mlm_logits", "sop_logits")
    ]
    assert max(row.max_abs for row in exact.differences) < 1e-12 < min(row.max_abs for row in single.differences)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_streamed_network_computes_as_a_loaded_one_and_holds_no_kernel(kind):
    model = random_model(CONFIGS[kind])
    inputs = parity.make_inputs(CONFIGS[kind])["padded"]
    streamed = network_weights.streamed(CONFIGS[kind], model.weights, "model")
    assert not [variable.path for variable in streamed.variables if variable.path.endswith("kernel")]
    for name in ("sequence_output", "mlm_logits", "sop_logits"):
        assert_close(np.asarray(streamed(inputs)[name]), np.asarray(model.network()(inputs)[name]), 1e-5)


def test_a_network_with_other_weights_is_noticed():
    model = random_model()
    truth = parity.establish(source_of(model), model)
    other = random_model(seed=1).network()
    report = parity.judge(truth, parity.single(truth, other), parity.double(truth))
    assert not report.agrees
    assert report.causes == ("converted, float32 does not compute what the weights say, from layer 1 on",)


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    """SavedModels of one model's weights under several configs, which compute what their config says."""
    folder = tmp_path_factory.mktemp("saved_models")
    configs = {
        "32 heads": changed(num_attention_heads=32),
        "erf": changed(hidden_act="gelu_erf"),
        "32 heads and erf": changed(num_attention_heads=32, hidden_act="gelu_erf"),
    }
    for name, config in configs.items():
        model = random_model(config)
        made = folder / name
        conversion.TARGETS["saved_model"](made, model)
    return folder


@pytest.mark.parametrize(
    ("made_with", "cause"),
    [
        ("32 heads", "num_attention_heads 32, where the config says 16"),
        ("erf", "hidden_act gelu_erf, where the config says gelu"),
        (
            "32 heads and erf",
            "num_attention_heads 32, where the config says 16 and with hidden_act gelu_erf, where the config says gelu",
        ),
    ],
)
def test_a_config_that_contradicts_what_the_source_computes_is_explained(saved_models, made_with, cause):
    with source.opened(str(saved_models / made_with), ReadOptions(config=ALBERT)) as opened:
        report = judged(opened)
    assert not report.agrees
    assert report.causes == (f"saved_model itself computes with {cause}",)
    assert [comparison.agrees for comparison in report.comparisons] == [False, True, True]
    assert report.comparisons[0].first == "saved_model itself"


def test_a_source_that_its_config_describes_agrees(saved_models):
    with source.opened(str(saved_models / "32 heads and erf")) as opened:
        report = judged(opened)
    assert (report.agrees, report.causes) == (True, ())


def test_what_neither_heads_nor_activation_explain_says_where_it_begins():
    model = random_model()
    changed_weights = dict(model.weights)
    name = "bert/encoder/transformer/group_0/inner_group_0/ffn_1/intermediate/dense/bias"
    changed_weights[name] = changed_weights[name] + np.float32(0.1)
    report = judged(source_of(model, lambda: lambda inputs: reference.forward(changed_weights, ALBERT, inputs)))
    (cause,) = report.causes
    assert cause.startswith("something itself differs from layer 1 on; no other number of heads")


def test_a_source_that_is_wrong_at_full_length_alone_is_explained_too():
    config = changed(max_position_embeddings=60)
    model = random_model(config)
    positions = model.weights["bert/embeddings/position_embeddings"].copy()
    positions[-1, 0] += 1  # past the padded inputs' last one
    weights = model.weights | {"bert/embeddings/position_embeddings": positions}
    report = judged(source_of(model, lambda: lambda inputs: reference.forward(weights, config, inputs)))
    assert not report.agrees
    (cause,) = report.causes
    assert cause.startswith("something itself differs from layer 1 on")


def test_heads_that_the_source_lacks_are_not_held_against_it(tmp_path):
    encoder = random_model(parts=ENCODER)
    report = judged(source_of(encoder), encoder.complete())
    assert report.agrees
    assert "mlm_logits" in {row.output for row in report.comparisons[0].differences}


def test_a_report_goes_into_json():
    report = judged(source_of(random_model()))
    read = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert read["agrees"] is True
    assert {"first", "second", "agrees", "differences"} == read["comparisons"][0].keys()
    row = read["comparisons"][0]["differences"][0]
    assert row.keys() == {*("output", "case", "max_abs", "relative", "cosine", "top_1", "top_5", "allowed", "agrees")}


# === Sources against each other ===


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """One model as TF1 checkpoint, H5 file and SavedModel."""
    folder = tmp_path_factory.mktemp("copies")
    model = random_model()
    write_checkpoint(folder / "checkpoint", model)
    package.write_around(folder / "h5", model)
    keras_h5.write(folder / "h5" / keras_h5.FULL_FILE, model.weights, model.config, full=True)
    conversion.TARGETS["saved_model"](folder / "saved_model", model)
    return folder


def compare_folders(*named):
    """Each a folder, or a folder and what is to be taken otherwise."""
    pairs = [pair if isinstance(pair, tuple) else (pair, source.NOTHING_SAID) for pair in named]
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(source.opened(str(folder), options)) for folder, options in pairs]
        return parity.compare_sources(opened)


def test_copies_in_three_formats_agree(copies):
    report = compare_folders(copies / "checkpoint", copies / "saved_model", copies / "h5")
    assert (report.agrees, report.causes) == (True, ())
    # The SavedModel against its own weights, and three pairs.
    assert [comparison.first.rpartition("/")[2] for comparison in report.comparisons] == [
        "saved_model",
        "checkpoint (weights, float64)",
        "checkpoint (weights, float64)",
        "saved_model",
    ]


def with_another_weight(folder, name, amount=0.5):
    model = random_model()
    weights = dict(model.weights)
    weights[name] = weights[name] + np.float32(amount)
    return write_checkpoint(folder, Model(model.config, weights, model.vocabulary))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_three_the_one_that_disagrees_is_named_and_so_is_the_parameter(copies, place, tmp_path):
    name = "bert/encoder/transformer/group_0/inner_group_0/attention_1/self/value/kernel"
    odd = with_another_weight(tmp_path / "odd", name)
    folders = [copies / "checkpoint", copies / "h5"]
    folders.insert(place, odd)
    report = compare_folders(*folders)
    assert not report.agrees
    same = [str(copies / "checkpoint"), str(copies / "h5")]
    assert report.causes[-1] == f"{odd} disagrees: {same[0]} and {same[1]} compute the same"
    assert any(
        "hold other values in 1 arrays" in cause and f"most of all in {name} (by 0.5)" in cause
        for cause in report.causes
    )


def test_of_three_that_all_differ_none_is_named(copies, tmp_path):
    name = "bert/embeddings/LayerNorm/beta"
    report = compare_folders(
        copies / "checkpoint",
        with_another_weight(tmp_path / "one", name, 0.5),
        with_another_weight(tmp_path / "two", name, 0.25),
    )
    assert not report.agrees
    assert not [cause for cause in report.causes if "disagrees" in cause]


@pytest.mark.parametrize("order", [1, -1], ids=["", "turned"])
def test_two_configs_that_differ_are_named(copies, order):
    other = copies / "h5", ReadOptions(config=changed(num_attention_heads=32))
    report = compare_folders(*[copies / "checkpoint", other][::order])
    assert not report.agrees
    names = [str(copies / "checkpoint"), str(copies / "h5")][::order]
    heads = [16, 32][::order]
    assert report.causes == (f"num_attention_heads is {heads[0]} in {names[0]} and {heads[1]} in {names[1]}",)


@pytest.mark.parametrize("order", [1, -1], ids=["", "turned"])
def test_of_a_source_that_runs_it_says_with_what_it_computes(copies, saved_models, order):
    """Both configs say 16 heads, and so does the table of weights: only running it shows."""
    wrong = saved_models / "32 heads", ReadOptions(config=ALBERT)
    report = compare_folders(*[wrong, copies / "checkpoint"][::order])
    assert not report.agrees
    folder = saved_models / "32 heads"
    assert report.causes == (f"{folder} computes with num_attention_heads 32, where the config says 16",)


def test_models_of_other_sizes_are_not_compared(copies, tmp_path):
    other = write_checkpoint(tmp_path / "other", random_model(changed(intermediate_size=80)))
    with pytest.raises(InputError, match=r"other: intermediate_size is 80, that of .*checkpoint is 96: no same model"):
        compare_folders(copies / "checkpoint", other)


def test_a_source_beside_itself_is_told_apart(copies):
    report = compare_folders(copies / "checkpoint", copies / "checkpoint")
    assert report.agrees
    pair = report.comparisons[-1]
    assert pair.first != pair.second


def test_a_bert_and_the_albert_that_computes_the_same_agree(tmp_path):
    """A BERT is an ALBERT with a group for each layer."""
    albert = changed(embedding_size=64, num_hidden_groups=2)
    one = write_checkpoint(tmp_path / "bert", random_model(BERT))
    two = write_checkpoint(tmp_path / "albert", random_model(albert))
    assert compare_folders(one, two).agrees


# === Trained weights ===


def test_the_released_checkpoint_its_hugging_face_copy_and_a_converted_one_agree(shared_data, tmp_path):
    checkpoint = shared_data / "checkpoints" / "albert_tiny_zh"
    converted = conversion.convert(str(checkpoint), ["keras_h5"], tmp_path / "converted")
    assert converted.manifest["initialised"] == ["sop"]
    copy = shared_data / "huggingface" / "albert_tiny_zh", ReadOptions(hidden_act="gelu")
    report = compare_folders(checkpoint, copy, tmp_path / "converted")
    assert (report.agrees, report.causes) == (True, ())


def test_the_released_copy_s_config_says_the_wrong_gelu(shared_data):
    checkpoint = shared_data / "checkpoints" / "albert_tiny_zh"
    copy = shared_data / "huggingface" / "albert_tiny_zh"
    report = compare_folders(checkpoint, copy)
    assert not report.agrees
    assert report.causes == (f"hidden_act is gelu in {checkpoint} and gelu_erf in {copy}",)
    gap = max(row.max_abs for row in report.comparisons[-1].differences if row.output == "sequence_output")
    assert 1e-3 < gap < 1e-1
