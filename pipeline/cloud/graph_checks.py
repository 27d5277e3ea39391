"""Checks of the compiled graph by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from pipeline.cloud.checks import NotCheckedError, ProblemError, Subject, require_none
from pipeline.cloud.compiled import UNKNOWN, Task, title_of

SCHEMA_VERSION = "2.1.0"
_INPUT_CONFIG = "input_config"  # ExampleGen's parameter that its driver rewrites
_GIVEN_SPAN = "given_span"  # DocumentGen's, where there is no driver
_EXAMPLE_GEN_DRIVER = "tfx.orchestration.kubeflow.v2.file_based_example_gen.driver"
_PLACEHOLDER = re.compile(r"\{(?:SPAN|VERSION|YYYY|MM|DD)(?::\d+)?\}")
# google.cloud.aiplatform's PipelineJob makes the run's id of the name, a dash and 14 digits, and refuses others.
_VERTEX_ID, _VERTEX_SUFFIX = re.compile(r"[a-z][-a-z0-9]{0,127}"), "-20300101000000"
# Kubeflow's backend names Kubernetes objects so (kubeflow/pipelines#11952).
_KFP_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")  # of Google Cloud; keys begin with a letter
_DISPLAY_NAME = 128  # characters, of a PipelineJob (Vertex AI's REST reference)
_TASK_NAME = 128  # tfx.orchestration.kubeflow.v2.pipeline_builder holds pipelines to it
# Linux takes no longer single argument (MAX_ARG_STRLEN, 32 pages), and all that a task gets is one.
_ARGUMENT_BYTES = 128 * 1024
_ARGUMENT_SHARE = 0.75  # the rest is for what the service adds: addresses and properties of artifacts
_KFP_PARAMETERS = 10_000  # characters of all parameters of a run (kubeflow/pipelines#12510)
_KFP_SPECIFICATION = 1_000_000  # bytes; etcd takes objects of 1.5 MiB, and Argo's workflow is larger than ours


def schema_version(subject: Subject) -> str:
    version = subject.compiled.spec.schema_version
    if version != SCHEMA_VERSION:
        raise ProblemError(f"is {version or 'missing'}; both services need {SCHEMA_VERSION}")
    return version


def loader(subject: Subject) -> str:
    """The official client's own."""
    job = dict(subject.compiled.job)
    try:
        if subject.target == "kfp":
            from kfp import components

            components.load_component_from_text(yaml.safe_dump(job["pipelineSpec"]))
            return "kfp.components loads it"
        from google.cloud.aiplatform.utils.pipeline_utils import PipelineRuntimeConfigBuilder

        PipelineRuntimeConfigBuilder.from_job_spec_json(job).build()
        return "google.cloud.aiplatform builds its runtime config"
    except Exception as error:  # they raise anything
        raise ProblemError(f"refuses it: {type(error).__name__}: {error}") from error


def parameters(subject: Subject) -> str:
    """Every declared one has a value."""
    spec, missing, count = subject.compiled.spec, [], 0
    for name in spec.root.input_definitions.parameters:
        count += 1
        if subject.compiled.values.get(name) is None:
            missing.append(f"the pipeline's {name} has neither value nor default")
    for task in subject.compiled.tasks:
        if task.component is None:
            continue
        for name, declared in task.component.input_definitions.parameters.items():
            count += 1
            if (
                name not in task.inputs.parameters
                and not declared.is_optional
                and not declared.HasField("default_value")
            ):
                missing.append(f"{task.name}: {name} has no value")
    require_none(missing)
    return f"{count}, each with a value"


def artifacts(subject: Subject) -> str:
    """Every producer exists, and gives what its consumer takes."""
    wrong: list[str] = []
    count = 0
    for task in subject.compiled.tasks:
        declared = task.component.input_definitions.artifacts if task.component is not None else {}
        for name, source in task.inputs.artifacts.items():
            count += 1
            wrong += _wrong_edge(subject, task, name, source, declared)
        given = set(task.inputs.artifacts)
        needed = {name for name, kind in declared.items() if not kind.is_optional}
        wrong += [f"{task.name}: nothing gives it {name}" for name in sorted(needed - given)]
    require_none(wrong)
    return f"{count} edges, producers and types agree"


def _wrong_edge(subject: Subject, task: Task, name: str, source: Any, declared: Any) -> Iterator[str]:
    if source.WhichOneof("kind") != "task_output_artifact":
        return  # of the surrounding graph
    output = source.task_output_artifact
    producer = task.siblings.get(output.producer_task)
    edge = f"{task.name}.{name}"
    if producer is None:
        yield f"{edge} is of {output.producer_task}, which is no task"
        return
    component = subject.compiled.spec.components.get(producer.component_ref.name)
    outputs = component.output_definitions.artifacts if component is not None else {}
    if output.output_artifact_key not in outputs:
        yield f"{edge} is of {output.producer_task}, which has no output {output.output_artifact_key}"
    elif name not in declared:
        yield f"{edge} is no input of {task.name}'s component"
    else:
        gives = title_of(outputs[output.output_artifact_key].artifact_type)
        takes = title_of(declared[name].artifact_type)
        if gives != takes:
            yield f"{edge} takes {takes}, and {output.producer_task} gives {gives}"


