"""Vertex AI Pipelines, through google-cloud-aiplatform."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albert_model.errors import InputError
from pipeline.cloud import cron
from pipeline.cloud.clients import CACHED, SUCCEEDED, Run, ScheduleState
from pipeline.cloud.retries import reason
from pipeline.cloud.service import Service, TaskTeller, failure
from pipeline.schedule.settings import ScheduleSettings

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import aiplatform

_CONSOLE = "https://console.cloud.google.com/vertex-ai/locations"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CALL_SECONDS = 60.0
_ONCE: dict[str, Any] = {"retry": None, "timeout": _CALL_SECONDS}  # trying again is our own business
_NOTICE = "FailureNotice"
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_AT_WORK = tuple(f"PIPELINE_STATE_{state}" for state in ("QUEUED", "PENDING", "RUNNING", "CANCELLING"))
_WORDS = {"RUNNING": "runs", "SUCCEEDED": "✓", "SKIPPED": "✓ cached", "FAILED": "failed", "CANCELLED": "cancelled"}
_LOGIN = (
    "Log in: gcloud auth application-default login. Without a person: give the machine a service account, or name a "
    "key file in GOOGLE_APPLICATION_CREDENTIALS."
)


class VertexClient(Service):
    """See `pipeline.cloud.clients.Client`.

    `cloud.host` is the address of the API where it is not the region's own, as with Private Service Connect. To one
    that begins with http://, as of a stand-in on this machine, no credentials are sent.
    """

    name = "Vertex AI"

    def _connect(self) -> None:
        from google.cloud import aiplatform

        host, region = self.cloud.host or "", self.cloud.region
        is_plain = host.startswith("http://")
        credentials, project = _anonymous() if is_plain else self.call(_default_credentials)
        self._project = self.cloud.project or project
        if not self._project:
            raise InputError("cloud.project: the credentials name no project. Name the one that runs the pipeline.")
        address = (host if is_plain else host.removeprefix("https://")) or f"{region}-aiplatform.googleapis.com"
        transport = "rest" if is_plain else "grpc"
        try:
            aiplatform.init(
                project=self._project,
                location=region,
                credentials=credentials,
                api_endpoint=address,
                api_transport=transport,
            )
        except ValueError as error:
            raise InputError(f"cloud.region: Vertex AI has no region {region}.") from error
        self._sdk = aiplatform
        self._parent = f"projects/{self._project}/locations/{region}"
        # For all that only looks: the classes of the SDK try again by themselves for minutes, and say nothing.
        options = {"api_endpoint": address}
        self._jobs = aiplatform.gapic.PipelineServiceClient(
            credentials=credentials, client_options=options, transport=transport
        )
        self._schedules = aiplatform.gapic.ScheduleServiceClient(
            credentials=credentials, client_options=options, transport=transport
        )

    # === Runs ===

    def submit(self, job: dict[str, Any], run_name: str) -> Run:
        def make() -> str:
            with self._pipeline_job(job, run_name) as made:
                made.submit(
                    service_account=self.cloud.service_account,
                    network=self.cloud.network,
                    create_request_timeout=_CALL_SECONDS,
                )
                return made.resource_name

        name = self.make_once("run", run_name, lambda: self._runs(run_name), make)
        return self._run(name)

    def _run(self, name: str) -> Run:
        """Of a resource name."""
        number = name.rpartition("/")[2]
        return Run(name, f"{_CONSOLE}/{self.cloud.region}/pipelines/runs/{number}?project={self._project}")

    def wait(self, run: Run) -> str:
        teller = TaskTeller()
        while True:
            job = self.look(run, lambda: self._jobs.get_pipeline_job(name=run.name, **_ONCE))
            tasks = [task for task in job.job_detail.task_details if task.task_name]
            teller.tell({task.task_name: words for task in tasks if (words := _WORDS.get(task.state.name))})
            state = job.state.name.removeprefix("PIPELINE_STATE_")
            if state in _ENDED:
                break
            time.sleep(self._poll_seconds)
        if state != SUCCEEDED:
            failed = [task.task_name for task in tasks if task.state.name == "FAILED" and _has_container(task)]
            raise failure(self.settings.name, state, failed, job.error.message, run.url)
        return CACHED if _is_all_cached(tasks) else SUCCEEDED

    def running(self) -> Run | None:
        found = self.call(lambda: list(self._jobs.list_pipeline_jobs(self._at_work(), **_ONCE)))
        return next((self._run(job.name) for job in found if job.state.name in _AT_WORK), None)

    def _at_work(self) -> dict[str, Any]:
        """A request for the runs at work, by the pipeline's name, as a schedule names its runs itself; newest first."""
        states = " OR ".join(f'state="{state}"' for state in _AT_WORK)
        wanted = f'pipeline_name="{self.settings.name}" AND ({states})'
        # Specifications are long, and nobody reads them here.
        return {"parent": self._parent, "filter": wanted, "read_mask": {"paths": ["name", "state"]}}

    def _runs(self, run_name: str) -> list[str]:
        from google.api_core import exceptions

        try:
            return [self._jobs.get_pipeline_job(name=f"{self._parent}/pipelineJobs/{run_name}", **_ONCE).name]
        except exceptions.NotFound:
            return []

    @contextlib.contextmanager
    def _pipeline_job(self, job: dict[str, Any], run_name: str | None) -> Iterator[aiplatform.PipelineJob]:
        with tempfile.TemporaryDirectory(prefix="albert-") as folder:
            path = Path(folder, "job.json")
            path.write_text(json.dumps(job), encoding="utf-8")
            try:
                made = self._sdk.PipelineJob(
                    display_name=run_name or self.settings.name,
                    template_path=str(path),
                    job_id=run_name,
                    pipeline_root=self.settings.root,
                    labels=job.get("labels"),
                )
            except ValueError as error:
                raise InputError(
                    f"{run_name or self.settings.name}: Vertex AI does not take it: {reason(error)}"
                ) from error
            yield made

    # === Schedules ===

    def create_schedule(self, job: dict[str, Any], name: str, schedule: ScheduleSettings, replace: bool = False) -> str:
        schedule = cron.checked(schedule)

        def make() -> str:
            with self._pipeline_job(job, None) as template:
                return template.create_schedule(
                    # A time that comes while a run is at work is passed over, as the next one takes what is new then.
                    cron=f"TZ={schedule.timezone} {schedule.cron}",
                    display_name=name,
                    max_concurrent_run_count=1,
                    allow_queueing=False,
                    service_account=self.cloud.service_account,
                    network=self.cloud.network,
                    create_request_timeout=_CALL_SECONDS,
                ).resource_name

        number = self.make_schedule(name, make, replace).rpartition("/")[2]
        return f"{_CONSOLE}/{self.cloud.region}/pipelines/schedules/{number}?project={self._project}"

    def schedules(self) -> list[ScheduleState]:
        found = self.call(lambda: self._listed(""))
        ours = sorted((each for each in found if self.is_ours(each.display_name)), key=lambda each: each.display_name)
        return [_state(each) for each in ours]

    def pause(self, name: str) -> None:
        number = self._one(name)
        self.call(lambda: self._schedules.pause_schedule(name=number, **_ONCE))

    def resume(self, name: str) -> None:
        """Times that passed meanwhile are not made up for: Vertex AI would make a run for each."""
        request = {"name": self._one(name), "catch_up": False}
        self.call(lambda: self._schedules.resume_schedule(request, **_ONCE))

    def _ids(self, name: str) -> list[str]:
        return [schedule.name for schedule in self._named(name)]

    def _delete(self, number: str) -> None:
        from google.api_core import exceptions

        def attempt() -> None:
            with contextlib.suppress(exceptions.NotFound):  # an attempt before, whose answer was lost
                self._schedules.delete_schedule(name=number, **_ONCE).result(timeout=_CALL_SECONDS)

        self.call(attempt)

    def _named(self, name: str) -> list[aiplatform.gapic.Schedule]:
        """The schedules of a name, oldest first."""
        found = [each for each in self._listed(f'display_name="{name}"') if each.display_name == name]
        return sorted(found, key=lambda each: (each.create_time, each.name))

    def _listed(self, wanted: str) -> list[aiplatform.gapic.Schedule]:
        return list(self._schedules.list_schedules({"parent": self._parent, "filter": wanted}, **_ONCE))

    # === Errors ===

    def is_transient(self, error: BaseException) -> bool:
        import requests
        from google.api_core import exceptions
        from google.auth import exceptions as auth

        passing = (exceptions.ServerError, exceptions.TooManyRequests, exceptions.RetryError, requests.ConnectionError)
        return isinstance(error, (*passing, requests.Timeout, auth.TransportError)) and not isinstance(
            error, exceptions.MethodNotImplemented
        )

    def explained(self, error: Exception) -> InputError | None:
        from google.api_core import exceptions
        from google.auth import exceptions as auth

        project, words = self.cloud.project or "of the credentials", reason(error)
        if isinstance(error, auth.DefaultCredentialsError):
            return InputError(f"Vertex AI: there are no Google credentials here. {_LOGIN}")
        if isinstance(error, exceptions.Unauthenticated | auth.RefreshError):
            return InputError(f"Vertex AI: the credentials are not accepted, or ran out ({words}). {_LOGIN}")
        if isinstance(error, exceptions.Forbidden):
            return InputError(
                f"cloud.project: Vertex AI refuses this in project {project} ({words}). Is the project right, and its "
                "Vertex AI API enabled? Who submits needs the role roles/aiplatform.user, and "
                "roles/iam.serviceAccountUser on cloud.service_account."
            )
        if isinstance(error, exceptions.TooManyRequests):
            return InputError(
                f"Vertex AI: a quota of project {project}, region {self.cloud.region}, is used up ({words}). Wait for "
                "runs to end, choose another cloud.region, or ask for more under IAM & Admin, Quotas."
            )
        if isinstance(error, exceptions.NotFound):
            return InputError(f"Vertex AI: not found in project {project}, region {self.cloud.region} ({words}).")
        if isinstance(error, exceptions.AlreadyExists | exceptions.Conflict):
            return InputError(f"Vertex AI: exists already ({words}). Choose another --name.")
        if isinstance(error, exceptions.BadRequest):
            return InputError(f"Vertex AI does not take this: {words}")
        if self.is_transient(error):
            return InputError(
                f"Vertex AI: no answer after {self._patience.attempts} attempts ({words}). Is the network up, and "
                f"cloud.region ({self.cloud.region}) right? Nothing is known to have been started; try again later."
            )
        return None


