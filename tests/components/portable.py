"""Beam's portable runners without their engines: what they would submit, kept; and a job service that runs it.

FlinkRunner and SparkRunner send a job to the endpoint that they are given, whoever answers there. DataflowRunner makes
its job as in a dry run. Workers are processes of their own, which Beam's worker pool starts, as it does beside Flink's
task managers and Spark's executors.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, TestOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.portability import fn_api_runner, local_job_service
from apache_beam.runners.portability.flink_runner import FlinkRunner
from apache_beam.runners.portability.spark_runner import SparkRunner
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState
from apache_beam.transforms import environments

Job = beam_runner_api_pb2.Pipeline
IMAGE = "example.com/albert-pipeline/beam:0.1.0"
# What the settings of docs/scale.md come down to. TFX's labels and our plugin are among the options of a component.
DATAFLOW = [
    "--project=a-project",
    "--region=us-central1",
    "--temp_location=gs://a-bucket/beam",
]
FLINK = ["--flink_master=flink.example.com:8081", "--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
SPARK = ["--spark_master_url=spark://spark.example.com:7077", *FLINK[1:]]


class EveryRunner(PipelineRunner):
    """Makes the job of each runner, by the runner itself, keeps it, and runs that of Dataflow here."""

    jobs: ClassVar[dict[str, list[Job]]] = defaultdict(list)

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> PipelineResult:
        plain = {name: value for name, value in options.get_all_options(drop_default=True).items() if name != "runner"}
        with job_service(only_kept=True) as (endpoint, jobs):
            for runner, arguments in ((FlinkRunner(), FLINK), (SparkRunner(), SPARK)):
                own = PipelineOptions([*arguments, f"--job_endpoint={endpoint}"], **plain)
                runner.run_pipeline(pipeline, own).wait_until_finish()
                self.jobs[type(runner).__name__].append(jobs.pop())
        own = PipelineOptions(DATAFLOW, **plain)
        own.view_as(TestOptions).dry_run = True
        made = DataflowRunner().run_pipeline(pipeline, own).job.proto_pipeline
        self.jobs["DataflowRunner"].append(Job.FromString(made.SerializeToString()))
        for environment in made.components.environments.values():
            environment.CopyFrom(environments.EmbeddedPythonEnvironment.default().to_runner_api(None))
        return fn_api_runner.FnApiRunner().run_via_runner_api(made, PipelineOptions(["--runner=FnApiRunner"]))


class _KeepingJobService(local_job_service.LocalJobServicer):
    """Beam's job service; keeps the jobs that it is sent."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.jobs: list[Job] = []

    def create_beam_job(self, preparation_id: str, job_name: str, pipeline: Job, options: Any) -> Any:
        self.jobs.append(Job.FromString(pipeline.SerializeToString()))
        return super().create_beam_job(preparation_id, job_name, pipeline, options)


class _NotRun(local_job_service.BeamJob):
    def _invoke_runner(self) -> Any:
        return SimpleNamespace(state=PipelineState.DONE, wait_until_finish=lambda: None)


@contextlib.contextmanager
def job_service(only_kept: bool = False) -> Iterator[tuple[str, list[Job]]]:
    """Gives its endpoint and the jobs that it was sent.

    Args:
      only_kept: say of each job that it is done, and run none.
    """
    service = _KeepingJobService(beam_job_type=_NotRun if only_kept else None)
    port = service.start_grpc_server()
    try:
        yield f"localhost:{port}", service.jobs
    finally:
        service.stop()


@contextlib.contextmanager
def worker_pool(folder: Path) -> Iterator[str]:
    """Beam's worker pool in an empty folder, with nothing but the installed packages; gives its endpoint."""
    folder.mkdir()
    boot = folder / "boot"
    boot.write_text(f"#!{sys.executable}\n{Path(__file__).with_name('boot.py').read_text()}")
    boot.chmod(0o755)
    port = _free_port()
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
    command += [f"--service_port={port}", f"--container_executable={boot}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=bare_environment(folder), stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def bare_environment(home: Path) -> dict[str, str]:
    """With no PYTHONPATH in it."""
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def _wait_for(port: int, process: subprocess.Popen) -> None:
    for _ in range(600):
        assert process.poll() is None, "the worker pool ended"
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError("the worker pool did not start")
