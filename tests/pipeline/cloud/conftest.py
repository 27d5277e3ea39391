"""Settings of a pipeline in a cloud, and stand-ins for the services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.cloud.retries import Patience
from pipeline.settings import PipelineSettings, load_settings
from tests.demo import ROOT
from tests.pipeline.cloud.fakes import FakeKubeflow, FakeVertex, serving

QUICK = Patience(attempts=3, first_seconds=0.01, most_seconds=0.02)
LASTING = Patience(attempts=6, first_seconds=0.01, most_seconds=0.02, tells_once=True)


@pytest.fixture
def cloud_settings() -> Callable[..., PipelineSettings]:
    """Settings with these values in `cloud`."""

    def made(**cloud: Any) -> PipelineSettings:
        remote = {
            "root": "gs://bucket/root",
            "corpus.path": "gs://bucket/corpus",
            "push.destination": "gs://bucket/out",
        }
        values = remote | {"name": "news", "cloud": {"image": "example/albert:1.0", "project": "a-project", **cloud}}
        return load_settings(ROOT / "configs" / "pipelines" / "demo.yaml", values)

    return made


@pytest.fixture
def job() -> dict[str, Any]:
    """A job of one task, with a parameter."""
    container = {"image": "example/albert:1.0", "command": ["true"]}
    specification = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "news"},
        "root": {
            "dag": {"tasks": {"one": {"taskInfo": {"name": "one"}, "componentRef": {"name": "comp-one"}}}},
            "inputDefinitions": {"parameters": {"base_model": {"parameterType": "STRING"}}},
        },
        "components": {"comp-one": {"executorLabel": "exec-one"}},
        "deploymentSpec": {"executors": {"exec-one": {"container": container}}},
    }
    runtime = {"gcsOutputDirectory": "gs://bucket/root", "parameterValues": {"base_model": "gs://bucket/model"}}
    return {"displayName": "news", "pipelineSpec": specification, "runtimeConfig": runtime, "labels": {"a": "b"}}


@pytest.fixture
def vertex(monkeypatch) -> Iterator[FakeVertex]:
    fake = FakeVertex()
    with serving(fake) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield fake


@pytest.fixture
def kubeflow(monkeypatch, tmp_path) -> Iterator[FakeKubeflow]:
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    fake = FakeKubeflow()
    with serving(fake):
        yield fake
