"""Vertex AI's own client against a stand-in for the service."""

from __future__ import annotations

import datetime
import json
import logging

import pytest

from albert_model.errors import InputError
from pipeline.cloud.clients import NoNewsError, Run
from pipeline.cloud.vertex import VertexClient
from pipeline.schedule.settings import ScheduleSettings
from tests.pipeline.cloud.conftest import LASTING, QUICK
from tests.pipeline.cloud.fakes import free_port

MONDAYS = ScheduleSettings(cron="0 3 * * 1", timezone="Europe/Berlin")
RUN = Run("projects/a-project/locations/us-central1/pipelineJobs/news-1", "https://a.page")


@pytest.fixture
def client(vertex, cloud_settings) -> VertexClient:
    return VertexClient(cloud_settings(host=vertex.url), QUICK, poll_seconds=0.01, lasting=LASTING)


def _task(name: str, state: str, is_component: bool = True) -> dict:
    detail = {"containerDetail": {"mainJob": "a-job"}} if is_component else {}
    return {"taskName": name, "state": state, "executorDetail": detail}


def test_a_submitted_run_is_the_compiled_one(vertex, cloud_settings, job):
    account = "runner@a-project.iam.gserviceaccount.com"
    settings = cloud_settings(host=vertex.url, region="europe-west4", service_account=account, network="a-network")
    run = VertexClient(settings, QUICK).submit(job, "news-1")
    (sent,) = vertex.sent("POST", "/locations/europe-west4/pipelineJobs")
    assert sent["pipelineSpec"] == job["pipelineSpec"]
    assert sent["runtimeConfig"]["parameterValues"] == {"base_model": "gs://bucket/model"}
    assert sent["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"
    assert (sent["serviceAccount"], sent["network"], sent["labels"]["a"]) == (account, "a-network", "b")
    assert run.name == "projects/a-project/locations/europe-west4/pipelineJobs/news-1"
    assert run.url.endswith("/locations/europe-west4/pipelines/runs/news-1?project=a-project")


def test_a_service_that_fails_twice_is_asked_again(vertex, client, job, caplog):
    vertex.fail("POST", "pipelineJobs", 503, times=2)
    with caplog.at_level(logging.INFO, "albert.cloud"):
        client.submit(job, "news-1")
    assert len(vertex.jobs) == 1
    told = [record.getMessage() for record in caplog.records if record.name == "albert.cloud"]
    assert [line.partition("; ")[2][:14] for line in told] == ["attempt 2 of 3", "attempt 3 of 3"]


def test_an_answer_that_is_lost_makes_no_second_run(vertex, client, job):
    vertex.fail("POST", "pipelineJobs", 503, after=True)
    assert client.submit(job, "news-1").name == RUN.name
    assert len(vertex.sent("POST", "pipelineJobs")) == len(vertex.jobs) == 1


def test_an_answer_that_is_lost_makes_no_second_schedule(vertex, client, job):
    vertex.fail("POST", "schedules", 503, after=True)
    client.create_schedule(job, "news", MONDAYS)
    assert len(vertex.schedules) == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (401, "gcloud auth application-default login"),
        (403, "roles/aiplatform.user"),
        (429, "quota"),
        (400, "does not take this"),
        (503, "no answer after 3 attempts"),
    ],
)
def test_what_the_service_refuses_is_told_with_a_remedy(vertex, client, job, code, words):
    vertex.fail("POST", "pipelineJobs", code, times=9)
    with pytest.raises(InputError, match=words):
        client.submit(job, "news-1")


def test_a_service_that_is_down(cloud_settings, job):
    client = VertexClient(cloud_settings(host=f"http://127.0.0.1:{free_port()}"), QUICK)
    with pytest.raises(InputError, match=r"no answer after 3 attempts.*cloud\.region"):
        client.submit(job, "news-1")


def test_a_service_that_is_down_over_grpc(cloud_settings, monkeypatch, tmp_path, job):
    """The way to Google: TLS, and credentials of a file."""
    login = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    (tmp_path / "login.json").write_text(json.dumps(login))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "login.json"))
    client = VertexClient(cloud_settings(host=f"https://127.0.0.1:{free_port()}"), QUICK)
    with pytest.raises(InputError, match=r"no answer after 3 attempts.*cloud\.region"):
        client.submit(job, "news-1")


def test_a_run_of_the_name_exists(vertex, client, job):
    client.submit(job, "news-1")
    with pytest.raises(InputError, match="has a run of this name already"):
        client.submit(job, "news-1")
    assert len(vertex.sent("POST", "pipelineJobs")) == 1


