"""A compiled pipeline, read for checks: its tasks, the values that they get, the containers that run them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from albert_model.errors import InputError
from pipeline.cloud.settings import Target

UNKNOWN = object()  # the value of what another task, or the service, decides
EXECUTOR = "--executor_class_path"
_BESIDE = {"platforms"}  # stands beside the job's own fields, for Kubeflow


@dataclass(frozen=True)
class Container:
    """A command that a service starts.

    Attributes:
      task: whose it is.
      image: that it runs in.
      command, arguments: as compiled, with `{{$}}` where the service puts what the task gets.
      is_driver: it runs before the task's own, as ExampleGen's that finds the span.
    """

    task: str
    image: str
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    is_driver: bool = False

    @property
    def module(self) -> str | None:
        """What `python -m` runs."""
        words = (*self.command, *self.arguments)
        return words[words.index("-m") + 1] if "-m" in words[:-1] else None

    @property
    def executor(self) -> str | None:
        """Path of the class that TFX's entry point runs."""
        words = self.arguments
        return words[words.index(EXECUTOR) + 1] if EXECUTOR in words[:-1] else None


@dataclass(frozen=True)
class Task:
    """A node of the graph that runs something.

    Attributes:
      name: of the task.
      component: what it runs; None if there is none of that name.
      inputs: as compiled.
      parameters: values that are known; UNKNOWN for the others.
      siblings: tasks of the same graph, by name.
      executor: what runs it; None if there is none.
    """

    name: str
    component: Any
    inputs: Any
    parameters: Mapping[str, Any]
    siblings: Mapping[str, Any]
    executor: Any

    @property
    def containers(self) -> Iterator[Container]:
        if self.executor is None or self.executor.WhichOneof("spec") != "container":
            return
        container = self.executor.container
        yield Container(self.name, container.image, tuple(container.command), tuple(container.args))
        driver = container.lifecycle.pre_cache_check
        if driver.command:
            yield Container(self.name, container.image, tuple(driver.command), tuple(driver.args), is_driver=True)


@dataclass(frozen=True)
class Compiled:
    """A job.

    Attributes:
      job: as JSON has it.
      spec: its specification, parsed strictly.
      values: of the specification's own parameters.
      root: where artifacts go; empty where the job does not say.
    """

    job: Mapping[str, Any]
    spec: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""

    @property
    def tasks(self) -> list[Task]:
        return list(_tasks(self.spec.root.dag, self.spec, self.values))

    @property
    def containers(self) -> list[Container]:
        return [container for task in self.tasks for container in task.containers]


def read(path: str | Path) -> dict[str, Any]:
    """The job of a file: as it is (.json), or of the specification alone, as Kubeflow takes it (.yaml).

    Raises:
      InputError: it cannot be read, or is neither.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = json.loads(text) if Path(path).suffix == ".json" else next(iter(yaml.safe_load_all(text)), None)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give what `pipeline compile` wrote.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: is cut off or no JSON or YAML ({' '.join(str(error).split())}).") from error
    if isinstance(values, dict) and "pipelineSpec" in values:
        return values
    if isinstance(values, dict) and "pipelineInfo" in values:
        return {"pipelineSpec": values}
    raise InputError(f"{path}: holds no compiled pipeline. Give what `pipeline compile` wrote.")


def parse(job: Mapping[str, Any], target: Target) -> Compiled:
    """Reads a job into kfp's protocol buffers. A field that these do not know is an error.

    Raises:
      InputError: says which field.
    """
    job = {key: value for key, value in job.items() if key not in _BESIDE}
    try:
        if target == "kfp" and "runtimeConfig" not in job:  # a specification alone
            spec = json_format.ParseDict(job["pipelineSpec"], pb.PipelineSpec())
        else:
            json_format.ParseDict(job, pb.PipelineJob())
            spec = json_format.ParseDict(job["pipelineSpec"], pb.PipelineSpec())
    except (json_format.ParseError, TypeError, KeyError) as error:
        raise InputError(f"no PipelineJob of kfp-pipeline-spec: {error}") from error
    given = job.get("runtimeConfig", {})
    defaults = {
        name: json_format.MessageToDict(declared.default_value)
        for name, declared in spec.root.input_definitions.parameters.items()
        if declared.HasField("default_value")
    }
    values = defaults | given.get("parameterValues", {})
    return Compiled(job, spec, values, given.get("gcsOutputDirectory", "") or spec.default_pipeline_root)


def title_of(artifact_type: Any) -> str:
    """The title of an artifact's type, such as tfx.Model.

    >>> title_of(pb.ArtifactTypeSchema(instance_schema="title: tfx.Model\\ntype: object\\n"))
    'tfx.Model'
    """
    if artifact_type.WhichOneof("kind") == "instance_schema":
        return str((yaml.safe_load(artifact_type.instance_schema) or {}).get("title", "tfx.Artifact"))
    return artifact_type.schema_title


def _tasks(dag: Any, spec: Any, given: Mapping[str, Any]) -> Iterator[Task]:
    """Those of a graph, and of the graphs in it."""
    for name, task in dag.tasks.items():
        component = spec.components.get(task.component_ref.name)
        values = {key: _value(each, given) for key, each in task.inputs.parameters.items()}
        if component is not None and component.WhichOneof("implementation") == "dag":
            yield from _tasks(component.dag, spec, values)
            continue
        label = component.executor_label if component is not None else ""
        executors = spec_executors(spec)
        yield Task(name, component, task.inputs, values, dag.tasks, executors.get(label))


def spec_executors(spec: Any) -> dict[str, Any]:
    """What runs components, by label. The specification holds them as JSON."""
    deployment = pb.PipelineDeploymentConfig()
    json_format.ParseDict(json_format.MessageToDict(spec.deployment_spec), deployment)
    return dict(deployment.executors)


def _value(source: Any, given: Mapping[str, Any]) -> Any:
    kind = source.WhichOneof("kind")
    if kind == "component_input_parameter":
        return given.get(source.component_input_parameter, UNKNOWN)
    if kind != "runtime_value" or source.runtime_value.WhichOneof("value") != "constant":
        return UNKNOWN
    return json_format.MessageToDict(source.runtime_value.constant)