def executors(subject: Subject) -> str:
    """Something runs each task, of a kind that the service has."""
    wrong, kinds = [], set()
    for task in subject.compiled.tasks:
        if task.component is None:
            wrong.append(f"{task.name}: there is no component of its name")
        elif task.executor is None:
            wrong.append(f"{task.name}: there is no executor {task.component.executor_label}")
        else:
            kind = task.executor.WhichOneof("spec")
            kinds.add(kind)
            if kind == "resolver" and subject.target == "kfp":
                wrong.append(f"{task.name}: Kubeflow runs no resolvers; find the artifact before submission")
    require_none(wrong)
    return ", ".join(sorted(kinds))


def span(subject: Subject) -> str:
    """Kubeflow runs no drivers, so that what they would replace reaches the executor as it stands."""
    found, replaced, given = [], 0, 0
    for task in subject.compiled.tasks:
        drivers = [container.module for container in task.containers if container.is_driver]
        value = task.parameters.get(_INPUT_CONFIG)
        if not isinstance(value, str) or not (hit := _PLACEHOLDER.search(value)):
            continue
        if subject.target == "kfp" and _GIVEN_SPAN in task.parameters:
            given += 1
        elif subject.target == "kfp":
            found.append(f"{task.name}: its pattern has {hit[0]}, which Kubeflow does not replace")
        elif _EXAMPLE_GEN_DRIVER not in drivers:
            found.append(f"{task.name}: its pattern has {hit[0]}, and no driver that replaces it")
        else:
            replaced += 1
    require_none(found)
    if given:
        return "the parameter `span` says which"
    if replaced:
        return "the driver finds it when the pipeline runs"
    return "no pattern is left to be replaced"


def names(subject: Subject) -> str:
    job, wrong = subject.compiled.job, []
    name = subject.compiled.spec.pipeline_info.name
    if subject.target == "vertex" and not _VERTEX_ID.fullmatch(name + _VERTEX_SUFFIX):
        wrong.append(f"name: {name!r} should begin with a letter; Vertex AI makes ids of runs of it")
    if subject.target == "kfp" and not _KFP_NAME.fullmatch(name):
        wrong.append(f"name: {name!r} should be lower-case letters, digits, dashes and dots")
    if len(str(job.get("displayName", ""))) > _DISPLAY_NAME:
        wrong.append(f"displayName is longer than {_DISPLAY_NAME} characters")
    wrong += [
        f"label {key}={value} should be at most 63 lower-case letters, digits, dashes and underscores"
        for key, value in job.get("labels", {}).items()
        if not (_LABEL.fullmatch(str(key)) and key[:1].isalpha() and _LABEL.fullmatch(str(value)))
    ]
    tasks = [task.name for task in subject.compiled.tasks]
    wrong += [f"task {task[:40]}… is longer than {_TASK_NAME} characters" for task in tasks if len(task) > _TASK_NAME]
    require_none(wrong)
    return f"{name}, and {len(tasks)} tasks"


def sizes(subject: Subject) -> str:
    largest, task = max(((_size(task.parameters), task.name) for task in subject.compiled.tasks), default=(0, ""))
    if not task:
        raise NotCheckedError("there are no tasks")
    limit = int(_ARGUMENT_BYTES * _ARGUMENT_SHARE)
    wrong = []
    if largest > limit:
        wrong.append(
            f"{task} gets {largest:,} bytes of parameters, and Linux takes {_ARGUMENT_BYTES:,} in an argument, "
            "artifacts included; move large values to files"
        )
    if subject.target == "kfp":
        run = len(json.dumps(dict(subject.compiled.values)))
        if run > _KFP_PARAMETERS:
            wrong.append(f"the run's parameters have {run:,} characters, and Kubeflow takes {_KFP_PARAMETERS:,}")
        specification = len(json.dumps(subject.compiled.job["pipelineSpec"]))
        if specification > _KFP_SPECIFICATION:
            wrong.append(
                f"the specification has {specification:,} bytes; above {_KFP_SPECIFICATION:,} the cluster may refuse "
                "the workflow that Kubeflow makes of it"
            )
    require_none(wrong)
    return f"{largest:,} bytes at most, of {task}"


def _size(values: Any) -> int:
    known = {name: value for name, value in values.items() if value is not UNKNOWN}
    return len(json.dumps(known).encode())
