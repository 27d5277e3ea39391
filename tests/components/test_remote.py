"""Artifacts that lie elsewhere than on a disk: in `ram://`, TensorFlow's file system in memory."""

import shutil
import tempfile
from types import SimpleNamespace

import pytest
import tensorflow as tf
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils
from tfx.types import standard_artifacts

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.publishing.versions import Versions
from albert_model.weights import network as network_weights
from albert_model.weights import package
from albert_model.weights.model import Model
from components import ParityReport, Tokenizer, manifests
from components.hub_converter import executor as hub_converter
from components.initial_model import executor as initial_model
from components.model_layout import NO_MODEL, holds_model, holds_model_at, package_folder
from components.remote import folders_here, read_package, read_vocabulary, write_package, write_vocabulary
from components.report import executor as report
from components.report import provenance
from tests.components.published import DOCUMENTS, blessing, infra_blessing, make_run
from tests.components.ram import copy_in, read


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def ram(tmp_path):
    return f"ram://{tmp_path.name}"


@pytest.fixture(scope="module")
def model(small_config, tokenizer):
    return Model(small_config, network_weights.read(AlbertPretrainer(small_config, seed=3)), tokenizer.vocabulary)


def test_what_is_on_a_disk_stays_where_it_is(tmp_path, temporary):
    with folders_here() as here:
        assert here.of_input(str(tmp_path / "in")) == tmp_path / "in"
        assert here.of_output(str(tmp_path / "out")) == tmp_path / "out"
        assert not list(temporary.iterdir())


def test_what_is_elsewhere_is_here_for_a_while(tmp_path, ram, temporary):
    (tmp_path / "in" / "b").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("one")
    (tmp_path / "in" / "b" / "c.bin").write_bytes(bytes(range(256)) * 100)
    uri = copy_in(tmp_path / "in", f"{ram}/in")
    with folders_here() as here:
        folder = here.of_input(uri)
        assert (folder / "a.txt").read_text() == "one"
        assert (folder / "b" / "c.bin").read_bytes() == bytes(range(256)) * 100
        assert here.of_input(uri) == folder
        assert here.of_input(f"{uri}/a.txt").read_text() == "one"
        out = here.of_output(f"{ram}/out")
        (out / "d").mkdir(parents=True)
        (out / "d" / "e").write_text("two")
        assert not tf.io.gfile.exists(f"{ram}/out")
    assert read(f"{ram}/out/d/e") == b"two"
    assert not list(temporary.iterdir())


def test_nothing_is_uploaded_of_what_failed(ram, temporary):
    with pytest.raises(ZeroDivisionError), folders_here() as here:
        folder = here.of_output(f"{ram}/out")
        folder.mkdir()
        (folder / "a").write_text("half")
        _ = 1 / 0
    assert not tf.io.gfile.exists(f"{ram}/out")
    assert not list(temporary.iterdir())


def test_errors_name_what_the_user_knows(model, ram, temporary):
    write_package(f"{ram}/model", model)
    with tf.io.gfile.GFile(f"{ram}/model/config.json", "w") as file:
        file.write("{")
    with pytest.raises(InputError, match=rf"^{ram}/model/config.json"):
        read_package(f"{ram}/model")