def _default_credentials() -> tuple[Credentials, str | None]:
    import google.auth

    return google.auth.default(scopes=[_SCOPE])


def _anonymous() -> tuple[Credentials, None]:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials(), None


def _has_container(task: Any) -> bool:
    """Whether it is a task that runs a container, not one that groups others or only looks things up."""
    detail = task.executor_detail
    return bool(detail.container_detail.main_job or detail.custom_job_detail.job)


def _is_all_cached(tasks: list[Any]) -> bool:
    """Vertex AI's word for a task that was found in the cache is SKIPPED."""
    ran = [task for task in tasks if task.state.name == SUCCEEDED and _has_container(task)]
    return any(task.state.name == "SKIPPED" for task in tasks) and all(task.task_name == _NOTICE for task in ran)


def _state(schedule: Any) -> ScheduleState:
    """Of a `Schedule` as the API gives it."""
    line, zone = schedule.cron, "UTC"
    if line.startswith(("TZ=", "CRON_TZ=")):
        said, _, line = line.partition(" ")
        zone = said.partition("=")[2]
    is_active = schedule.state.name == "ACTIVE"
    return ScheduleState(
        name=schedule.display_name,
        cron=line,
        timezone=zone,
        paused=not is_active,
        next_run=(schedule.next_run_time or None) if is_active else None,
        last_run=schedule.last_scheduled_run_response.scheduled_run_time or None,
    )
