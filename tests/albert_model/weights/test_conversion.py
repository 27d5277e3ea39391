import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import conversion, huggingface, source
from albert_model.weights import network as network_weights
from albert_model.weights.model import Model
from albert_model.weights.names import ROLES, parameters
from albert_model.weights.source import ReadOptions
from albert_model.weights.tensors import fingerprint
from tests.albert_model.weights.small_models import (
    ALBERT,
    ENCODER,
    assert_same,
    changed,
    random_model,
    random_weights,
    write_checkpoint,
)
from tests.demo import ROOT

TARGETS = list(conversion.TARGETS)
NO_SENTENCE_ORDER = ("encoder", "pooler", "mlm")  # as TF-Hub modules have


def fingerprint_of(folder):
    with source.opened(str(folder)) as read:
        return read.format, fingerprint(read.model.weights, read.model.config)


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below a folder, hidden ones too, with what the files hold."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def read_json(path):
    return json.loads(path.read_text())


# === Every format into every format ===


ONE_LAYER = {  # which is quickly written; several are converted further down
    "albert": changed(num_hidden_layers=1),
    "bert": changed(architecture="bert", embedding_size=64, num_hidden_layers=1),
}


@pytest.fixture(scope="module", params=ONE_LAYER.values(), ids=ONE_LAYER)
def in_every_format(request, tmp_path_factory):
    """A model's weights, and a folder with the model in every format."""
    folder = tmp_path_factory.mktemp("formats")
    model = random_model(request.param)
    conversion.convert(str(write_checkpoint(folder / "source", model)), TARGETS, folder / "formats")
    return model, folder / "formats"


@pytest.mark.parametrize("format_name", TARGETS)
def test_weights_stay_the_same_to_the_bit_from_every_format_to_every_format(in_every_format, format_name, tmp_path):
    model, folder = in_every_format
    expected = fingerprint(model.weights, model.config)
    assert fingerprint_of(folder / format_name) == (format_name, expected)
    done = conversion.convert(str(folder / format_name), TARGETS, tmp_path / "out")
    assert done.manifest["source"]["format"] == format_name
    assert {done.manifest["fingerprint"], done.manifest["source"]["fingerprint"]} == {expected}
    for target in TARGETS:
        assert fingerprint_of(tmp_path / "out" / target) == (target, expected)
        with source.opened(str(tmp_path / "out" / target)) as read:
            assert read.model.config.network() | {"architecture": ""} == model.config.network() | {"architecture": ""}
            assert read.model.vocabulary.content == model.vocabulary.content
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    "size",
    [
        {"num_hidden_groups": 2, "inner_group_num": 2},
        {"embedding_size": 64},
        {"architecture": "bert", "num_hidden_groups": 2},
    ],
    ids=["groups and inner layers", "no projection", "factorised bert"],
)
def test_unusual_models_go_through_every_format_too(size, tmp_path):
    model = random_model(changed(**size))
    write_checkpoint(tmp_path / "source", model)
    targets = [target for target in TARGETS if target != "package"]  # which holds no other formats
    conversion.convert(str(tmp_path / "source"), targets, tmp_path / "out")
    expected = fingerprint(model.weights, model.config)
    assert [fingerprint_of(tmp_path / "out" / target) for target in targets] == [(t, expected) for t in targets]


def test_a_model_without_vocabulary_is_converted(tmp_path):
    write_checkpoint(tmp_path / "source", Model(ALBERT, random_weights(ALBERT)))
    targets = [target for target in TARGETS if target != "package"]
    done = conversion.convert(str(tmp_path / "source"), targets, tmp_path / "out")
    assert done.manifest["vocabulary"] is None
    for target in targets:
        with source.opened(str(tmp_path / "out" / target)) as read:
            assert read.model.vocabulary is None


# === What is told ===