def test_a_disk_that_is_full_is_said_to_be(ram, temporary, monkeypatch):
    with tf.io.gfile.GFile(f"{ram}/in/a", "w") as file:
        file.write("x" * 1000)

    def full(self, lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("components.remote._write", full)
    with (
        pytest.raises(InputError, match=rf"^{ram}/in: cannot be copied to {temporary}/.*No space left.*TMPDIR"),
        folders_here() as here,
    ):
        here.of_input(f"{ram}/in")


def test_a_name_that_leads_out_of_the_folder_is_refused(ram, temporary, monkeypatch):
    """As objects of a bucket can have."""
    monkeypatch.setattr("albert_model.publishing.stores.Elsewhere.files", lambda *_: ["../../evil"])
    with pytest.raises(InputError, match="outside of its folder"), folders_here() as here:
        here.of_input(f"{ram}/in")


def test_packages_and_vocabularies_come_back_as_they_were(model, tokenizer, tmp_path, ram):
    write_package(f"{ram}/model", model)
    package.write(tmp_path / "model", model)
    back = read_package(f"{ram}/model")
    assert (back.config, back.source) == (model.config, f"{ram}/model")
    assert all((back.weights[name] == model.weights[name]).all() for name in model.weights)
    for path in (path for path in (tmp_path / "model").rglob("*") if path.is_file()):
        assert read(f"{ram}/model/{path.relative_to(tmp_path / 'model').as_posix()}") == path.read_bytes()
    write_vocabulary(f"{ram}/vocabulary", tokenizer)
    assert read_vocabulary(f"{ram}/vocabulary").fingerprint == tokenizer.fingerprint


# === Components ===


def artifact_at(kind, uri):
    made = kind()
    made.uri = uri
    return made


@pytest.fixture
def no_model(ram):
    """As PublishedModel writes it where nothing is published."""
    empty = artifact_at(standard_artifacts.Model, f"{ram}/none")
    manifests.write(empty, {"source": NO_MODEL})
    return empty


def test_whether_there_is_a_model(model, no_model, ram):
    trained = artifact_at(standard_artifacts.Model, f"{ram}/trained")
    write_package(package_folder(trained.uri), model)
    gone = artifact_at(standard_artifacts.Model, f"{ram}/gone")
    assert [holds_model(each) for each in (None, no_model, trained, gone)] == [False, False, True, True]
    assert [holds_model_at(each.uri) for each in (no_model, trained, gone)] == [False, True, False]


def test_a_model_that_is_none_is_as_no_model(model, no_model, small_config, ram):
    config, converted = small_config.model_dump_json(), artifact_at(standard_artifacts.Model, f"{ram}/converted")
    initial_model.choose(artifact_at(standard_artifacts.Model, f"{ram}/a"), no_model, None, config)
    assert manifests.read(f"{ram}/a")["source"] == "random"
    write_package(package_folder(converted.uri), model)
    manifests.write(converted, {"initialised": ["sop"]})
    initial_model.choose(artifact_at(standard_artifacts.Model, f"{ram}/b"), no_model, converted, config)
    made = manifests.read(f"{ram}/b")
    assert [made[key] for key in ("source", "model_uri", "fresh_heads")] == ["converted model", converted.uri, ["sop"]]


def test_a_blessed_model_that_is_gone_is_an_error_and_no_new_start(small_config, ram):
    gone = artifact_at(standard_artifacts.Model, f"{ram}/gone")
    output = artifact_at(standard_artifacts.Model, f"{ram}/a")
    with pytest.raises(InputError, match=rf"^{package_folder(gone.uri)}/config.json"):
        initial_model.choose(output, gone, None, small_config.model_dump_json())
    assert not tf.io.gfile.exists(f"{ram}/a/manifest.json")


@pytest.mark.parametrize("given", ["folder", "prefix", "archive"])
def test_weights_that_lie_elsewhere_are_converted(checkpoint, tmp_path, ram, given):
    made, folder = checkpoint
    source = copy_in(folder, f"{ram}/released")
    if given == "prefix":
        source += "/model.ckpt-best"
    if given == "archive":
        shutil.make_archive(str(tmp_path / "archive" / "released"), "gztar", folder)
        source = copy_in(tmp_path / "archive", f"{ram}/archive") + "/released.tar.gz"
    outputs = [
        artifact_at(kind, f"{ram}/{kind.__name__}") for kind in (standard_artifacts.Model, Tokenizer, ParityReport)
    ]
    hub_converter.convert(*outputs, source, "{}")
    model, vocabulary, parity = (each.uri for each in outputs)
    read_back = read_package(package_folder(model))
    assert all((read_back.weights[name] == made.weights[name]).all() for name in made.only(("encoder", "mlm")).weights)
    assert manifests.read(model)["source"] == source
    assert manifests.read_json(package_folder(model), "conversion.json")["source"]["name"] == source
    assert manifests.read_json(parity, "parity.json")["agrees"]
    assert read_vocabulary(vocabulary).fingerprint == made.tokenizer.fingerprint
    assert f"{tempfile.gettempdir()}/" not in read(f"{package_folder(model)}/conversion.json").decode()


# === Artifacts as containers of Vertex AI and Kubeflow get them ===


def as_in_a_container(artifact):
    """TFX writes it as JSON and reads it in the next container: numbers are floats, custom properties are structs."""
    text = json_format.MessageToJson(kubeflow_v2_entrypoint_utils.to_runtime_artifact(artifact, {}))
    sent = json_format.Parse(text, pipeline_spec_pb2.RuntimeArtifact())
    sent.name, sent.type.schema_title = f"artifacts/{artifact.type_name}", _title(artifact)
    return kubeflow_v2_entrypoint_utils._parse_raw_artifact(sent, {})


def _title(artifact):
    is_own = type(artifact).__module__.startswith("components")
    return artifact.type_name if is_own else f"tfx.{artifact.type_name}"


@pytest.fixture
def pushed(model, tmp_path):
    """What EncoderPusher makes of such artifacts."""

    def push(blessed=True, infra=True, **documents):
        encoder = tmp_path / "encoder"
        if not encoder.exists():
            package.write(encoder, model)
        run = make_run(tmp_path, encoder, f"run{blessed}{infra}")
        given = run.inputs | {"model_blessing": blessing(blessed), "infra_blessing": infra_blessing(infra)}
        if documents:
            manifests.write(given["documents"], DOCUMENTS | documents)
        return run.push(tmp_path / "to", **{name: as_in_a_container(a) for name, a in given.items()})

    return push


def test_blessings_and_spans_are_read_in_a_container(pushed, tmp_path):
    assert as_in_a_container(pushed()).get_int_custom_property("pushed") == 1
    (version,) = Versions(str(tmp_path / "to")).all()
    assert version.manifest["spans"] == [2]


@pytest.mark.parametrize("missing", ["blessed", "infra"])
def test_a_blessing_that_is_not_given_is_none_in_a_container(pushed, tmp_path, missing):
    assert pushed(**{missing: False}).get_int_custom_property("pushed") == 0
    assert not (tmp_path / "to").exists()


def test_the_spans_of_a_window_are_told_without_those_that_are_replayed(pushed, tmp_path):
    parts = {1: "replay", 2: "window", 3: "newest"}
    pushed(span=3, spans=[{"span": span, "part": part} for span, part in parts.items()], replayed_share=0.2)
    (version,) = Versions(str(tmp_path / "to")).all()
    assert version.manifest["spans"] == [2, 3]
    assert version.manifest["documents"]["replayed_share"] == 0.2


def test_what_a_report_reads_of_properties_is_the_same_in_a_container(pushed):
    documents = artifact_at(standard_artifacts.Examples, "documents")
    documents.set_int_custom_property("span", 3)
    documents.set_string_custom_property("fingerprint", "aa")
    artifacts = {"documents": documents, "pushed_model": pushed()}
    there = {name: as_in_a_container(artifact) for name, artifact in artifacts.items()}
    assert report._span(there) == report._span(artifacts) == 3
    assert provenance._document_facts(there) == provenance._document_facts(artifacts)
    verdict, export = (SimpleNamespace(blessed=True, passed=True) for _ in range(2))
    assert report.outcome(there, verdict, export) == report.outcome(artifacts, verdict, export)
    assert "pushed as version 1" in report.outcome(there, verdict, export)["headline"]
