"""The pipeline as a specification that Vertex AI and Kubeflow run (schema 2.1 of kfp-pipeline-spec)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import yaml

from albert_model.errors import InputError
from pipeline.cloud.settings import DEFAULT, CloudSettings, ResourceSettings
from pipeline.settings import PipelineSettings

CloudTarget = Literal["vertex", "kfp"]
_BYTES = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def compile_pipeline(
    settings: PipelineSettings, target: CloudTarget, parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The pipeline as a job: `pipelineSpec`, and `runtimeConfig` with root and parameters.

    Args:
      settings: with `cloud`. For Kubeflow the span is a number; see `pipeline.cloud.submission.resolved`.
      parameters: values of the specification's parameters, in place of the settings' own.

    Raises:
      InputError: settings that the target needs are missing.
    """
    cloud = _cloud(settings)
    # Imported here: TFX takes seconds to import, and prints.
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as tfx_runner

    from pipeline.cloud import nodes
    from pipeline.pipeline import create_pipeline

    images = {"default_image_path": cloud.image, **cloud.images}
    config = tfx_runner.KubeflowV2DagRunnerConfig(
        display_name=settings.name, default_image=images, use_pipeline_spec_2_1=True
    )
    runner = tfx_runner.KubeflowV2DagRunner(config)
    if cloud.notify:
        runner.set_exit_handler(nodes.failure_notice(settings, cloud.notify))
    values = nodes.parameters(settings, target) | (parameters or {})
    job = runner.run(create_pipeline(settings, target), parameter_values=values, write_out=False)
    _set_resources(job["pipelineSpec"], cloud)
    job["pipelineSpec"]["defaultPipelineRoot"] = settings.root
    return job


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


def _cloud(settings: PipelineSettings) -> CloudSettings:
    if settings.cloud is None:
        raise InputError(
            "cloud: the settings have no such section. Name the image of kubeflow/Dockerfile there at least: "
            "`cloud: {image: …}`; docs/vertex.md and docs/kubeflow.md show whole files."
        )
    return settings.cloud


def _set_resources(spec: dict[str, Any], cloud: CloudSettings) -> None:
    """TFX sets them for some kinds of components only."""
    executors = spec["deploymentSpec"]["executors"]
    components = {label.removesuffix("_executor"): executor for label, executor in executors.items()}
    if unknown := sorted({*cloud.resources, *cloud.images} - {DEFAULT} - set(components)):
        raise InputError(
            f"cloud.resources, cloud.images: the pipeline has no component {unknown[0]}; it has {', '.join(components)}."
        )
    for name, executor in components.items():
        wanted = cloud.resources.get(name, cloud.resources.get(DEFAULT))
        if wanted and "container" in executor:
            executor["container"]["resources"] = _resources(wanted)


def _resources(wanted: ResourceSettings) -> dict[str, Any]:
    """A `ResourceSpec`. Each limit stands twice, as kfp's own compiler writes it: Vertex AI reads the older fields (memory
    in gigabytes, 10⁹), newer Kubeflow the text.
    """
    spec: dict[str, Any] = {}
    if wanted.cpu is not None:
        spec |= {"cpuLimit": wanted.cpu, "resourceCpuLimit": f"{wanted.cpu:g}"}
    if wanted.memory is not None:
        spec |= {"memoryLimit": gigabytes(wanted.memory), "resourceMemoryLimit": wanted.memory}
    if wanted.accelerator is not None:
        kind, count = wanted.accelerator, wanted.accelerators
        accelerator = {"type": kind, "count": str(count), "resourceType": kind, "resourceCount": str(count)}
        spec["accelerator"] = accelerator
    return spec


def gigabytes(memory: str) -> float:
    """`16G`, `512Mi` → 10⁹ bytes.

    >>> gigabytes("16G"), gigabytes("1Ti")
    (16.0, 1099.511627776)
    """
    number = memory.rstrip("KMGTi")
    return float(number) * _BYTES[memory[len(number) :]] / 1e9