def test_one_target_is_the_folder_itself_and_several_have_one_each(tmp_path):
    write_checkpoint(tmp_path / "source", random_model())
    conversion.convert(str(tmp_path / "source"), ["keras_h5"], tmp_path / "one")
    files = {"config.json", "vocab", "tf2_model.h5", "tf2_model_full.h5", "conversion.json", "parity.json"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == files
    conversion.convert(str(tmp_path / "source"), ["keras_h5", "tf1_checkpoint"], tmp_path / "two")
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {"keras_h5", "tf1_checkpoint", "conversion.json", "parity.json"}


def test_the_manifest_and_the_report_lie_beside(tmp_path):
    model = random_model()
    write_checkpoint(tmp_path / "source", model)
    done = conversion.convert(str(tmp_path / "source"), ["huggingface", "keras_h5"], tmp_path / "out")
    manifest = read_json(tmp_path / "out" / "conversion.json")
    assert manifest == done.manifest
    assert manifest["source"] == {
        "name": str(tmp_path / "source"),
        "format": "tf1_checkpoint",
        "parts": list(ROLES),
        "left_out": [],
        "notes": [],
        "fingerprint": fingerprint(model.weights, ALBERT),
    }
    assert (manifest["parts"], manifest["initialised"]) == (list(ROLES), [])
    assert manifest["targets"] == ["huggingface", "keras_h5"]
    assert AlbertConfig(**manifest["config"]) == ALBERT
    assert manifest["vocabulary"]["sha256"] == model.vocabulary.sha256
    assert (manifest["vocabulary"]["pieces"], manifest["vocabulary"]["kind"]) == (120, "wordpiece")
    assert manifest["parity"] == {"agrees": True, "causes": [], "details": "parity.json"}
    report = read_json(tmp_path / "out" / "parity.json")
    assert report == json.loads(json.dumps(done.parity.to_dict()))
    assert [c["first"] for c in report["comparisons"]] == ["converted, float64", "converted, float32"]
    assert {d["case"] for c in report["comparisons"] for d in c["differences"]} == {"padded", "permuted", "full length"}


def test_a_source_that_runs_is_held_against_the_converted_network(tmp_path):
    model = random_model()
    conversion.TARGETS["saved_model"](tmp_path / "source", model)
    done = conversion.convert(str(tmp_path / "source"), ["tf1_checkpoint"], tmp_path / "out")
    assert done.parity.comparisons[0].first == "saved_model itself"
    outputs = {difference.output for difference in done.parity.comparisons[0].differences}
    assert {"layer 1", "layer 2", "sequence_output", "pooled_output", "mlm_logits"} <= outputs


def test_optimizer_slots_are_left_out_and_listed(tmp_path):
    import tensorflow as tf

    model = random_model()
    folder = write_checkpoint(tmp_path / "source", model)
    names = [row.tf1.name for row in parameters(ALBERT)]
    tensors = [model.weights[row.name] for row in parameters(ALBERT)]
    slot = "bert/pooler/dense/bias/adam_m"
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt-best"),
        tensor_names=[*names, slot, "global_step"],
        shape_and_slices=[""] * (len(names) + 2),
        tensors=[*tensors, np.zeros(64, "f"), np.int64(7)],
    )
    done = conversion.convert(str(folder), ["keras_h5"], tmp_path / "out")
    assert done.manifest["source"]["left_out"] == [slot, "global_step"]
    assert done.manifest["fingerprint"] == fingerprint(model.weights, ALBERT)


# === Heads ===


@pytest.mark.parametrize(
    ("held", "model_type", "parts", "initialised"),
    [
        (ROLES, None, ROLES, ()),
        (ROLES, "albert", ROLES, ()),
        (ROLES, "albert_encoder", ENCODER, ()),
        (NO_SENTENCE_ORDER, None, ROLES, ("sop",)),
        (NO_SENTENCE_ORDER, "albert", ROLES, ("sop",)),
        (NO_SENTENCE_ORDER, "albert_encoder", ENCODER, ()),
        (ENCODER, None, ENCODER, ()),
        (ENCODER, "albert", ROLES, ("mlm", "sop")),
        (("encoder", "mlm"), None, ROLES, ("pooler", "sop")),
        (("encoder",), "albert_encoder", ENCODER, ("pooler",)),
    ],
)
def test_heads_are_as_asked_for_and_fresh_ones_are_listed(held, model_type, parts, initialised, tmp_path):
    config = ALBERT
    write_checkpoint(tmp_path / "source", random_model(config, parts=held))
    targets = ["keras_h5", "huggingface", "tf1_checkpoint"]
    done = conversion.convert(str(tmp_path / "source"), targets, tmp_path / "out", model_type)
    assert tuple(done.manifest["source"]["parts"]) == held
    assert (tuple(done.manifest["parts"]), tuple(done.manifest["initialised"])) == (parts, initialised)
    old = random_weights(config, parts=held)  # drawn in the table's order: what is held is what was written
    new = network_weights.read(AlbertPretrainer(config, seed=0))
    role_of = {row.name: row.role for row in parameters(config)}
    expected = {
        name: new[name] if role in initialised else old[name] for name, role in role_of.items() if role in parts
    }
    for target in targets:
        with source.opened(str(tmp_path / "out" / target)) as read:
            assert_same(read.model.weights, expected)
    assert (tmp_path / "out" / "keras_h5" / "tf2_model_full.h5").exists() == ("sop" in parts)


