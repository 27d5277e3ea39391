"""What recurs on Kubeflow: a pipeline of one step, which submits the real one and waits for it.

Kubeflow's recurring runs freeze their parameters, and Kubeflow finds nothing out inside a run. This step looks for the
span and the model that are newest when it runs.
"""

from __future__ import annotations

from typing import Any

from albert_model.errors import InputError
from pipeline.cloud.settings import CloudSettings
from pipeline.settings import PipelineSettings

_STEP = "launch"
_TOKEN_LABEL = {"access-ml-pipeline": "true"}  # Kubeflow's PodDefault gives pods of this label a token for its API


def launcher(settings: PipelineSettings) -> dict[str, Any]:
    """The launcher as a job: see `compile_pipeline`, but for `platforms`, which stands beside the specification.

    Raises:
      InputError: `cloud` is missing.
    """
    if settings.cloud is None:
        raise InputError("cloud: the settings have no such section. It says which image runs, and where.")
    job: dict[str, Any] = {
        "displayName": settings.name,
        "pipelineSpec": _specification(settings, settings.cloud),
        "runtimeConfig": {"gcsOutputDirectory": settings.root, "parameterValues": {}},
    }
    if settings.cloud.namespace:
        label = {"podMetadata": {"labels": _TOKEN_LABEL}}
        job["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": {f"exec-{_STEP}": label}}}}
    return job


def _specification(settings: PipelineSettings, cloud: CloudSettings) -> dict[str, Any]:
    # In the cluster the API has another address than from outside, where the pages are.
    inside = settings.model_copy(update={"cloud": cloud.model_copy(update={"host": None})}).with_span("latest")
    said = inside.model_dump_json(exclude_defaults=True)
    container: dict[str, Any] = {
        "image": cloud.image,
        "command": ["albert"],
        "args": ["pipeline", "submit", "--target", "kfp", "--wait", "--config-text", said],
    }
    if cloud.host:
        container["env"] = [{"name": "KF_PIPELINES_UI_ENDPOINT", "value": cloud.host}]
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": f"{settings.name}-launcher"},
        "defaultPipelineRoot": settings.root,
        "root": {
            "dag": {
                "tasks": {
                    _STEP: {
                        "taskInfo": {"name": _STEP},
                        "componentRef": {"name": f"comp-{_STEP}"},
                        "cachingOptions": {},  # not cached: the same words mean another span next time
                    }
                }
            }
        },
        "components": {f"comp-{_STEP}": {"executorLabel": f"exec-{_STEP}"}},
        "deploymentSpec": {"executors": {f"exec-{_STEP}": {"container": container}}},
    }
