"""The graph of Vertex AI with every artifact, the checkpoints and the versions in `ram://`: no component has a disk
but for what it removes. Containers of their own are in tests/pipeline/cloud/.
"""

import json
from pathlib import Path

import pytest
import tensorflow as tf
import yaml
from tfx import v1 as tfx

from albert_model.publishing.versions import Versions
from components import manifests
from components.model_layout import NO_MODEL, package_folder
from components.remote import read_package
from pipeline.lineage import Lineage
from pipeline.pipeline import create_pipeline
from pipeline.settings import load_settings
from tests.components.ram import copy_in, read, rename_folders
from tests.conftest import MANUAL

_MODEL = {"vocab_size": 500, "embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
_MODEL |= {"intermediate_size": 32, "max_position_embeddings": 64}
_SETTINGS = {
    "name": "elsewhere",
    "examples": {"max_seq_length": 32, "max_predictions_per_seq": 5, "dupe_factor": 1},
    "training": {"batch_size": 16, "max_steps": 6, "warmup_steps": 1, "checkpoint_every": 3, "log_every": 3},
    "evaluation": {"min_documents": 2, "min_mlm_accuracy": 0, "min_sop_accuracy": 0, "min_word_order": 0},
    "beam": {"args": ["--runner=FnApiRunner"]},
    "cloud": {"image": "registry/albert:1"},
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Two spans, and labelled examples, on a disk."""
    folder = tmp_path_factory.mktemp("text")
    for span in (1, 2):
        lines = (MANUAL / f"span-{span}" / "postgresql" / "manual.txt").read_text().splitlines()
        path = folder / f"span-{span}" / "postgresql" / "manual.txt"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines[:1500]))
    (folder / "probe").mkdir()
    lines = [f"{kind} {n}\t{kind}" for n in range(20) for kind in ("index", "table")]
    (folder / "probe" / "labels.tsv").write_text("\n".join(lines))
    return folder


def run(folder, text, place, span):
    """What each node did in a run of that span, with everything but the metadata at `place`."""
    (folder / "model.json").write_text(json.dumps(_MODEL))
    probe = {"path": f"{text}/probe/labels.tsv", "seeds": 2, "epochs": 1}
    settings = _SETTINGS | {
        "root": f"{place}/pipeline",
        "model": str(folder / "model.json"),
        "corpus": {"path": str(text), "eval_fraction": 0.2, "span": span},
        "push": {"destination": f"{place}/encoders"},
        "evaluation": _SETTINGS["evaluation"] | {"probe": probe},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(settings))
    pipeline = create_pipeline(load_settings(folder / "pipeline.yaml"), "vertex")
    metadata = str(folder / "metadata.sqlite")
    pipeline.metadata_connection_config = tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata)
    tfx.orchestration.LocalDagRunner().run(pipeline)
    lineage = Lineage(metadata)
    return lineage.nodes(lineage.run_ids[-1])


@pytest.fixture(scope="module")
def ram(tmp_path_factory):
    return f"ram://{tmp_path_factory.mktemp('elsewhere').name}"


@pytest.fixture(scope="module")
def runs(text, ram, tmp_path_factory):
    folder, remote_text = tmp_path_factory.mktemp("runs"), copy_in(text, f"{ram}/text")
    with pytest.MonkeyPatch.context() as patch:
        rename_folders(patch)
        return [run(folder, remote_text, ram, span) for span in (1, 2)]


def test_every_component_works(runs, ram):
    for run in runs:
        assert {node.state for node in run.values()} == {"COMPLETE"}
        assert all(made.uri.startswith(f"{ram}/") for node in run.values() for made in node.outputs.values())


def test_the_first_run_starts_from_nothing_and_is_compared_with_nothing(runs):
    first = runs[0]
    for node in ("StartModel", "BaselineModel"):
        assert manifests.read(first[node].outputs["model"].uri)["source"] == NO_MODEL
    assert manifests.read(first["InitialModel"].outputs["model"].uri)["source"] == "random"
    verdict = manifests.read_json(first["Evaluator"].outputs["evaluation"].uri, "verdict.json")
    assert verdict["comparison"] == "no baseline"
    assert manifests.read_json(first["Probe"].outputs["probe"].uri, manifests.PROBE)["baseline"] is None


def test_the_second_run_goes_on_from_what_the_first_published(runs, ram):
    first, second = runs
    model = first["Trainer"].outputs["model"].uri
    training = manifests.read_training(second["Trainer"].outputs["model"].uri)
    assert training["start"] | {"model_uri": model, "source": "blessed model"} == training["start"]
    verdict = manifests.read_json(second["Evaluator"].outputs["evaluation"].uri, "verdict.json")
    assert (verdict["comparison"], verdict["baseline"]) == ("same predictions", model)
    assert {text["text"] for text in verdict["texts"]} == {"this text", "text before"}
    assert manifests.read_json(second["Probe"].outputs["probe"].uri, manifests.PROBE)["baseline"]


def test_what_was_published_is_the_trained_model_and_says_where_it_lies(runs, ram):
    first = runs[0]
    model = first["Trainer"].outputs["model"].uri
    versions = Versions(f"{ram}/encoders")
    assert versions.numbers()[0] == 1
    manifest = versions.all()[0].manifest
    assert (manifest["lineage"]["model"], manifest["spans"]) == (model, [1])
    assert manifest["lineage"]["examples"]["uri"] == first["PretrainingExampleGen"].outputs["examples"].uri
    trained, pushed = read_package(package_folder(model)), read_package(f"{ram}/encoders/1")
    assert all((trained.weights[name] == pushed.weights[name]).all() for name in trained.weights)


def test_it_is_what_a_disk_gives_byte_for_byte(runs, ram, text, tmp_path):
    here = run(tmp_path, text, tmp_path, 1)
    for node, output in (("DocumentGen", "examples"), ("PretrainingExampleGen", "examples")):
        local, remote = (each[node].outputs[output].uri for each in (here, runs[0]))
        for path in Path(local).glob("Split-*/*"):
            assert read(f"{remote}/{path.relative_to(local)}") == path.read_bytes()
    pushed = [Versions(f"{place}/encoders").all()[0].manifest["files"] for place in (tmp_path, ram)]
    assert {name for name in pushed[0] if pushed[0][name] != pushed[1].get(name)} == {"MODEL_CARD.md"}


def test_the_training_left_its_metrics_and_no_checkpoint(runs, ram):
    for run in runs:
        folder = run["Trainer"].outputs["model_run"].uri
        steps = [json.loads(line)["step"] for line in read(f"{folder}/metrics.jsonl").splitlines()]
        assert steps[-1] == 6
        assert tf.io.gfile.glob(f"{folder}/train/events*")
    assert not tf.io.gfile.glob(f"{ram}/pipeline/checkpoints/*")


def test_the_report_has_every_part(runs):
    page = read(f"{runs[1]['Report'].outputs['report'].uri}/report.html").decode()
    left_out = [line.strip() for line in page.splitlines() if "left out" in line]
    assert left_out
    assert all("previous statistics" in line for line in left_out), left_out
