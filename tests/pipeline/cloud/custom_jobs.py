"""Vertex AI's custom jobs, with this machine for all of theirs: a process for each replica of each worker pool."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

from tests.pipeline.cloud.spec_run import run_module


def run_module_with_jobs(module: str, arguments: list[str]) -> None:
    """As `run_module`; custom jobs that it asks for run here."""
    from google.cloud.aiplatform import gapic

    gapic.JobServiceClient = _JobService
    run_module(module, arguments)


class _JobService:
    """What TFX uses of the client of the service."""

    _states: ClassVar[dict[str, Any]] = {}

    def __init__(self, client_options: dict[str, Any]):
        assert client_options["api_endpoint"] == "us-central1-aiplatform.googleapis.com"

    def create_custom_job(self, parent: str, custom_job: dict[str, Any]) -> Any:
        from google.cloud.aiplatform_v1.types import CustomJob, JobState

        CustomJob(custom_job)  # what is no field of it is an error
        name = f"{parent}/customJobs/1"
        replicas = _start(custom_job["job_spec"]["worker_pool_specs"])
        failed = [replica for replica in replicas if replica.wait()]
        self._states[name] = JobState.JOB_STATE_FAILED if failed else JobState.JOB_STATE_SUCCEEDED
        return SimpleNamespace(name=name)

    def get_custom_job(self, name: str, retry: Any = None) -> Any:
        return SimpleNamespace(state=self._states[name])


def _start(pools: list[dict[str, Any]]) -> list[subprocess.Popen]:
    """Pool 0 is the chief, pool 1 the workers. With one machine, Vertex AI sets no cluster up."""
    named = zip(("chief", "worker"), pools, strict=False)
    kinds = [(kind, n) for kind, pool in named for n in range(pool["replica_count"])]
    cluster: dict[str, list[str]] = {}
    for kind, _ in kinds:
        cluster.setdefault(kind, []).append(f"localhost:{_free_port()}")
    command = pools[0]["container_spec"]["command"]
    assert all(pool["container_spec"]["command"] == command for pool in pools) and command[0] == "python"
    environments = [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}
        if len(kinds) > 1
        else {}
        for kind, index in kinds
    ]
    return [subprocess.Popen([sys.executable, *command[1:]], env=os.environ | more) for more in environments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
