"""TFX's compiler for Vertex AI and Kubeflow, with what it leaves out."""

from __future__ import annotations

import os
from typing import Any

from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

from albert_model.errors import InputError
from pipeline.cloud import compiler, nodes
from pipeline.cloud.settings import DEFAULT, CloudSettings, ResourceSettings, Target
from pipeline.settings import PipelineSettings

_BYTES = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class Runner(KubeflowV2DagRunner):
    """Compiles; sets each component's resources, the root, and the parameters' values besides.

    `tfx pipeline compile` and `create` work with it, as with the class that it extends.
    """

    def __init__(self, settings: PipelineSettings, cloud: CloudSettings, target: Target, **output: Any):
        images = {"default_image_path": cloud.image, **cloud.images}
        config = KubeflowV2DagRunnerConfig(display_name=settings.name, default_image=images, use_pipeline_spec_2_1=True)
        super().__init__(config, **output)
        self._settings, self._cloud, self._target = settings, cloud, target
        if cloud.notify and target == "vertex":
            self.set_exit_handler(nodes.failure_notice(settings, cloud.notify))

    def run(
        self,
        pipeline: tfx.dsl.Pipeline,
        parameter_values: dict[str, Any] | None = None,
        write_out: bool | None = True,
    ) -> dict[str, Any]:
        values = nodes.parameters(self._settings, self._target) | (parameter_values or {})
        job = super().run(pipeline, values, write_out=False)
        _set_resources(job["pipelineSpec"], self._cloud)
        job["pipelineSpec"]["defaultPipelineRoot"] = self._settings.root
        if write_out:
            compiler.write(job, os.path.join(self._output_dir, self._output_filename))
        return job


def runner_of(settings: PipelineSettings, target: Target, **output: Any) -> Runner:
    """The runner for these settings.

    Args:
      output: of KubeflowV2DagRunner: `output_dir`, `output_filename`.

    Raises:
      InputError: the settings have no `cloud`.
    """
    if settings.cloud is None:
        raise InputError(
            "cloud: the settings have no such section. Name the image of kubeflow/Dockerfile there at least: "
            "`cloud: {image: …}`; docs/vertex.md and docs/kubeflow.md show whole files."
        )
    return Runner(settings, settings.cloud, target, **output)


def _set_resources(spec: dict[str, Any], cloud: CloudSettings) -> None:
    """TFX sets them for some kinds of components only."""
    executors = spec["deploymentSpec"]["executors"]
    components = {label.removesuffix("_executor"): executor for label, executor in executors.items()}
    if unknown := sorted({*cloud.resources, *cloud.images} - {DEFAULT} - set(components)):
        raise InputError(
            f"cloud.resources, cloud.images: there is no component {unknown[0]}; there are {', '.join(components)}."
        )
    for name, executor in components.items():
        wanted = cloud.resources.get(name, cloud.resources.get(DEFAULT))
        if wanted and "container" in executor:
            executor["container"]["resources"] = _resources(wanted)


def _resources(wanted: ResourceSettings) -> dict[str, Any]:
    """A `ResourceSpec`. Each limit stands twice, as kfp's own compiler writes it: Vertex AI reads the older fields
    (memory in gigabytes, 10⁹ bytes), newer Kubeflow the text.
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
