"""Stand-ins on 127.0.0.1 for the services, which the official clients speak to over HTTP."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclasses.dataclass(frozen=True)
class Request:
    """One that came in; `body` is its JSON."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class ProblemError(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class Fake:
    """Answers by rules, remembers what came, and fails where it is told to.

    Attributes:
      url: where it listens.
      requests: what came in, oldest first.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self._rules: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = []
        self._troubles: list[tuple[str, str, int, bool]] = []

    def rule(self, method: str, path: str, answer: Callable[..., Any]) -> None:
        """`answer` takes the request and the groups of the path's pattern, and gives JSON."""
        self._rules.append((method, re.compile(path), answer))

    def fail(self, method: str, path: str, code: int, times: int = 1, after: bool = False) -> None:
        """The next requests of a method, to paths with `path` in them, get an error.

        Args:
          after: what they ask for is done all the same.
        """
        self._troubles += [(method, path, code, after)] * times

    def sent(self, method: str, path: str) -> list[Any]:
        """Bodies of requests of a method, to paths with `path` in them."""
        return [request.body for request in self.requests if request.method == method and path in request.path]

    def answer(self, request: Request) -> Any:
        self.requests.append(request)
        trouble = next((t for t in self._troubles if t[0] == request.method and t[1] in request.path), None)
        if trouble:
            self._troubles.remove(trouble)
        if trouble and not trouble[3]:
            raise ProblemError(trouble[2], "the fake was told to fail")
        for method, pattern, answer in self._rules:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                said = answer(request, *match.groups())
                if trouble:
                    raise ProblemError(trouble[2], "the answer is lost")
                return said
        raise ProblemError(404, f"no such thing: {request.method} {request.path}")


