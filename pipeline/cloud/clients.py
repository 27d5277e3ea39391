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


class NoNewsError(InputError):
    """What became of a run cannot be found out. It goes on by itself, and nobody should be told that it failed."""


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
          NoNewsError: the service does not say, for hours.
          InputError: it failed or was cancelled; names the tasks.
        """

    def running(self) -> Run | None:
        """The newest run of this pipeline that is at work, if there is one."""

    def create_schedule(self, job: dict[str, Any], name: str, schedule: ScheduleSettings, replace: bool = False) -> str:
        """Makes runs by the clock, one at a time.

        Args:
          job: of `job_for_schedule`.
          name: of the schedule.
          schedule: when.
          replace: take the place of those of this name, which are deleted once the new one is there. Otherwise such
            a one is an error.

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


def checked_job(settings: PipelineSettings, target: Target, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """The pipeline as a job, if nothing is wrong with it.

    Args:
      settings, parameters: see `compile_pipeline`.

    Raises:
      InputError: what `albert pipeline check` finds.
    """
    from pipeline.cloud import checks
    from pipeline.cloud.compiler import compile_pipeline

    job = compile_pipeline(settings, target, parameters)
    if wrong := checks.failures(checks.check_job(job, target, settings)):
        raise InputError("Nothing was sent. " + "\n".join(f"{result.name}: {result.found}" for result in wrong))
    return job


def job_for_schedule(settings: PipelineSettings, target: Target) -> dict[str, Any]:
    """What a schedule runs: on Vertex AI the pipeline, whose span is found inside the run; on Kubeflow, which finds
    nothing there and freezes what is scheduled, a step that submits the pipeline with what is newest then.

    Raises:
      InputError: what `albert pipeline check` finds; for Kubeflow in a run of today's newest span as well.
    """
    from pipeline.spans import for_target

    if target == "vertex":
        return checked_job(settings, target)
    if target == "kfp":
        checked_job(for_target(settings, target), target)
        return checked_launcher(settings)
    raise InputError("--target local: the local scheduler runs the pipeline itself.")


def checked_launcher(settings: PipelineSettings) -> dict[str, Any]:
    """What recurs on Kubeflow. It holds all settings as text, and has an image; as it is no component of TFX, the
    other checks are not for it.

    Raises:
      InputError: what was found.
    """
    from pipeline.cloud import checks, compiled, environment_checks
    from pipeline.cloud.launcher import launcher

    job = launcher(settings)
    subject = checks.Subject(compiled.parse(job, "kfp"), "kfp", settings)
    for check in (environment_checks.secrets, environment_checks.images):
        try:
            check(subject)
        except checks.ProblemError as problem:
            raise InputError(f"Nothing was sent. {check.__name__} of what recurs: {problem}") from problem
    return job