def test_a_package_needs_heads(tmp_path):
    write_checkpoint(tmp_path / "source", random_model())
    with pytest.raises(InputError, match=r"--to package: has both heads in it\. Say --model-type albert"):
        conversion.convert(str(tmp_path / "source"), ["package"], tmp_path / "out", "albert_encoder")
    assert not (tmp_path / "out").exists()


# === What fails leaves everything as it was ===


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A folder with an earlier conversion of another model, and a file of somebody's."""
    folder = tmp_path_factory.mktemp("earlier")
    conversion.convert(str(write_checkpoint(folder / "source", random_model(seed=9))), ["keras_h5"], folder / "out")
    (folder / "out" / "notes.txt").write_text("mine")
    return folder / "out"


@pytest.fixture(params=["nothing", "an empty folder", "an earlier conversion"])
def output(request, tmp_path, earlier):
    """Where a conversion goes to."""
    folder = tmp_path / "place" / "out"
    if request.param == "an empty folder":
        folder.mkdir(parents=True)
    elif request.param == "an earlier conversion":
        shutil.copytree(earlier, folder)
    return folder


def assert_refused(output, error, message, *args, **options):
    """The conversion fails, and not a byte of what is around its output differs."""
    place = output.parent.parent
    before = everything(place)
    with pytest.raises(error, match=message):
        conversion.convert(*args, output, overwrite=True, **options)
    after = everything(place)
    assert after.keys() == before.keys()
    assert after == before


def test_nan_is_refused(output, tmp_path):
    model = random_model()
    broken = dict(model.weights)
    broken["bert/pooler/dense/bias"] = broken["bert/pooler/dense/bias"] * np.float32(np.nan)
    write_checkpoint(tmp_path / "source", Model(ALBERT, broken, model.vocabulary))
    message = "bert/pooler/dense/bias holds NaN or infinite values"
    assert_refused(output, InputError, message, str(tmp_path / "source"), ["keras_h5"])


@pytest.fixture(scope="module")
def contradicting(tmp_path_factory):
    """A SavedModel that computes with 32 heads, where its config says 16."""
    folder = tmp_path_factory.mktemp("contradicting")
    model = random_model(changed(num_attention_heads=32))
    conversion.TARGETS["saved_model"](folder, model)
    (folder / "assets.extra" / "config.json").write_text(ALBERT.to_json())
    return folder


def test_a_source_that_computes_something_else_is_refused(output, contradicting):
    message = (
        "the converted network is not the same. saved_model itself computes with num_attention_heads 32, where the "
        "config says 16"
    )
    assert_refused(output, InputError, message, str(contradicting), ["keras_h5"])


def test_a_hugging_face_albert_whose_gelu_says_erf_needs_a_word_from_the_user(output, tmp_path):
    folder = tmp_path / "source"
    huggingface.write(folder, random_weights(ALBERT), ALBERT, None)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("gelu_new", "gelu"))
    message = r'config\.json: hidden_act "gelu" is the erf form in Hugging Face, .* --hidden-act gelu'
    assert_refused(output, InputError, message, str(folder), ["keras_h5"])
    for said in ("gelu", "gelu_erf"):
        options = ReadOptions(hidden_act=said)
        done = conversion.convert(str(folder), ["keras_h5"], output, options=options, overwrite=True)
        assert done.manifest["config"]["hidden_act"] == said


def test_a_disk_that_fills_up_half_way_leaves_nothing(output, tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "source", random_model())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 2**30, 0))
    targets = ["huggingface", "keras_h5"]
    assert_refused(output, OSError, "No space left on device", str(tmp_path / "source"), targets)


def test_an_interruption_leaves_nothing(output, tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "source", random_model())
    write = conversion.TARGETS["tf1_checkpoint"]

    def write_and_interrupt(*args):
        write(*args)
        raise KeyboardInterrupt

    monkeypatch.setitem(conversion.TARGETS, "tf1_checkpoint", write_and_interrupt)
    targets = ["keras_h5", "tf1_checkpoint"]
    assert_refused(output, KeyboardInterrupt, None, str(tmp_path / "source"), targets)


def test_what_reads_back_as_something_else_is_refused(output, tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "source", random_model())
    write = conversion.TARGETS["tf1_checkpoint"]
    monkeypatch.setitem(conversion.TARGETS, "tf1_checkpoint", lambda folder, _: write(folder, random_model(seed=1)))
    message = "tf1_checkpoint: what was written reads back as other weights"
    assert_refused(output, RuntimeError, message, str(tmp_path / "source"), ["tf1_checkpoint"])