def test_a_run_at_work_is_found_also_one_that_a_schedule_made(vertex, client, job):
    assert client.running() is None
    other = job | {"pipelineSpec": job["pipelineSpec"] | {"pipelineInfo": {"name": "news-flash"}}}
    client.submit(other, "news-flash-1")
    assert client.running() is None
    first, second = (client.submit(job, name) for name in ("news-1", "by-a-schedule"))
    assert client.running() == second
    vertex.jobs[second.name]["state"] = "PIPELINE_STATE_FAILED"
    vertex.jobs[first.name]["state"] = "PIPELINE_STATE_RUNNING"
    assert client.running() == first
    assert client.wait(first) == "SUCCEEDED"
    assert client.running() is None


def test_waiting_tells_what_tasks_do(vertex, client, job, caplog):
    client.submit(job, "news-1")
    graph = _task("tfx-dag", "SUCCEEDED", is_component=False)
    vertex.states = [
        {"state": "PIPELINE_STATE_PENDING"},
        {"state": "PIPELINE_STATE_RUNNING", "jobDetail": {"taskDetails": [_task("Trainer", "RUNNING")]}},
        {"state": "PIPELINE_STATE_RUNNING", "jobDetail": {"taskDetails": [_task("Trainer", "RUNNING")]}},
        {
            "state": "PIPELINE_STATE_SUCCEEDED",
            "jobDetail": {"taskDetails": [graph, _task("DocumentGen", "SKIPPED"), _task("Trainer", "SUCCEEDED")]},
        },
    ]
    with caplog.at_level(logging.INFO, "albert.cloud"):
        assert client.wait(RUN) == "SUCCEEDED"
    told = [record.getMessage() for record in caplog.records if record.name == "albert.cloud"]
    assert told == ["Trainer runs", "tfx-dag ✓", "DocumentGen ✓ cached", "Trainer ✓"]


def test_a_run_in_which_all_is_cached(vertex, client, job):
    """The exit handler is no task of the pipeline's own: it is never cached."""
    client.submit(job, "news-1")
    tasks = [_task("DocumentGen", "SKIPPED"), _task("Trainer", "SKIPPED"), _task("FailureNotice", "SUCCEEDED")]
    vertex.states = [{"state": "PIPELINE_STATE_SUCCEEDED", "jobDetail": {"taskDetails": tasks}}]
    assert client.wait(RUN) == "CACHED"


def test_a_run_that_fails_is_an_error_with_its_tasks_and_its_page(vertex, client, job):
    client.submit(job, "news-1")
    tasks = [
        _task("tfx-dag", "FAILED", is_component=False),
        _task("Trainer", "FAILED"),
        _task("Report", "NOT_TRIGGERED"),
    ]
    error = {"code": 9, "message": "out of memory"}
    vertex.states = [{"state": "PIPELINE_STATE_FAILED", "error": error, "jobDetail": {"taskDetails": tasks}}]
    with pytest.raises(InputError, match=r"ended as FAILED in Trainer: out of memory.*https://a.page"):
        client.wait(RUN)


def test_waiting_bears_a_service_that_is_away_for_a_while(vertex, client, job):
    client.submit(job, "news-1")
    vertex.fail("GET", "pipelineJobs", 502, times=5)
    assert client.wait(RUN) == "SUCCEEDED"


def test_no_news_of_a_run_is_no_failure_of_it(vertex, client, job, caplog):
    run = client.submit(job, "news-1")
    vertex.fail("GET", "pipelineJobs/news-1", 503, times=6)
    with caplog.at_level(logging.INFO, "albert.cloud"), pytest.raises(NoNewsError) as caught:
        client.wait(run)
    assert f"news: no news of the run, which goes on: {run.url} (Vertex AI does not answer: " in str(caught.value)
    assert "Nothing is known to have been started" not in str(caught.value)
    told = [record.getMessage() for record in caplog.records if record.name == "albert.cloud"]
    assert [line.endswith("it is asked again until it does") for line in told] == [True]


def test_a_run_that_may_not_be_looked_at_any_more_goes_on(vertex, client, job):
    run = client.submit(job, "news-1")
    vertex.fail("GET", "pipelineJobs/news-1", 403)
    with pytest.raises(NoNewsError, match=r"goes on: .*roles/aiplatform\.user"):
        client.wait(run)