@contextmanager
def serving(fake: Fake) -> Iterator[str]:
    """Serves it on a port that is free; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            request = Request(self.command, parts.path, query, json.loads(raw) if raw else None, dict(self.headers))
            try:
                code, said = 200, fake.answer(request)
            except (ProblemError, KeyError) as error:
                problem = error if isinstance(error, ProblemError) else ProblemError(404, f"{error} is not there")
                words = {"code": problem.code, "message": str(problem)}
                code, said = problem.code, {"error": words, "error_message": str(problem)}
            content = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _respond  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port on which nobody listens."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# === Vertex AI ===

_TIME = "2026-03-02T03:00:00Z"


class FakeVertex(Fake):
    """PipelineService and ScheduleService, in REST.

    Attributes:
      jobs, schedules: as JSON, by resource name.
      states: what a look at a job gives, one after the other; the last one stays.
      appears: schedules of somebody else, which are there once one was made.
      lags: lists of schedules do not show those that were made since.
    """

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Any] = {}
        self.schedules: dict[str, Any] = {}
        self.lags = False
        self.appears: dict[str, Any] = {}
        self.states: list[dict[str, Any]] = [{"state": "PIPELINE_STATE_SUCCEEDED"}]
        parent = "/v1/(projects/[^/]+/locations/[^/]+)"
        self.rule("POST", f"{parent}/pipelineJobs", self._create_job)
        self.rule("GET", f"{parent}/pipelineJobs", self._list_jobs)
        self.rule("GET", f"{parent}/pipelineJobs/([^/]+)", self._get_job)
        self.rule("POST", f"{parent}/schedules", self._create_schedule)
        self.rule("GET", f"{parent}/schedules", self._list_schedules)
        self.rule("GET", f"{parent}/schedules/([^/:]+)", self._get_schedule)
        self.rule("POST", f"{parent}/schedules/([^/:]+):(pause|resume)", self._switch)
        self.rule("DELETE", f"{parent}/schedules/([^/:]+)", self._delete_schedule)

    def _create_job(self, request: Request, parent: str) -> Any:
        name = f"{parent}/pipelineJobs/{request.query['pipelineJobId']}"
        if name in self.jobs:
            raise ProblemError(409, f"{name} exists")
        self.jobs[name] = request.body | {"name": name, "state": "PIPELINE_STATE_PENDING"}
        return self.jobs[name]

    def _get_job(self, request: Request, parent: str, job: str) -> Any:
        name = f"{parent}/pipelineJobs/{job}"
        if name not in self.jobs:
            raise ProblemError(404, f"{name} is not found")
        said = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        self.jobs[name] |= said
        return {"name": name} | said

    def _list_jobs(self, request: Request, parent: str) -> Any:
        """Newest first, and of each what is asked for."""
        wanted, states = re.fullmatch(r'pipeline_name="(.*?)" AND \((.*)\)', request.query["filter"]).groups()
        among = re.findall(r'state="(\w+)"', states)
        found = [
            {field: job[field] for field in request.query["readMask"].split(",")}
            for job in reversed(self.jobs.values())
            if job["pipelineSpec"]["pipelineInfo"]["name"] == wanted and job["state"] in among
        ]
        return {"pipelineJobs": found}

    def _create_schedule(self, request: Request, parent: str) -> Any:
        name = f"{parent}/schedules/{100 + len(self.requests)}"
        made = {"name": name, "state": "ACTIVE", "createTime": _TIME, "nextRunTime": "2026-03-09T03:00:00Z"}
        self.schedules |= {name: request.body | made} | self.appears
        return self.schedules[name]

    def _list_schedules(self, request: Request, parent: str) -> Any:
        wanted = re.search(r'display_name="(.*)"', request.query.get("filter", ""))
        if self.lags:
            return {"schedules": []}
        return {"schedules": [s for s in self.schedules.values() if not wanted or s["displayName"] == wanted[1]]}

    def _get_schedule(self, request: Request, parent: str, number: str) -> Any:
        return self.schedules[f"{parent}/schedules/{number}"]

    def _switch(self, request: Request, parent: str, number: str, what: str) -> Any:
        self.schedules[f"{parent}/schedules/{number}"]["state"] = "PAUSED" if what == "pause" else "ACTIVE"
        return {}

    def _delete_schedule(self, request: Request, parent: str, number: str) -> Any:
        del self.schedules[f"{parent}/schedules/{number}"]
        empty = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        return {"name": f"{parent}/operations/1", "done": True, "response": empty}


# === Kubeflow ===


class FakeKubeflow(Fake):
    """The API v2beta1 of Kubeflow Pipelines.

    Attributes:
      experiments, runs, recurring: as JSON, by id.
      states: what a look at a run gives, one after the other; the last one stays.
      on_end: is called when a look finds that a run succeeded.
      appears: recurring runs of somebody else, which are there once one was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_end: Callable[[], Any] = lambda: None
        self.appears: dict[str, Any] = {}
        self.experiments: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.recurring: dict[str, Any] = {}
        self.states: list[dict[str, Any]] = [{"state": "SUCCEEDED"}]
        root = "/apis/v2beta1"
        self.rule("GET", f"{root}/healthz", lambda request: {"multi_user": False})
        for kind, items, key, make in (
            ("experiments", self.experiments, "experiment_id", dict),
            ("runs", self.runs, "run_id", lambda body: {"state": "PENDING"} | body),
            ("recurringruns", self.recurring, "recurring_run_id", lambda body: {"status": "ENABLED"} | body),
        ):
            self.rule("POST", f"{root}/{kind}", functools.partial(self._create, items, key, make))
            listed = kind if kind != "recurringruns" else "recurringRuns"
            self.rule("GET", f"{root}/{kind}", functools.partial(self._list, items, listed))
        self.rule("GET", f"{root}/runs/([^/]+)", self._get_run)
        self.rule("POST", f"{root}/recurringruns/([^/:]+):(enable|disable)", self._switch)
        self.rule("DELETE", f"{root}/recurringruns/([^/:]+)", lambda request, number: self.recurring.pop(number) and {})

    def _create(self, items: dict[str, Any], key: str, make: Callable[[Any], Any], request: Request) -> Any:
        number = f"{key[0]}-{len(self.requests)}"
        items[number] = make(request.body) | {key: number, "created_at": f"2026-03-02T03:00:{len(items):02d}Z"}
        if items is self.recurring:
            items |= self.appears
        return items[number]

    def _list(self, items: dict[str, Any], listed: str, request: Request) -> Any:
        wanted = json.loads(request.query.get("filter", "{}")).get("predicates")
        found = [i for i in items.values() if not wanted or i["display_name"] == wanted[0]["stringValue"]]
        return {listed: found[::-1] if "desc" in request.query.get("sort_by", "") else found}

    def _get_run(self, request: Request, number: str) -> Any:
        if number not in self.runs:
            raise ProblemError(404, f"run {number} is not found")
        self.runs[number] |= self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if self.runs[number]["state"] == "SUCCEEDED":
            self.on_end()
        return self.runs[number]

    def _switch(self, request: Request, number: str, what: str) -> Any:
        self.recurring[number] |= {"status": f"{what.upper()}D", "mode": what.upper()}
        return {}
