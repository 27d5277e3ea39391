"""FailureNotice, alone and as Vertex AI runs it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

from albert_model.errors import InputError
from components.failure_notice import executor
from components.failure_notice.component import FailureNotice
from pipeline.cloud.settings import NotificationSettings
from pipeline.notification import notify
from tests.pipeline.cloud.fakes import Fake, free_port, serving

SECRET = "T000-B000-x9y8z7"
FAILED = {
    "state": "FAILED",
    "error": {"code": 9, "message": "The  Trainer\nfailed."},
    "pipelineJobName": "news-1",
    "pipelineJobResourceName": "projects/a-project/locations/europe-west4/pipelineJobs/news-1",
    "pipelineTaskName": "tfx-dag",
}


@pytest.fixture
def hook(monkeypatch) -> Iterator[Fake]:
    """Where messages are posted to. Nobody waits long for an attempt here."""
    monkeypatch.setattr(executor, "_FIRST_SECONDS", 0.01)
    fake = Fake()
    fake.rule("POST", f"/{SECRET}", lambda request: {})
    with serving(fake):
        yield fake


def _url(hook: Fake) -> str:
    return f"{hook.url}/{SECRET}"


def test_people_are_told_of_a_run_that_failed(hook):
    executor.tell_of_failure(json.dumps(FAILED), _url(hook), "news")
    page = "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/news-1?project=a-project"
    assert hook.sent("POST", SECRET) == [{"text": f"news: the run failed. The Trainer failed. {page}"}]


@pytest.mark.parametrize("state", ["SUCCEEDED", "CANCELLED", None])
def test_nobody_is_told_of_others(hook, state):
    executor.tell_of_failure(json.dumps(FAILED | {"state": state}), _url(hook), "news")
    assert hook.requests == []


def test_a_status_that_says_little_will_do(hook):
    executor.tell_of_failure('{"state": "FAILED"}', _url(hook), "news")
    executor.tell_of_failure('{"state": "FAILED", "error": null}', _url(hook), "news")
    assert hook.sent("POST", SECRET) == [{"text": "news: the run failed."}] * 2


@pytest.mark.parametrize("status", ["", "[]", "{"])
def test_a_status_that_is_none(hook, status):
    with pytest.raises(InputError, match="final_status: "):
        executor.tell_of_failure(status, _url(hook), "news")


@pytest.mark.parametrize("code", [503, 429])
def test_a_server_that_fails_twice_is_asked_again(hook, code):
    hook.fail("POST", SECRET, code, times=2)
    notify(NotificationSettings(webhook=_url(hook)), "It failed.")
    assert hook.sent("POST", SECRET) == [{"text": "It failed."}] * 3


def test_the_address_may_stand_in_the_environment(hook, monkeypatch):
    monkeypatch.setenv("NEWS_WEBHOOK", f"{_url(hook)}\n")
    notify(NotificationSettings(webhook="env:NEWS_WEBHOOK"), "It failed.")
    assert hook.sent("POST", SECRET) == [{"text": "It failed."}]


def test_no_such_variable(monkeypatch):
    monkeypatch.delenv("NEWS_WEBHOOK", raising=False)
    with pytest.raises(InputError, match="the environment variable NEWS_WEBHOOK is not set"):
        executor.post("env:NEWS_WEBHOOK", "It failed.")


def test_a_secret_without_credentials(monkeypatch, tmp_path):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(InputError, match=r"projects/p/secrets/s/versions/latest cannot be read.*secretAccessor"):
        executor.post("projects/p/secrets/s/versions/latest", "It failed.")


@pytest.mark.parametrize(
    "trouble", ["is down", "breaks off", "refuses", "sends elsewhere", "is no address", "has no scheme"]
)
def test_the_address_is_in_no_error_and_no_log(hook, caplog, trouble):
    addresses = {
        "is down": f"http://127.0.0.1:{free_port()}/{SECRET}",
        "is no address": f"http://hooks.example.com/{SECRET}",
        "has no scheme": f"hooks.example.com/{SECRET}",
    }
    if trouble == "breaks off":
        hook.fail("POST", SECRET, 500, times=9)
    elif trouble == "refuses":
        hook.fail("POST", SECRET, 404)
    elif trouble == "sends elsewhere":
        hook.fail("POST", SECRET, 302)
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match=r"cloud\.notify\.webhook: ") as raised:
        executor.post(addresses.get(trouble, _url(hook)), "It failed.")
    told = [str(raised.value), *(record.getMessage() for record in caplog.records)]
    assert not [line for line in told if SECRET in line]
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_as_an_exit_handler_it_runs_last_with_how_the_run_ended(hook, tmp_path):
    """What Vertex AI does with the compiled pipeline: it puts in the status, and starts the container's command."""
    job = _compiled(_url(hook))
    task = job["pipelineSpec"]["root"]["dag"]["tasks"]["FailureNotice"]
    assert task["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert task["dependentTasks"] == ["tfx-dag"]
    inputs = task["inputs"]["parameters"]
    assert inputs["final_status"] == {"taskFinalStatus": {"producerTask": "tfx-dag"}}
    values = {name: each["runtimeValue"]["constant"] for name, each in inputs.items() if "runtimeValue" in each}
    container = job["pipelineSpec"]["deploymentSpec"]["executors"]["FailureNotice_executor"]["container"]
    invocation = {
        "inputs": {"parameterValues": values | {"final_status": json.dumps(FAILED)}},
        "outputs": {"outputFile": str(tmp_path / "task" / "executor_output.json")},
    }
    words = [json.dumps(invocation) if word == "{{$}}" else word for word in container["args"]]
    kubeflow_v2_run_executor.main(kubeflow_v2_run_executor._parse_flags(["", *words]))
    assert [sent["text"].partition(".")[0] for sent in hook.sent("POST", SECRET)] == ["news: the run failed"]


def _compiled(webhook: str) -> dict:
    notice = FailureNotice(
        final_status=tfx.orchestration.experimental.FinalStatusStr(), webhook=webhook, pipeline_name="news"
    )
    importer = tfx.dsl.Importer(source_uri="gs://bucket/model", artifact_type=tfx.types.standard_artifacts.Model)
    pipeline = tfx.dsl.Pipeline(pipeline_name="news", pipeline_root="gs://bucket/root", components=[importer])
    config = tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
        default_image="example/albert:1.0", use_pipeline_spec_2_1=True
    )
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(config)
    runner.set_exit_handler(notice)
    return runner.run(pipeline, write_out=False)
