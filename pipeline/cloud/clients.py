"""What Vertex AI and Kubeflow have in common, seen from here: runs, and schedules that make runs."""

from __future__ import annotations

import dataclasses
import datetime
import re
import secrets
from typing import Any, Protocol

from albert_model.errors import InputError
from pipeline.cloud.settings import Target
from pipeline.schedule.settings import ScheduleSettings
from pipeline.settings import PipelineSettings

CACHED = "CACHED"  # states that `Client.wait` gives
SUCCEEDED = "SUCCEEDED"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that was submitted.

    Attributes:
      name: that the service knows it by: a resource name of Vertex AI, an id of Kubeflow.
      url: a page about it, for people.
    """

    name: str
    url: str


@dataclasses.dataclass(frozen=True)
class ScheduleState:
    """A schedule as the service tells of it.

    Attributes:
      name: of the schedule.
      cron: five fields.
      timezone: that they are read in.
      paused: whether it makes no runs at present.
      next_run, last_run: when, with a time zone; None where the service does not say.
    """

    name: str
    cron: str
    timezone: str
    paused: bool
    next_run: datetime.datetime | None = None
    last_run: datetime.datetime | None = None


class Client(Protocol):
    """A service that runs pipelines. All methods raise InputError for what a user can mend: credentials, permissions,
    quotas, a service that does not answer, names that are taken or unknown."""

    def submit(self, job: dict[str, Any], run_name: str) -> Run:
        """Starts a run.

        Args:
          job: of `pipeline.cloud.compiler.compile_pipeline`, with the values of its parameters.
          run_name: a run of this name must not exist yet.
        """

    def wait(self, run: Run) -> str:
        """Waits for the end of a run, and logs what its tasks do.

        Returns:
          SUCCEEDED, or CACHED where every task was found in the cache.

        Raises:
          InputError: it failed or was cancelled; names the tasks.
        """

    def create_schedule(self, job: dict[str, Any], name: str, schedule: ScheduleSettings, replace: bool = False) -> str:
        """Makes runs by the clock, one at a time.

        Args:
          job: of `job_for_schedule`.
          name: of the schedule.
          schedule: when.
          replace: take the place of one of this name. Otherwise such a one is an error.

        Returns:
          A page about it, for people.
        """

    def schedules(self) -> list[ScheduleState]:
        """Those of this pipeline: of its name, or of names that begin with it and a hyphen."""

    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None: ...
    def delete(self, name: str) -> None: ...


def new_run_name(settings: PipelineSettings) -> str:
    """A name that no run has: of the pipeline, its span where that is known, the time, and chance."""
    span = settings.corpus.span
    what = "newest" if span == "latest" else f"span-{span}"
    now = datetime.datetime.now(datetime.UTC)
    name = f"{settings.name}-{what}-{now:%Y%m%d%H%M%S}-{secrets.token_hex(2)}"
    return name if name[0].isalpha() else f"run-{name}"  # as Vertex AI wants it


def is_run_name(settings: PipelineSettings, name: str) -> bool:
    """Whether `new_run_name` made it for this pipeline."""
    pattern = rf"(run-)?{re.escape(settings.name)}-(newest|span-\d+)-\d{{14}}-[0-9a-f]{{4}}"
    return re.fullmatch(pattern, name) is not None


def client_of(settings: PipelineSettings, target: Target) -> Client:
    """The client of a target, which reads credentials from where the service's own client does.

    Raises:
      InputError: there are no credentials, no project or no host; or the target has no service.
    """
    if target == "vertex":
        from pipeline.cloud.vertex import VertexClient

        return VertexClient(settings)
    if target == "kfp":
        from pipeline.cloud.kfp_client import KfpClient

        return KfpClient(settings)
    raise InputError(f"--target {target}: runs on this machine, so there is nothing to submit to.")


def job_for_schedule(settings: PipelineSettings, target: Target) -> dict[str, Any]:
    """What a schedule runs: on Vertex AI the pipeline, whose span is found inside the run; on Kubeflow, which finds
    nothing there and freezes what is scheduled, a step that submits the pipeline with what is newest then.

    Raises:
      InputError: see `compile_pipeline`.
    """
    from pipeline.cloud.compiler import compile_pipeline
    from pipeline.cloud.launcher import launcher

    if target == "vertex":
        return compile_pipeline(settings, target)
    if target == "kfp":
        return launcher(settings)
    raise InputError("--target local: the local scheduler runs the pipeline itself.")