def test_a_schedule_makes_one_run_at_a_time(vertex, client, job):
    url = client.create_schedule(job, "news", MONDAYS)
    (sent,) = vertex.sent("POST", "/schedules")
    assert (sent["cron"], sent["displayName"]) == ("TZ=Europe/Berlin 0 3 * * 1", "news")
    assert sent["maxConcurrentRunCount"] == "1"
    assert not sent.get("allowQueueing")
    made = sent["createPipelineJobRequest"]["pipelineJob"]
    assert made["pipelineSpec"] == job["pipelineSpec"]
    assert made["runtimeConfig"]["parameterValues"] == {"base_model": "gs://bucket/model"}
    (number,) = (name.rpartition("/")[2] for name in vertex.schedules)
    assert url.endswith(f"/pipelines/schedules/{number}?project=a-project")


def test_a_schedule_of_the_name_exists(vertex, client, job):
    client.create_schedule(job, "news", MONDAYS)
    with pytest.raises(InputError, match="news: Vertex AI has a schedule of this name already; add --replace"):
        client.create_schedule(job, "news", MONDAYS)
    client.create_schedule(job, "news", ScheduleSettings(cron="0 4 * * *"), replace=True)
    assert [schedule["cron"] for schedule in vertex.schedules.values()] == ["TZ=UTC 0 4 * * *"]


def test_what_is_replaced_goes_once_the_new_one_is_there(vertex, client, job):
    client.create_schedule(job, "news", MONDAYS)
    (old,) = vertex.schedules
    vertex.fail("POST", "/schedules", 400)
    with pytest.raises(InputError, match="does not take this"):
        client.create_schedule(job, "news", ScheduleSettings(cron="0 4 * * *"), replace=True)
    assert list(vertex.schedules) == [old]
    vertex.fail("DELETE", "/schedules", 403)
    with pytest.raises(InputError, match=r"the new schedule is there, and so is the one before it. Repeat the command"):
        client.create_schedule(job, "news", ScheduleSettings(cron="0 4 * * *"), replace=True)
    client.create_schedule(job, "news", ScheduleSettings(cron="0 5 * * *"), replace=True)
    assert [schedule["cron"] for schedule in vertex.schedules.values()] == ["TZ=UTC 0 5 * * *"]


def test_a_list_that_lags_behind(vertex, client, job):
    vertex.lags = True
    assert client.create_schedule(job, "news", MONDAYS).endswith("?project=a-project")
    assert len(vertex.schedules) == 1


def test_of_two_schedules_that_are_made_at_once_the_older_one_stays(vertex, client, job):
    """The other one is there when ours was made."""
    other = "projects/a-project/locations/us-central1/schedules/1"
    vertex.appears = {other: {"name": other, "displayName": "news", "createTime": "2026-03-01T00:00:00Z"}}
    with pytest.raises(InputError, match="made at the same time"):
        client.create_schedule(job, "news", MONDAYS)
    assert list(vertex.schedules) == [other]


def test_schedules_are_listed_paused_resumed_and_deleted(vertex, client, job):
    client.create_schedule(job, "news", MONDAYS)
    client.create_schedule(job, "weather", MONDAYS)
    (state,) = client.schedules()
    assert (state.name, state.cron, state.timezone, state.paused) == ("news", "0 3 * * 1", "Europe/Berlin", False)
    assert state.next_run == datetime.datetime(2026, 3, 9, 3, tzinfo=datetime.UTC)
    assert state.last_run is None
    client.pause("news")
    assert [(s.paused, s.next_run) for s in client.schedules()] == [(True, None)]
    client.resume("news")
    assert not client.schedules()[0].paused
    client.delete("news")
    assert client.schedules() == []
    for change in (client.pause, client.resume, client.delete):
        with pytest.raises(InputError, match=r"news: Vertex AI has no schedule of this name. It has: none"):
            change("news")


def test_a_cron_line_is_checked_before_anything_is_sent(vertex, client, job):
    with pytest.raises(InputError, match=r"schedule.cron: '0 3 \* \*' is no cron line"):
        client.create_schedule(job, "news", ScheduleSettings(cron="0 3 * *"))
    assert vertex.requests == []


def test_no_credentials(cloud_settings, monkeypatch, tmp_path):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(InputError, match=r"no Google credentials here.*gcloud auth application-default login"):
        VertexClient(cloud_settings(), QUICK)


def test_no_project(vertex, cloud_settings):
    with pytest.raises(InputError, match=r"cloud\.project: the credentials name no project"):
        VertexClient(cloud_settings(host=vertex.url, project=None), QUICK)


def test_a_region_that_is_none(vertex, cloud_settings):
    with pytest.raises(InputError, match=r"cloud\.region: .*no region atlantis"):
        VertexClient(cloud_settings(host=vertex.url, region="atlantis"), QUICK)