def test_a_file_is_no_output(tmp_path):
    write_checkpoint(tmp_path / "source", random_model())
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match=r"out: is no folder\. Give another --output"):
        conversion.convert(str(tmp_path / "source"), ["keras_h5"], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


# === What is there already ===


@pytest.fixture
def filled(tmp_path, earlier):
    """A model, and a folder with an earlier conversion of another one and a file of somebody's."""
    shutil.copytree(earlier, tmp_path / "out")
    return str(write_checkpoint(tmp_path / "source", random_model())), tmp_path / "out"


def test_files_that_are_there_are_named_and_kept(filled):
    name, output = filled
    before = everything(output)
    with pytest.raises(InputError, match=r"out: has conversion\.json, parity\.json already\. .* say --overwrite"):
        conversion.convert(name, ["keras_h5"], output)
    assert everything(output) == before


def test_files_that_are_there_are_replaced_if_so_said(filled):
    name, output = filled
    names = everything(output).keys()
    done = conversion.convert(name, ["keras_h5"], output, overwrite=True)
    assert fingerprint_of(output) == ("keras_h5", done.manifest["fingerprint"])
    assert read_json(output / "conversion.json") == done.manifest
    assert everything(output).keys() == names
    assert (output / "notes.txt").read_text() == "mine"


def test_other_files_do_not_stand_in_the_way(filled):
    name, output = filled
    shutil.rmtree(output)
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    conversion.convert(name, ["huggingface", "keras_h5"], output)
    there = {path.name for path in output.iterdir()}
    assert there == {"notes.txt", "huggingface", "keras_h5", "conversion.json", "parity.json"}


# Five files and folders are moved away, then six are moved in.
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (1, OSError(errno.EIO, "broken")),
        (2, KeyboardInterrupt()),
        (5, OSError(errno.EIO, "broken")),
        (6, KeyboardInterrupt()),
        (8, OSError(errno.EIO, "broken")),
        (11, KeyboardInterrupt()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_an_error_while_files_are_moved_restores_what_was_there(filled, monkeypatch, number, error):
    name, output = filled
    (output / "conversion.json").unlink()
    before = everything(output.parent)
    rename, calls = Path.rename, []

    def rename_until(self, target):
        calls.append(self)
        if len(calls) == number:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_until)
    with pytest.raises(type(error)):
        conversion.convert(name, ["keras_h5"], output, overwrite=True)
    assert everything(output.parent) == before


def test_only_what_is_kept_is_published(tmp_path):
    name = str(write_checkpoint(tmp_path / "source", random_model()))
    (tmp_path / "there").mkdir()
    for output in (tmp_path / "made", tmp_path / "there"):
        conversion.convert(name, ["keras_h5"], output, keep=lambda path: path.name != "tf2_model.h5")
        names = {path.name for path in output.iterdir()}
        assert names == {"config.json", "vocab", "tf2_model_full.h5", "conversion.json", "parity.json"}


KILLED = """
import os, signal, sys
from albert_model.weights import conversion
# Everything is staged when it is asked what to keep.
conversion.convert(sys.argv[1], ["keras_h5"], sys.argv[2], overwrite=True,
                   keep=lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_killed_conversion_leaves_the_output_as_it_was(filled):
    name, output = filled
    before = everything(output)
    done = subprocess.run([sys.executable, "-c", KILLED, name, str(output)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    after = everything(output)
    assert {name: content for name, content in after.items() if not name.startswith(".albert-")} == before
    assert any(name.startswith(".albert-") for name in after)  # it was killed in the middle
    done = conversion.convert(name, ["keras_h5"], output, overwrite=True)
    assert fingerprint_of(output) == ("keras_h5", done.manifest["fingerprint"])


# === Google's 24 small BERTs ===

LAYERS = (2, 4, 6, 8, 10, 12)
WIDTHS = ((128, 2), (256, 4), (512, 8), (768, 12))
SIZES = [(layers, *width) for layers in LAYERS for width in WIDTHS]


def bert_config(layers, hidden, heads):
    """As a `bert_config.json` says it; few pieces and positions, which decide nothing here."""
    return {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 8,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "type_vocab_size": 2,
        "vocab_size": 1000,
    }


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]} layers of {size[1]}")
def test_the_small_berts_are_converted(size, tmp_path):
    layers, hidden, heads = size
    values = bert_config(*size)
    model = random_model(AlbertConfig.from_values(values | {"architecture": "bert"}, "a test"))
    folder = write_checkpoint(tmp_path / "source", model)
    (folder / "bert_config.json").write_text(json.dumps(values))
    done = conversion.convert(str(folder), ["huggingface"], tmp_path / "out")
    assert done.parity.agrees
    assert done.manifest["source"]["fingerprint"] == done.manifest["fingerprint"]
    config = read_json(tmp_path / "out" / "config.json")
    assert (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == ("bert", layers, hidden)
    assert (config["num_attention_heads"], config["hidden_act"]) == (heads, "gelu_new")
    shutil.rmtree(tmp_path)
