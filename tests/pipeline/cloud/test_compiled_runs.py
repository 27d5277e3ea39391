"""The compiled pipeline does what the local one does, to the last bit."""

import json
from pathlib import Path

import pytest

from albert_model.publishing.versions import Versions
from albert_model.weights import package
from components import manifests
from components.model_layout import origin_of
from pipeline.cloud.compiler import compile_pipeline
from pipeline.cloud.settings import WorkerPoolSettings
from pipeline.settings import PipelineSettings, load_settings
from tests.demo import QUICK, ROOT
from tests.pipeline.cloud.custom_jobs import run_module_with_jobs
from tests.pipeline.cloud.spec_run import Cluster


def settings_at(root: Path, span: int | str, **more) -> PipelineSettings:
    values = {
        "root": str(root),
        "push.destination": str(root / "encoders"),
        "corpus.path": str(ROOT / "tests/data/postgresql-manual"),
        "corpus.span": span,
        "model": str(ROOT / "configs/models/tiny.json"),
        "cloud": {"image": "example/albert:1.0"},
        **QUICK,
        **more,
    }
    return load_settings(ROOT / "configs/pipelines/demo.yaml", values)


def assert_same_weights(pushed, expected):
    one, other = package.read(pushed).weights, package.read(expected).weights
    assert set(one) == set(other)
    assert all((one[name] == other[name]).all() for name in one)


@pytest.fixture(scope="module")
def vertex(tmp_path_factory):
    """Span 1, then the newest, then the newest again."""
    root = tmp_path_factory.mktemp("vertex")
    cluster = Cluster(root, "vertex")
    jobs = [compile_pipeline(settings_at(root, span), "vertex") for span in (1, "latest", "latest")]
    return cluster, root, [cluster.run(job) for job in jobs]


def test_vertex_pushes_the_encoders_of_the_local_runs(vertex, demo):
    _, root, _ = vertex
    assert Versions(str(root / "encoders")).numbers() == [1, 2]
    for number in ("1", "2"):
        assert_same_weights(root / "encoders" / number, demo.encoders / number)


def test_vertex_finds_the_newest_span_when_it_runs(vertex):
    *_, (first, second, third) = vertex
    assert [run["DocumentGen"].parameters["span"] for run in (first, second, third)] == [1, 2, 2]
    (patterns,) = {run["DocumentGen"].parameters["input_config"].count("{SPAN") for run in (first, second)}
    assert patterns == 0


def test_vertex_starts_from_the_published_model_and_compares_with_it(vertex):
    *_, (first, second, _) = vertex
    assert manifests.read(first["StartModel"].outputs["model"]["uri"]) == {"format_version": 1, "source": "none"}
    trained = first["Trainer"].outputs["model"]["uri"]
    for task in ("StartModel", "BaselineModel"):
        assert origin_of(second[task].outputs["model"]["uri"]) == trained


def test_vertex_does_nothing_where_nothing_is_new(vertex):
    *_, (first, second, third) = vertex
    assert not any(task.cached for task in [*first.values(), *second.values()])
    assert all(task.cached for task in third.values())


def test_the_trainer_can_be_a_custom_job_of_several_machines(vertex):
    """A chief and a worker train together; the run goes on with the chief's model."""
    cluster, root, (*_, before) = vertex
    small = {"training.max_steps": 20, "training.strategy": "multiworker"}
    settings = settings_at(root, "latest", **small)
    pools = WorkerPoolSettings(machine_type="n1-standard-4", workers=1)
    cloud = settings.cloud.model_copy(update={"trainer": pools, "project": "p"})
    cluster.start = run_module_with_jobs
    done = cluster.run(compile_pipeline(settings.model_copy(update={"cloud": cloud}), "vertex"), last="Trainer")
    assert done["Transform"].cached and not done["Trainer"].cached
    training = manifests.read_training(done["Trainer"].outputs["model"]["uri"])
    assert training["steps"] == 20
    assert training["start"]["model_uri"] == origin_of(before["StartModel"].outputs["model"]["uri"])


def test_kubeflow_takes_span_and_base_model_as_parameters(demo, tmp_path):
    """What a submission finds out beforehand: see `pipeline.cloud.submit`."""
    base_model = package_model(demo.encoders / "1")
    job = compile_pipeline(settings_at(tmp_path, 2), "kfp", {"base_model": base_model, "span": 2})
    done = Cluster(tmp_path, "kfp").run(job)
    assert origin_of(done["StartModel"].outputs["model"]["uri"]) == base_model
    assert done["DocumentGen"].parameters["given_span"] == 2
    assert_same_weights(tmp_path / "encoders" / "1", demo.encoders / "2")


def package_model(version: Path) -> str:
    return json.loads((version / "manifest.json").read_text())["lineage"]["model"]
