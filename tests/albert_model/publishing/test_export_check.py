import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from albert_model.publishing import export_process, model_server
from albert_model.publishing.export_check import CHECKS, Check, Export, check_model_server, run_check
from albert_model.publishing.export_expected import GOLDEN, Expected, expected_of
from albert_model.publishing.export_process import PROCESS, check_export
from albert_model.text.ragged import Ragged
from albert_model.text.vocabulary_training import TokenizerSettings, train
from albert_model.weights import keras_h5, package, saved_model
from albert_model.weights.model import Model
from tests.albert_model.weights.small_models import ALBERT, BERT, CONFIGS, random_model, random_weights

NEEDS_TRANSFORMERS = ("huggingface", "huggingface keys")
EMBEDDINGS = "bert/embeddings/word_embeddings"


@pytest.fixture(scope="module")
def model(small_config, tokenizer):
    return Model(small_config, random_weights(small_config), tokenizer.vocabulary)


@pytest.fixture(scope="module")
def expected(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / "expected.npz"
    expected_of(model).write(path)
    return Expected.read(path)


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "package"
    package.write_encoder(folder, model)
    return folder


@pytest.fixture
def export(written, expected, tmp_path):
    """A copy that can be damaged."""
    shutil.copytree(written, tmp_path / "package")
    return Export(tmp_path / "package", expected)


def fails(name, export):
    """What a check that must fail says."""
    found = run_check(name, export)
    assert (found.name, found.passed) == (name, False), found
    return found.said


# === What is expected ===


def test_what_is_expected_survives_being_handed_over(model, expected):
    made = expected_of(model)
    assert (made.config, made.fingerprint, made.noise) == (expected.config, expected.fingerprint, expected.noise)
    assert dict(made.digests) == dict(expected.digests)
    for case in ("one segment", "padded", "full length"):
        for kind in ("cases", "outputs"):
            ours, theirs = getattr(made, kind)[case], getattr(expected, kind)[case]
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_inputs_are_sentences_with_padding_two_segments_and_masks(tokenizer, expected):
    cases = expected.cases
    assert {case: inputs["input_mask"].shape for case, inputs in cases.items()} == {
        "one segment": (1, 48),
        "padded": (4, 48),
        "full length": (1, 64),
    }
    padded = cases["padded"]
    lengths = padded["input_mask"].sum(1)
    assert len(set(lengths)) > 1
    assert 0 < padded["input_mask"].mean() < 1
    assert cases["full length"]["input_mask"].all()
    assert not cases["one segment"]["input_type_ids"].any()
    assert padded["input_type_ids"].any(1).all()
    masked = np.take_along_axis(padded["input_word_ids"], padded["masked_lm_positions"], 1)
    assert (masked == tokenizer.mask_id).all()
    text = tokenizer.encode(GOLDEN[:1]).rows()[0]
    first = cases["one segment"]["input_word_ids"][0, 1 : 1 + len(text)]
    assert (first == text).sum() >= len(text) - 4  # all but the masked ones


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_of_network_and_of_vocabulary_has_expectations(kind):
    found = expected_of(random_model(CONFIGS[kind]))
    assert all(np.isfinite(array).all() for own in found.outputs.values() for array in own.values())
    assert found.noise < 1e-4


# === A good package, and damage ===


def test_a_good_package_passes(written, expected):
    export = Export(written, expected)
    found = {name: run_check(name, export) for name in CHECKS}
    assert [check for check in found.values() if check.passed is False] == []
    not_run = {name for name, check in found.items() if check.passed is None}
    assert not_run <= {*NEEDS_TRANSFORMERS, "model server"}


@pytest.mark.interop
def test_a_good_package_passes_in_transformers(written, expected):
    pytest.importorskip("transformers")
    export = Export(written, expected)
    for name in (*NEEDS_TRANSFORMERS, "huggingface vocabulary", "saved_model", "agreement"):
        assert run_check(name, export).passed, name


@pytest.mark.parametrize("config", [ALBERT, BERT], ids=["albert", "bert"])
def test_a_word_piece_model_passes(config, tmp_path):
    made = random_model(config)
    package.write_encoder(tmp_path / "package", made)
    export = Export(tmp_path / "package", expected_of(made))
    names = set(CHECKS) - {"fine-tuning", "model server"}
    found = [run_check(name, export) for name in CHECKS if name in names]
    assert [check for check in found if check.passed is False] == []
    assert sum(bool(check.passed) for check in found) >= len(names) - 3


def test_without_transformers_checks_say_so_and_the_vocabulary_is_read_all_the_same(export, monkeypatch):
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in NEEDS_TRANSFORMERS:
        found = run_check(name, export)
        assert (found.passed, found.said) == (None, "transformers and torch are not installed here")
    found = run_check("huggingface vocabulary", export)
    assert (found.passed, found.said) == (True, "12 golden sentences have the ids of training in tokenizers")
    assert run_check("agreement", export).said == "fewer than two forms of the model ran"


def test_numbers_that_tokenizer_json_cannot_cut_are_excused_and_no_others(export, tokenizer, expected):
    """A vocabulary with a piece such as 53, inside words."""
    assert "but for" not in run_check("huggingface vocabulary", export).said
    extended = tokenizer.with_pieces(["67,"])
    (export.folder / "huggingface").joinpath("spiece.model").write_bytes(extended.vocabulary.content)
    changed = replace(expected, ids=extended.encode(GOLDEN), fingerprint=extended.fingerprint)
    found = run_check("huggingface vocabulary", Export(export.folder, changed))
    assert found.passed, found
    assert "but for 1 with numbers such as 53, (a limit of tokenizer.json)" in found.said
    lines = changed.ids.rows()
    other = replace(changed, ids=Ragged.from_rows([lines[1], *lines[1:]]))
    assert GOLDEN[0][:20] in fails("huggingface vocabulary", Export(export.folder, other))


@pytest.mark.parametrize("file", [keras_h5.ENCODER_FILE, keras_h5.FULL_FILE])
def test_a_changed_weight_of_an_h5_is_named(export, file):
    name = "bert/embeddings/LayerNorm/beta"
    with h5py.File(export.folder / file, "r+") as stored:
        stored[f"albert_model/{name}:0"][3] += 0.5
    assert (
        fails("weights", export)
        == f"{file}: not the weights of the model in 1 of {25 + 7 * (file != keras_h5.ENCODER_FILE)} arrays: {name}"
    )
    assert f"{file} and the model that was trained differ in sequence_output by" in fails(file, export)
    run_check("saved_model", export)
    assert file in fails("agreement", export)


def test_a_row_of_a_piece_that_no_golden_sentence_has_is_missed_by_no_check(export, expected):
    """Outputs do not show it; the digests do."""
    used = np.unique(np.concatenate([inputs["input_word_ids"].ravel() for inputs in expected.cases.values()]))
    unused = next(i for i in range(1000) if i not in used)
    with h5py.File(export.folder / keras_h5.ENCODER_FILE, "r+") as stored:
        stored[f"albert_model/{EMBEDDINGS}:0"][unused, 0] += 1e-3
    assert run_check(keras_h5.ENCODER_FILE, export).passed
    assert EMBEDDINGS in fails("weights", export)


def test_a_truncated_h5_is_named(export):
    path = export.folder / keras_h5.FULL_FILE
    path.write_bytes(path.read_bytes()[:5000])
    for name in ("weights", keras_h5.FULL_FILE):
        assert "tf2_model_full.h5: not a complete tf2_model_full.h5" in fails(name, export)


def test_a_saved_model_with_other_weights_is_named(export, small_config, tokenizer):
    other = Model(small_config, random_weights(small_config, seed=1), tokenizer.vocabulary)
    shutil.rmtree(export.folder / "saved_model")
    saved_model.write(export.folder / "saved_model", other.network(), export.folder / "vocab" / "spm.model")
    assert "saved_model: not the weights of the model in 32 of 32 arrays" in fails("weights", export)
    said = fails("saved_model", export)
    assert said.startswith("saved_model (signature) and the model that was trained differ in ")


def test_a_saved_model_with_the_weights_in_another_network_is_named(export, model):
    """The weights are right, what is computed with them is not."""
    config = model.config.model_copy(update={"num_attention_heads": 8})
    shutil.rmtree(export.folder / "saved_model")
    changed = Model(config, model.weights, model.vocabulary)
    saved_model.write(export.folder / "saved_model", changed.network(), export.folder / "vocab" / "spm.model")
    assert run_check("weights", export).passed
    assert "saved_model/assets.extra" not in fails("saved_model", export)
    assert "num_attention_heads is 8, should be 4" in fails("config", export)


def test_a_missing_saved_model_is_named(export):
    shutil.rmtree(export.folder / "saved_model")
    assert "saved_model" in fails("signatures", export)


def _save_again(export, signatures):
    """The same module with other signatures."""
    module = tf.saved_model.load(str(export.folder / "saved_model"))
    target = export.folder / "again"
    tf.saved_model.save(module, str(target), signatures=signatures(module))
    shutil.rmtree(export.folder / "saved_model")
    target.rename(export.folder / "saved_model")


def test_a_missing_signature_is_named(export):
    _save_again(export, lambda module: {"encode": module.signatures["serving_default"]})
    assert fails("signatures", export) == "saved_model: has no signature serving_default (it has: encode)"


def test_a_signature_with_another_name_of_an_input_is_named(export):
    def renamed(module):
        spec = tf.TensorSpec([None, None], tf.int32)
        call = tf.function(
            lambda input_ids, input_mask, input_type_ids: module.signatures["serving_default"](
                input_word_ids=input_ids, input_mask=input_mask, input_type_ids=input_type_ids
            )
        )
        return {"serving_default": call.get_concrete_function(spec, spec, spec)}

    _save_again(export, renamed)
    assert "the inputs of serving_default are input_ids int32 [?, ?]" in fails("signatures", export)


def test_a_saved_model_without_the_mlm_is_named(export, model):
    shutil.rmtree(export.folder / "saved_model")
    saved_model.write(export.folder / "saved_model", model.network(), None, ("encoder", "pooler"))
    assert fails("signatures", export) == "saved_model: has no mlm"
    assert "has no vocabulary among its assets" in fails("saved_model vocabulary", export)


@pytest.fixture(scope="module")
def other_vocabulary(documents):
    return train((s for d in documents[60:90] for s in d.sentences), 1000, TokenizerSettings()).vocabulary


@pytest.mark.parametrize(
    ("check", "file"),
    [
        ("vocabulary", "vocab/spm.model"),
        ("saved_model vocabulary", "saved_model/assets/spm.model"),
        ("huggingface vocabulary", "huggingface/spiece.model"),
    ],
)
def test_a_swapped_vocabulary_is_named(export, other_vocabulary, check, file):
    assert (export.folder / file).is_file()
    (export.folder / file).write_bytes(other_vocabulary.content)
    said = fails(check, export)
    assert said.startswith(file.split("/")[0])
    assert "has other ids from piece" in said or "is not the vocabulary of training" in said


def test_a_vocabulary_that_keeps_case_is_named(export):
    (export.folder / "vocab" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert "'The court held" in fails("vocabulary", export)


def test_other_scores_in_tokenizer_json_are_named(export):
    path = export.folder / "huggingface" / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["vocab"] = [[piece, -1.0] for piece, _ in values["model"]["vocab"]]
    path.write_text(json.dumps(values))
    assert "has other ids from piece" in fails("huggingface vocabulary", export)


def set_huggingface_config(export, **values):
    path = export.folder / "huggingface" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_wrong_activation_in_the_hugging_face_config_is_named(export):
    set_huggingface_config(export, hidden_act="gelu")
    assert fails("config", export) == "huggingface/config.json: hidden_act is gelu_erf, should be gelu"


@pytest.mark.interop
def test_a_wrong_activation_shows_in_what_transformers_computes(export):
    pytest.importorskip("transformers")
    set_huggingface_config(export, hidden_act="gelu")
    assert "huggingface and the model that was trained differ in" in fails("huggingface", export)
    run_check(keras_h5.FULL_FILE, export)
    assert "huggingface" in fails("agreement", export)


@pytest.mark.interop
def test_keys_that_transformers_misses_or_does_not_know_are_named(export):
    pytest.importorskip("transformers")
    path = export.folder / "huggingface" / "model.safetensors"
    tensors = load_file(path)
    tensors["albert.pooler.scale"] = tensors.pop("albert.pooler.bias")
    save_file(tensors, path, {"format": "pt"})
    said = fails("huggingface keys", export)
    assert "missing_keys: albert.pooler.bias" in said
    assert "unexpected_keys: albert.pooler.scale" in said


def test_a_package_whose_variables_cannot_be_trained_is_named(export, model):
    """As a SavedModel that was made without showing its variables."""
    live = model.network()
    module = saved_model.EncoderModule(live, export.folder / "vocab" / "spm.model")
    module.trainable_variables = module.trainable_variables[:20]
    specs = {name: tf.TensorSpec([None, None], tf.int32) for name in saved_model.ENCODER_INPUTS}
    for training in (True, False):
        module.__call__.get_concrete_function(specs, training=training)
        module.__call__.get_concrete_function(list(specs.values()), training=training)
    shutil.rmtree(export.folder / "saved_model")
    signatures = {"serving_default": saved_model.encoder_signature(module)}
    tf.saved_model.save(module, str(export.folder / "saved_model"), signatures=signatures)
    assert fails("fine-tuning", export) == "saved_model: hub.KerasLayer shows 20 trainable variables, should be 25"


# === The process ===


def checking_processes():
    module = "albert_model.publishing.export_check"
    return [p for p in psutil.Process().children(recursive=True) if module in p.cmdline()]


def test_a_process_that_dies_is_a_check_that_fails(written, model):
    killed = threading.Thread(target=_kill_at_the_second_check, daemon=True)
    killed.start()
    found = check_export(written, model)
    killed.join()
    failed = [check for check in found if check.passed is False]
    assert [check.name for check in failed] == [PROCESS]
    assert "was killed by SIGKILL, in the check " in failed[0].said
    assert found[0] == Check("config", True, "the sizes are the model's in all files", found[0].seconds)
    assert {check.name for check in found} == {*CHECKS, PROCESS}
    assert found[-1].passed is None and found[-1].said == "not reached: the process that checks is gone"
    assert not export_process.passed(found)


def _kill_at_the_second_check():
    while not (processes := checking_processes()):
        time.sleep(0.01)
    results = Path(processes[0].cmdline()[-1])
    while not (results.is_file() and json.loads(results.read_text())["checks"]):
        time.sleep(0.001)
    processes[0].send_signal(signal.SIGKILL)


def test_a_process_that_takes_too_long_is_ended(written, model):
    found = check_export(written, model, time_limit=0.5)
    (failed,) = (check for check in found if check.passed is False)
    assert failed.said.startswith("the process that checks did not end within 0.5 seconds, before the first check")
    assert checking_processes() == []


def test_what_a_process_started_ends_with_it(tmp_path):
    """As a model server does when the process that asked it crashes."""
    code = (
        "import os, subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, file=sys.stderr); os.abort()"
    )
    how, stderr = export_process._run([sys.executable, "-c", code], str(tmp_path), 60)
    assert how == "was killed by SIGABRT"
    _must_be_gone(int(stderr.split()[0]))


def _must_be_gone(pid):
    until = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.05)


def test_no_checks_are_no_blessing():
    good, skipped, bad = Check("a", True, ""), Check("b", None, ""), Check("c", False, "")
    assert export_process.passed([good, skipped])
    assert not any(map(export_process.passed, ([], [skipped], [good, bad])))


# === The model server, as far as it goes without one ===


def program(folder, monkeypatch, text):
    """A program on PATH that has the server's name."""
    path = folder / "bin" / model_server.PROGRAM
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")


def test_without_a_server_on_the_path_the_check_says_so(written, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = run_check("model server", Export(written, expected))
    assert (found.passed, found.said) == (None, "tensorflow_model_server is not on PATH here")


def test_a_server_that_dies_is_a_failed_check(export, tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "#!/bin/sh\necho first\necho 'bad allocation' >&2\nexit 3\n")
    assert fails("model server", export) == "tensorflow_model_server ended with status 3: bad allocation"


SILENT = "#!/bin/sh\n{trap}echo $$ > {pid}\necho loading\n{wait}\n"
LISTENS = (
    "exec {python} -c \"import socket, sys, time; ports = [int(a.split('=')[1]) for a in sys.argv if 'port=' in a]; "
    's = [socket.create_server((\'127.0.0.1\', p)) for p in ports]; time.sleep(600)" "$@"'
)


@pytest.mark.parametrize(
    ("trap", "wait"),
    [("", "exec sleep 600"), ("trap '' TERM; ", "while :; do sleep 0.1; done"), ("", LISTENS)],
    ids=["never listens", "does not want to end", "listens and never answers"],
)
def test_a_server_that_never_answers_is_a_failed_check_and_is_ended(export, tmp_path, monkeypatch, trap, wait):
    pid = tmp_path / "pid"
    program(tmp_path, monkeypatch, SILENT.format(trap=trap, pid=pid, wait=wait.format(python=sys.executable)))
    monkeypatch.setattr(model_server, "_SECONDS_TO_END", 0.5)
    with pytest.raises(model_server.ServerError, match=r"was not ready after 1\.5 seconds: loading"):
        check_model_server(export, start_seconds=1.5)
    _must_be_gone(int(pid.read_text()))


def test_the_ports_are_free():
    first, second = model_server._free_ports(2)
    assert first != second
    listening = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    assert f":{first:04X} 00000000:0000 0A" not in listening
