"""Runs a compiled pipeline without a cluster: each container command is a process of its own.

What Vertex AI and Kubeflow do around the containers is done here: the order of tasks, the executor's input in place of
`{{$}}`, the driver of an ExampleGen (on Vertex AI), importers, the cache, the outputs that an executor says it has, and
the exit handler.
"""

from __future__ import annotations

import itertools
import json
import os
import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.forks import Fork

_PLACEHOLDER = "{{$}}"
_SUBDAG = "tfx-dag"


@dataclass
class Execution:
    """What a task came to."""

    outputs: dict[str, dict[str, Any]]
    cached: bool
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


class TaskError(Exception):
    """A container ended with an error."""

    def __init__(self, task: str, stderr: str):
        super().__init__(f"{task}: {stderr[-4000:]}")
        self.task = task


class Cluster:
    """Keeps artifacts and the cache of its runs below a folder."""

    def __init__(self, folder: Path, target: str):
        self._folder, self._target = folder, target
        self.start = run_module  # what a container's process does
        self._cache: dict[str, dict[str, dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._empty = folder / "empty"  # where containers work: nothing of the checkout is there
        self._empty.mkdir(parents=True)
        self.commands: list[list[str]] = []

    def run(self, job: dict[str, Any], last: str | None = None) -> dict[str, Execution]:
        """Runs all tasks of a job, or those up to the `last` one; gives what each came to.

        Raises:
          TaskError: of the first that failed, after the exit handler ran.
        """
        spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
        assert spec.schema_version == "2.1.0"
        spec = json_format.MessageToDict(spec)
        values = job["runtimeConfig"].get("parameterValues", {})
        assert set(values) == set(spec["root"].get("inputDefinitions", {}).get("parameters", {}))
        dag = spec["root"]["dag"]["tasks"]
        handlers = {name: task for name, task in dag.items() if name != _SUBDAG} if _SUBDAG in dag else {}
        tasks = dag
        if handlers:
            below = spec["components"][_SUBDAG]
            tasks = below["dag"]["tasks"]
            handed = dag[_SUBDAG].get("inputs", {}).get("parameters", {})
            assert set(handed) == set(below.get("inputDefinitions", {}).get("parameters", {}))
            values = {name: _value(said, values, None) for name, said in handed.items()}
        done: dict[str, Execution] = {}
        status: dict[str, Any] = {"state": "SUCCEEDED", "pipelineJobResourceName": "projects/1/jobs/2"}
        try:
            for name in _in_order(tasks):
                done[name] = self._task(spec, tasks[name], done, values)
                if name == last:
                    break
        except TaskError as failure:
            status |= {"state": "FAILED", "error": {"message": str(failure)}, "pipelineTaskName": failure.task}
            raise
        finally:
            for task in handlers.values():
                self._task(spec, task, done, values, status)
        return done

    def _task(
        self,
        spec: dict[str, Any],
        task: dict[str, Any],
        done: dict[str, Execution],
        values: dict[str, Any],
        status: dict[str, Any] | None = None,
    ) -> Execution:
        name = task["taskInfo"]["name"]
        component = spec["components"][task["componentRef"]["name"]]
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
        inputs = {
            key: done[source["producerTask"]].outputs[source["outputArtifactKey"]]
            for key, said in task.get("inputs", {}).get("artifacts", {}).items()
            if (source := said["taskOutputArtifact"])
        }
        parameters = {
            key: _value(said, values, status) for key, said in task.get("inputs", {}).get("parameters", {}).items()
        }
        declared = component.get("inputDefinitions", {})
        assert set(parameters) == set(declared.get("parameters", {})), f"{name}: a parameter has no value"
        assert set(inputs) == set(declared.get("artifacts", {}))
        assert "resolver" not in executor, f"{name}: this cluster has no resolvers"
        folder = self._folder / f"{next(self._numbers)}-{name}"
        container = executor["container"]
        call = _Call(folder, name, inputs, parameters, component.get("outputDefinitions", {}).get("artifacts", {}))
        if self._target == "vertex" and (driver := container.get("lifecycle", {}).get("preCacheCheck")):
            self._process(name, driver, call)
            call.parameters |= call.said().get("parameterValues", {})
        key = json.dumps([container, call.parameters, {k: v["name"] for k, v in inputs.items()}], sort_keys=True)
        is_cached = task.get("cachingOptions", {}).get("enableCache", False) and key in self._cache
        if not is_cached:
            self._process(name, container, call)
            self._cache[key] = call.outputs()
        return Execution(self._cache[key], is_cached, inputs, call.parameters)

    def _process(self, name: str, container: dict[str, Any], call: _Call) -> None:
        command = [*container["command"], *container["args"]]
        command = [call.executor_input() if word == _PLACEHOLDER else word for word in command]
        assert command[:2] == ["python", "-m"] and not any("{{" in word for word in command if word[0] != "{")
        self.commands.append(command)
        done = Fork(self.start, command[2], command[3:], cwd=self._empty).done()
        if done.returncode:
            raise TaskError(name, done.stdout + done.stderr)


class _Call:
    """The input of an executor, and the file that it says its outputs in."""

    def __init__(
        self,
        folder: Path,
        task: str,
        inputs: dict[str, dict[str, Any]],
        parameters: dict[str, Any],
        outputs: dict[str, Any],
    ):
        self._folder = folder
        self._file = folder / "executor_output.json"
        self._inputs, self.parameters = inputs, dict(parameters)
        self._outputs = {
            key: {
                "name": f"projects/1/metadataStores/default/artifacts/{folder.name}-{key}",
                "uri": str(folder / key),
                "type": said["artifactType"],
            }
            for key, said in outputs.items()
        }

    def executor_input(self) -> str:
        return json.dumps(
            {
                "inputs": {"parameterValues": self.parameters, "artifacts": _lists(self._inputs)},
                "outputs": {"artifacts": _lists(self._outputs), "outputFile": str(self._file)},
            }
        )

    def said(self) -> dict[str, Any]:
        return json.loads(self._file.read_text())

    def outputs(self) -> dict[str, dict[str, Any]]:
        """As the services have them: address and metadata are what the executor said last."""
        said = self.said().get("artifacts", {})
        elsewhere = [key for key in said if not said[key]["artifacts"][0]["uri"].startswith(f"{self._folder}/")]
        assert not elsewhere, f"{elsewhere}: Kubeflow takes outputs in a run's own folder only"
        return {
            key: artifact | {k: v for k, v in said[key]["artifacts"][0].items() if k in ("uri", "metadata")}
            for key, artifact in self._outputs.items()
        }


def _in_order(tasks: dict[str, Any]) -> list[str]:
    """Each after those that it depends on."""
    order: list[str] = []
    while waiting := [name for name in tasks if name not in order]:
        ready = [name for name in waiting if set(tasks[name].get("dependentTasks", [])) <= set(order)]
        assert ready, f"{waiting} wait for each other"
        order += ready
    return order


def _lists(artifacts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()}


def _value(said: dict[str, Any], values: dict[str, Any], status: dict[str, Any] | None) -> Any:
    if "runtimeValue" in said:
        return said["runtimeValue"]["constant"]
    if "componentInputParameter" in said:
        return values[said["componentInputParameter"]]
    assert said["taskFinalStatus"]["producerTask"] == _SUBDAG
    return json.dumps(status)


def run_module(module: str, arguments: list[str]) -> None:
    """As `python -m` does it, with what is imported for all tests."""
    sys.path.insert(0, os.getcwd())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
