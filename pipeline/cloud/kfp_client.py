"""Open-source Kubeflow Pipelines, through kfp."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from albert_model.errors import InputError
from pipeline.cloud import cron
from pipeline.cloud.clients import CACHED, SUCCEEDED, Run, ScheduleState, is_run_name
from pipeline.cloud.retries import reason
from pipeline.cloud.service import Service, TaskTeller, failure
from pipeline.schedule.settings import ScheduleSettings

if TYPE_CHECKING:
    import kfp
    import kfp_server_api

_HOST, _PAGES = "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT"  # of kfp's own client: the API, and its pages
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_SERVICE = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED", "ERROR")
_WORDS = {"RUNNING": "runs", "SUCCEEDED": "✓", "FAILED": "failed", "CANCELED": "cancelled"}
_EXECUTOR, _DRIVER = "executor", "-driver"  # tasks that Kubeflow makes of a component's
_EQUALS = 1  # of filters, as kfp itself says it
_PAGE = 100
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY = 401, 403, 404, 409, 429


class KfpClient(Service):
    """See `pipeline.cloud.clients.Client`.

    The host is `cloud.host`, else that of KF_PIPELINES_ENDPOINT, else that of the cluster that this runs in or that
    kubectl is set up for. A token is read from the file that KF_PIPELINES_SA_TOKEN_PATH names, or from where Kubeflow
    puts it into pods.
    """

    name = "Kubeflow"

    def _connect(self) -> None:
        self._client = self.call(self._official_client)

    def _official_client(self) -> kfp.Client:
        import kfp
        import kfp.client as constants

        host = self.cloud.host or os.environ.get(_HOST)
        if host is None and _IN_CLUSTER.exists() and self.cloud.namespace:
            host = _SERVICE  # kfp would take the namespace of the runs for that of the service
        if host is None and not _IN_CLUSTER.exists() and not _has_kubeconfig():
            raise InputError(
                "cloud.host: Kubeflow's address is not known. Give that of its API, such as "
                "https://kubeflow.example.com/pipeline, or of a forwarded port: kubectl port-forward -n kubeflow "
                f"svc/ml-pipeline-ui 8080:80, then http://127.0.0.1:8080. ({_HOST} may hold it as well.)"
            )
        token = Path(os.environ.get(constants.KF_PIPELINES_SA_TOKEN_ENV) or constants.KF_PIPELINES_SA_TOKEN_PATH)
        credentials = constants.ServiceAccountTokenVolumeCredentials(str(token)) if host and token.exists() else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old servers
            try:
                return kfp.Client(host=host, namespace=self.cloud.namespace or "kubeflow", credentials=credentials)
            except TimeoutError as error:  # its own five attempts
                raise InputError(f"cloud.host: Kubeflow at {host} answers with errors only ({error}).") from error

    # === Runs ===

    def submit(self, job: dict[str, Any], run_name: str) -> Run:
        experiment = self._experiment()

        def make() -> str:
            with _package(job) as path, _unsaid():
                return self._client.create_run_from_pipeline_package(
                    path,
                    arguments=job["runtimeConfig"].get("parameterValues", {}),
                    run_name=run_name,
                    experiment_id=experiment,
                    pipeline_root=self.settings.root,
                    service_account=self.cloud.service_account,
                ).run_id

        return self._run(self.make_once("run", run_name, lambda: self._runs(run_name, experiment), make))

    def wait(self, run: Run) -> str:
        teller = TaskTeller()
        while True:
            found = self.look(run, lambda: self._fresh_run(run.name))
            tasks = (found.run_details and found.run_details.task_details) or []
            teller.tell(
                {
                    task.display_name: words
                    for task in tasks
                    if task.display_name != _EXECUTOR and not task.display_name.endswith(_DRIVER)
                    if (words := _WORDS.get(task.state))
                }
            )
            if found.state in _ENDED:
                break
            time.sleep(self._poll_seconds)
        if found.state != SUCCEEDED:
            failed = [task.display_name for task in tasks if task.state == "FAILED" and task.display_name != _EXECUTOR]
            message = found.error.message if found.error else ""
            raise failure(self.settings.name, found.state, failed, message or "", run.url)
        # A component that is found in the cache has an executor that is skipped.
        executors = [task.state for task in tasks if task.display_name == _EXECUTOR]
        return CACHED if executors and set(executors) == {"SKIPPED"} else SUCCEEDED

    def running(self) -> Run | None:
        experiment = self._experiment()
        found = self.call(
            lambda: self._client.list_runs(experiment_id=experiment, page_size=_PAGE, sort_by="created_at desc")
        )
        ours = (run for run in found.runs or [] if run.state not in _ENDED and self._is_of_pipeline(run))
        return next((self._run(run.run_id) for run in ours), None)

    def _is_of_pipeline(self, run: kfp_server_api.V2beta1Run) -> bool:
        """And not its launcher, or of a pipeline whose name begins alike. Not every server lists specifications."""
        spec = run.pipeline_spec or {}
        name = spec.get("pipeline_spec", spec).get("pipelineInfo", {}).get("name")
        return name == self.settings.name or is_run_name(self.settings, run.display_name)

    def _fresh_run(self, run_id: str) -> kfp_server_api.V2beta1Run:
        import kfp_server_api

        try:
            return self._client.get_run(run_id)
        except kfp_server_api.ApiException as error:
            if error.status != _UNAUTHORIZED:
                raise
            self._client = self._official_client()  # tokens run out while one waits
            return self._client.get_run(run_id)

    def _run(self, run_id: str) -> Run:
        return Run(run_id, f"{self._pages()}/#/runs/details/{run_id}")

    def _pages(self) -> str:
        host = (os.environ.get(_PAGES) or self.cloud.host or os.environ.get(_HOST) or "").rstrip("/")
        return host if "://" in host or not host else f"https://{host}"

    def _runs(self, run_name: str, experiment: str) -> list[str]:
        found = self._client.list_runs(experiment_id=experiment, page_size=_PAGE, filter=_filter(run_name))
        return [run.run_id for run in found.runs or [] if run.display_name == run_name]

    def _experiment(self) -> str:
        """The id of the experiment, which is made where it is missing."""

        def attempt() -> kfp_server_api.V2beta1Experiment:
            with _unsaid():
                return self._client.create_experiment(self.cloud.experiment, namespace=self.cloud.namespace)

        return self.call(attempt).experiment_id

    # === Schedules ===

    def create_schedule(self, job: dict[str, Any], name: str, schedule: ScheduleSettings, replace: bool = False) -> str:
        schedule = cron.checked(schedule)
        if schedule.timezone != "UTC":
            raise InputError(
                f"schedule.timezone: Kubeflow reads cron lines in its own time zone, UTC, not in {schedule.timezone}. "
                "Write schedule.cron in UTC, or use kubeflow/cron_job.yaml, whose time zone Kubernetes heeds."
            )
        experiment = self._experiment()

        def make() -> str:
            with _package(job) as path:
                return self._client.create_recurring_run(
                    experiment,
                    job_name=name,
                    description=f"Re-pretrains {self.settings.name} on the newest span",
                    cron_expression=f"0 {schedule.cron}",  # seconds first
                    max_concurrency=1,
                    no_catchup=True,  # of the times that passed while a run was at work, the last one counts
                    params=job["runtimeConfig"].get("parameterValues", {}),
                    pipeline_package_path=path,
                    pipeline_root=self.settings.root,
                    service_account=self.cloud.service_account,
                ).recurring_run_id

        made = self.make_schedule(name, make, replace)
        return f"{self._pages()}/#/recurringrun/details/{made}"

    def schedules(self) -> list[ScheduleState]:
        found = self.call(lambda: self._recurring_runs(None))
        ours = [
            each for each in found if self.is_ours(each.display_name) and each.trigger and each.trigger.cron_schedule
        ]
        last = self._last_runs() if ours else {}
        return [
            _state(each, last.get(each.recurring_run_id)) for each in sorted(ours, key=lambda each: each.display_name)
        ]

    def _last_runs(self) -> dict[str, datetime.datetime]:
        """When each recurring run made a run, of the newest runs of all."""
        found = self.call(
            lambda: self._client.list_runs(namespace=self.cloud.namespace, page_size=_PAGE, sort_by="created_at desc")
        )
        # Oldest first, so that the newest one stays.
        return {run.recurring_run_id: run.created_at for run in reversed(found.runs or []) if run.recurring_run_id}

    def pause(self, name: str) -> None:
        number = self._one(name)
        self.call(lambda: self._client.disable_recurring_run(number))

    def resume(self, name: str) -> None:
        number = self._one(name)
        self.call(lambda: self._client.enable_recurring_run(number))

    def _ids(self, name: str) -> list[str]:
        return [each.recurring_run_id for each in self._named(name)]

    def _delete(self, number: str) -> None:
        import kfp_server_api

        def attempt() -> None:
            try:
                self._client.delete_recurring_run(number)
            except kfp_server_api.ApiException as error:
                if error.status != _NOT_FOUND:  # an attempt before, whose answer was lost
                    raise

        self.call(attempt)

    def _named(self, name: str) -> list[kfp_server_api.V2beta1RecurringRun]:
        """The recurring runs of a name, oldest first."""
        found = [each for each in self._recurring_runs(_filter(name)) if each.display_name == name]
        return sorted(found, key=lambda each: (str(each.created_at), each.recurring_run_id))

    def _recurring_runs(self, wanted: str | None) -> list[kfp_server_api.V2beta1RecurringRun]:
        found: list[kfp_server_api.V2beta1RecurringRun] = []
        token = ""
        while True:
            page = self._client.list_recurring_runs(
                page_token=token, page_size=_PAGE, namespace=self.cloud.namespace, filter=wanted
            )
            found += page.recurring_runs or []
            if not (token := page.next_page_token or ""):
                return found

    # === Errors ===

    def is_transient(self, error: BaseException) -> bool:
        import kfp_server_api
        import urllib3

        if isinstance(error, kfp_server_api.ApiException):
            return error.status == _TOO_MANY or (error.status or 0) >= 500
        return isinstance(error, urllib3.exceptions.HTTPError)

    def words(self, error: BaseException) -> str:
        import kfp_server_api
        import urllib3

        if isinstance(error, kfp_server_api.ApiException):
            return f"{error.status}: {_words(error)}"
        if isinstance(error, urllib3.exceptions.MaxRetryError):
            return reason(error.reason).rpartition(": ")[2]  # without the names of objects
        return reason(error)

    def explained(self, error: Exception) -> InputError | None:
        import kfp_server_api
        import urllib3

        if isinstance(error, kfp_server_api.ApiException):
            return self._refused(error.status or 0, _words(error))
        if isinstance(error, urllib3.exceptions.HTTPError):
            return self._silent(self.words(error))
        return None

    def _refused(self, status: int, words: str) -> InputError:
        if status in (_UNAUTHORIZED, _FORBIDDEN):
            return InputError(
                f"cloud.host: Kubeflow does not allow this ({status}: {words}). Is cloud.namespace right? From outside "
                "of the cluster, KF_PIPELINES_SA_TOKEN_PATH names a file with a token: kubectl create token "
                "default-editor -n NAMESPACE --audience pipelines.kubeflow.org. docs/kubeflow.md says more."
            )
        if status == _NOT_FOUND:
            return InputError(f"cloud.host: Kubeflow does not find this ({words}). Does the address lead to its API?")
        if status == _CONFLICT:
            return InputError(f"Kubeflow: exists already ({words}). Choose another --name.")
        if status == _TOO_MANY or status >= 500:
            return self._silent(f"{status}: {words}")
        return InputError(f"Kubeflow does not take this: {words}")

    def _silent(self, words: str) -> InputError:
        host = self.cloud.host or os.environ.get(_HOST) or "the cluster"
        return InputError(
            f"cloud.host: Kubeflow at {host}: no answer after {self._patience.attempts} attempts ({words}). Is it up, "
            "and the address right? Nothing is known to have been started; try again later."
        )


def _has_kubeconfig() -> bool:
    return any(
        os.path.exists(os.path.expanduser(path)) for path in os.environ.get("KUBECONFIG", "~/.kube/config").split(":")
    )


def _filter(name: str) -> str:
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})


@contextlib.contextmanager
def _package(job: dict[str, Any]) -> Iterator[str]:
    """A file as `kfp` takes it: the specification, and what it has for Kubernetes as a second document."""
    documents = [job["pipelineSpec"]]
    if "platforms" in job:
        documents.append({"platforms": job["platforms"]})
    with tempfile.TemporaryDirectory(prefix="albert-") as folder:
        path = Path(folder, "pipeline.yaml")
        path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        yield str(path)


def _unsaid() -> contextlib.AbstractContextManager[object]:
    """The client prints addresses; what is said here is said elsewhere."""
    return contextlib.redirect_stdout(io.StringIO())


def _words(error: kfp_server_api.ApiException) -> str:
    """What the server says, which stands in JSON."""
    try:
        said = json.loads(error.body)
        return reason(said.get("error_message") or said.get("message") or said.get("error") or error.reason)
    except (TypeError, ValueError, AttributeError):
        return reason(error.reason or "no reason given")


def _state(found: kfp_server_api.V2beta1RecurringRun, last_run: datetime.datetime | None) -> ScheduleState:
    import croniter

    line = found.trigger.cron_schedule.cron.partition(" ")[2]
    paused = found.status != "ENABLED" and found.mode != "ENABLE"
    now = datetime.datetime.now(datetime.UTC)
    known = not paused and croniter.croniter.is_valid(line)
    next_run = croniter.croniter(line, now).get_next(datetime.datetime) if known else None
    return ScheduleState(found.display_name, line, "UTC", paused, next_run, last_run)
