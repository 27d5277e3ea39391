"""The pipeline as a specification that Vertex AI and Kubeflow run (schema 2.1 of kfp-pipeline-spec)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from albert_model.errors import InputError
from pipeline.cloud.settings import Target
from pipeline.settings import PipelineSettings

BASE_MODEL = "base_model"  # parameters of Kubeflow's specification
SPAN = "span"


def compile_pipeline(
    settings: PipelineSettings, target: Target, parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The pipeline as a job: `pipelineSpec`, and `runtimeConfig` with root and parameters.

    Args:
      settings: with `cloud`. For Kubeflow the span is a number; see `pipeline.spans.for_target`.
      parameters: values of the specification's parameters, in place of the settings' own.

    Raises:
      InputError: settings that the target needs are missing.
    """
    from pipeline.cloud.runner import runner_of  # TFX takes seconds to import, and prints
    from pipeline.pipeline import create_pipeline

    runner = runner_of(settings, target)
    return runner.run(create_pipeline(settings, target), parameters, write_out=False)


def write(job: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes the whole job as .json, as Vertex AI takes it, or its specification as .yaml, as Kubeflow does.

    Raises:
      InputError: the name ends in neither, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise InputError(f"--output {path}: the name should end in .json (Vertex AI) or .yaml (Kubeflow).")
    text = json.dumps(job, indent=2, sort_keys=True) + "\n" if path.suffix == ".json" else _as_yaml(job)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.new")
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise InputError(f"--output {path}: cannot be written ({error.strerror}).") from error


def task_count(job: dict[str, Any]) -> int:
    """How many tasks run containers."""
    return len(job["pipelineSpec"]["deploymentSpec"]["executors"])


def _as_yaml(job: dict[str, Any]) -> str:
    """The specification; the parameters' values become their defaults, as a file for Kubeflow has nothing else."""
    spec = json.loads(json.dumps(job["pipelineSpec"]))
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in job["runtimeConfig"].get("parameterValues", {}).items():
        parameters[name]["defaultValue"] = value
    return yaml.safe_dump(spec, sort_keys=True)
