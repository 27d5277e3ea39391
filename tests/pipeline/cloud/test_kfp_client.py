"""Kubeflow's own client against a stand-in for the service."""

from __future__ import annotations

import datetime
import logging

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from albert_model.errors import InputError
from pipeline.cloud.clients import NoNewsError, Run, is_run_name, new_run_name
from pipeline.cloud.kfp_client import KfpClient
from pipeline.cloud.launcher import launcher
from pipeline.schedule.settings import ScheduleSettings
from pipeline.settings import PipelineSettings
from tests.pipeline.cloud.conftest import LASTING, QUICK
from tests.pipeline.cloud.fakes import free_port

MONDAYS = ScheduleSettings(cron="0 3 * * 1")
RUNNING = {"state": "RUNNING"}


@pytest.fixture
def client(kubeflow, cloud_settings) -> KfpClient:
    return KfpClient(cloud_settings(host=kubeflow.url), QUICK, poll_seconds=0.01, lasting=LASTING)


def _tasks(**states: str) -> dict:
    return {"task_details": [{"display_name": name.replace("_", "-"), "state": states[name]} for name in states]}


def test_a_submitted_run_is_the_compiled_one(kubeflow, cloud_settings, job):
    settings = cloud_settings(host=kubeflow.url, experiment="news runs", namespace="team", service_account="runner")
    run = KfpClient(settings, QUICK).submit(job, "news-1")
    (experiment,) = kubeflow.sent("POST", "/experiments")
    assert experiment == {"display_name": "news runs", "namespace": "team"}
    (sent,) = kubeflow.sent("POST", "/runs")
    assert sent["pipeline_spec"] == job["pipelineSpec"]
    parameters = {"parameters": {"base_model": "gs://bucket/model"}, "pipeline_root": "gs://bucket/root"}
    assert sent["runtime_config"] == parameters
    assert (sent["display_name"], sent["service_account"]) == ("news-1", "runner")
    assert sent["experiment_id"] in kubeflow.experiments
    assert run == Run(run.name, f"{kubeflow.url}/#/runs/details/{run.name}")
    assert run.name in kubeflow.runs


def test_a_service_that_fails_twice_is_asked_again(kubeflow, client, job, caplog):
    kubeflow.fail("POST", "/runs", 503, times=2)
    with caplog.at_level(logging.INFO, "albert.cloud"):
        client.submit(job, "news-1")
    assert len(kubeflow.runs) == 1
    told = [record.getMessage() for record in caplog.records if record.name == "albert.cloud"]
    assert [line.partition(" in ")[0] for line in told] == [
        f"Kubeflow does not answer (503: the fake was told to fail); attempt {attempt} of 3" for attempt in (2, 3)
    ]


def test_an_answer_that_is_lost_makes_no_second_run(kubeflow, client, job):
    kubeflow.fail("POST", "/runs", 504, after=True)
    assert client.submit(job, "news-1").name in kubeflow.runs
    assert len(kubeflow.runs) == 1


def test_an_answer_that_is_lost_makes_no_second_schedule(kubeflow, client, job):
    kubeflow.fail("POST", "/recurringruns", 504, after=True)
    client.create_schedule(job, "news", MONDAYS)
    assert len(kubeflow.recurring) == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (401, "KF_PIPELINES_SA_TOKEN_PATH"),
        (403, r"Is cloud\.namespace right"),
        (409, "exists already"),
        (404, r"Does the address lead to its API"),
        (400, "does not take this: the fake was told to fail"),
        (503, "no answer after 3 attempts"),
    ],
)
def test_what_the_service_refuses_is_told_with_a_remedy(kubeflow, client, job, code, words):
    kubeflow.fail("POST", "/runs", code, times=9)
    with pytest.raises(InputError, match=words):
        client.submit(job, "news-1")


def test_a_service_that_is_down(cloud_settings):
    with pytest.raises(
        InputError, match=r"cloud\.host: Kubeflow at http://127.* no answer after 3 attempts \(.*refused\)"
    ):
        KfpClient(cloud_settings(host=f"http://127.0.0.1:{free_port()}"), QUICK)


def test_no_host(kubeflow, cloud_settings):
    with pytest.raises(InputError, match=r"cloud\.host: Kubeflow's address is not known"):
        KfpClient(cloud_settings(), QUICK)


def test_a_run_of_the_name_exists(kubeflow, client, job):
    client.submit(job, "news-1")
    with pytest.raises(InputError, match="has a run of this name already; choose another --name"):
        client.submit(job, "news-1")
    assert len(kubeflow.runs) == 1


def test_a_token_of_a_file_is_sent(kubeflow, cloud_settings, monkeypatch, tmp_path, job):
    (tmp_path / "token").write_text("abc")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    KfpClient(cloud_settings(host=kubeflow.url), QUICK).submit(job, "news-1")
    assert {request.headers.get("authorization") for request in kubeflow.requests} == {"Bearer abc"}


def test_waiting_tells_what_tasks_do(kubeflow, client, job, caplog):
    kubeflow.states = [
        RUNNING | {"run_details": _tasks(documentgen="RUNNING", documentgen_driver="SUCCEEDED", executor="RUNNING")},
        {"state": "SUCCEEDED", "run_details": _tasks(documentgen="SUCCEEDED", executor="SUCCEEDED")},
    ]
    with caplog.at_level(logging.INFO, "albert.cloud"):
        assert client.wait(client.submit(job, "news-1")) == "SUCCEEDED"
    assert [r.getMessage() for r in caplog.records if r.name == "albert.cloud"] == ["documentgen runs", "documentgen ✓"]


def test_a_run_in_which_all_is_cached(kubeflow, client, job):
    kubeflow.states = [{"state": "SUCCEEDED", "run_details": _tasks(documentgen="SUCCEEDED", executor="SKIPPED")}]
    assert client.wait(client.submit(job, "news-1")) == "CACHED"


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_fails_is_an_error_with_its_tasks_and_its_page(kubeflow, client, job, state):
    details = _tasks(trainer="FAILED", executor="FAILED")
    kubeflow.states = [{"state": state, "error": {"code": 2, "message": "out of memory"}, "run_details": details}]
    with pytest.raises(InputError, match=rf"ended as {state} in trainer: out of memory.*http://.*/#/runs/details/"):
        client.wait(client.submit(job, "news-1"))


def test_waiting_bears_a_service_that_is_away_and_a_token_that_ran_out(kubeflow, client, job):
    run = client.submit(job, "news-1")
    kubeflow.states = [RUNNING, {"state": "SUCCEEDED"}]
    kubeflow.fail("GET", f"/runs/{run.name}", 502, times=3)
    kubeflow.fail("GET", f"/runs/{run.name}", 401)
    assert client.wait(run) == "SUCCEEDED"


def test_no_news_of_a_run_is_no_failure_of_it(kubeflow, client, job, caplog):
    run = client.submit(job, "news-1")
    kubeflow.fail("GET", f"/runs/{run.name}", 503, times=6)
    with caplog.at_level(logging.INFO, "albert.cloud"), pytest.raises(NoNewsError) as caught:
        client.wait(run)
    assert f"news: no news of the run, which goes on: {run.url} (Kubeflow does not answer: " in str(caught.value)
    assert "Nothing is known to have been started" not in str(caught.value)
    told = [record.getMessage() for record in caplog.records if record.name == "albert.cloud"]
    assert [line.endswith("it is asked again until it does") for line in told] == [True]


def test_a_run_that_may_not_be_looked_at_any_more_goes_on(kubeflow, client, job):
    run = client.submit(job, "news-1")
    kubeflow.fail("GET", f"/runs/{run.name}", 403)
    with pytest.raises(NoNewsError, match=r"goes on: .*Is cloud\.namespace right"):
        client.wait(run)


def test_a_run_at_work_is_found_by_its_specification_or_its_name(kubeflow, client, cloud_settings, job):
    assert client.running() is None
    settings = cloud_settings(host=kubeflow.url)
    client.submit(launcher(settings), "Run of news (1)")
    client.submit(
        job | {"pipelineSpec": job["pipelineSpec"] | {"pipelineInfo": {"name": "news-flash"}}}, "news-flash-1"
    )
    assert client.running() is None
    by_name = client.submit(launcher(settings), new_run_name(settings))
    assert client.running() == by_name
    kubeflow.runs[by_name.name]["state"] = "SUCCEEDED"
    by_specification = client.submit(job, "mine")
    assert client.running() == by_specification


def test_names_of_runs(cloud_settings):
    settings = cloud_settings()
    assert is_run_name(settings, new_run_name(settings))
    assert is_run_name(settings, new_run_name(settings.with_span(7)))
    assert "-span-7-" in new_run_name(settings.with_span(7))
    assert not is_run_name(settings, "news-flash-span-7-20260302030000-abcd")
    digits = settings.model_copy(update={"name": "7-news"})
    assert new_run_name(digits).startswith("run-7-news-")
    assert is_run_name(digits, new_run_name(digits))


def test_a_schedule_makes_one_run_at_a_time_and_makes_up_for_one_time_at_most(kubeflow, client, cloud_settings):
    job = launcher(cloud_settings(host=kubeflow.url))
    url = client.create_schedule(job, "news", MONDAYS)
    (sent,) = kubeflow.sent("POST", "/recurringruns")
    assert sent["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (sent["display_name"], sent["max_concurrency"], sent["no_catchup"]) == ("news", 1, True)
    assert sent["mode"] == "ENABLE"
    (number,) = kubeflow.recurring
    assert url == f"{kubeflow.url}/#/recurringrun/details/{number}"


def test_what_recurs_submits_the_pipeline_with_what_is_newest_then(kubeflow, cloud_settings):
    settings = cloud_settings(host=kubeflow.url).with_span(3)
    spec = launcher(settings)["pipelineSpec"]
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # strict
    (executor,) = spec["deploymentSpec"]["executors"].values()
    container = executor["container"]
    assert (container["image"], container["command"]) == ("example/albert:1.0", ["albert"])
    *words, text = container["args"]
    assert words == ["pipeline", "submit", "--target", "kfp", "--wait", "--config-text"]
    said = PipelineSettings.model_validate_json(text)
    assert said.corpus.span == "latest"
    assert said.cloud.host is None  # inside the cluster it is another one
    assert container["env"] == [{"name": "KF_PIPELINES_UI_ENDPOINT", "value": kubeflow.url}]
    inside = settings.cloud.model_copy(update={"host": None})
    assert said.with_span(3) == settings.model_copy(update={"cloud": inside})
    (task,) = spec["root"]["dag"]["tasks"].values()
    assert task["cachingOptions"] == {}  # or it would run once and never again


def test_where_there_are_several_users_the_launcher_gets_a_token(kubeflow, cloud_settings):
    settings = cloud_settings(host=kubeflow.url, namespace="team")
    KfpClient(settings, QUICK).create_schedule(launcher(settings), "news", MONDAYS)
    (sent,) = kubeflow.sent("POST", "/recurringruns")
    executors = sent["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors == {"exec-launch": {"podMetadata": {"labels": {"access-ml-pipeline": "true"}}}}
    assert set(executors) == set(sent["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"])


def test_a_schedule_of_the_name_exists(kubeflow, client, job):
    client.create_schedule(job, "news", MONDAYS)
    with pytest.raises(InputError, match="news: Kubeflow has a schedule of this name already; add --replace"):
        client.create_schedule(job, "news", MONDAYS)
    client.create_schedule(job, "news", ScheduleSettings(cron="0 4 * * *"), replace=True)
    assert [each["trigger"]["cron_schedule"]["cron"] for each in kubeflow.recurring.values()] == ["0 0 4 * * *"]


def test_what_is_replaced_goes_once_the_new_one_is_there(kubeflow, client, job):
    client.create_schedule(job, "news", MONDAYS)
    (old,) = kubeflow.recurring
    kubeflow.fail("POST", "/recurringruns", 400)
    with pytest.raises(InputError, match="does not take this"):
        client.create_schedule(job, "news", ScheduleSettings(cron="0 4 * * *"), replace=True)
    assert list(kubeflow.recurring) == [old]


def test_of_two_schedules_that_are_made_at_once_the_older_one_stays(kubeflow, client, job):
    """The other one is there when ours was made."""
    other = {"recurring_run_id": "other", "display_name": "news", "created_at": "2026-03-01T00:00:00Z"}
    kubeflow.appears = {"other": other}
    with pytest.raises(InputError, match="made at the same time"):
        client.create_schedule(job, "news", MONDAYS)
    assert list(kubeflow.recurring) == ["other"]


def test_schedules_are_listed_paused_resumed_and_deleted(kubeflow, client, job):
    client.create_schedule(job, "news", MONDAYS)
    client.create_schedule(job, "weather", MONDAYS)
    (state,) = client.schedules()
    assert (state.name, state.cron, state.timezone, state.paused) == ("news", "0 3 * * 1", "UTC", False)
    assert state.next_run.weekday() == 0
    assert state.next_run > datetime.datetime.now(datetime.UTC)
    assert state.last_run is None
    for run_name in ("Run of news (1)", "Run of news (2)"):
        client.submit(job, run_name)
    for run in kubeflow.runs.values():
        run["recurring_run_id"] = next(iter(kubeflow.recurring))
    assert client.schedules()[0].last_run == datetime.datetime(2026, 3, 2, 3, 0, 1, tzinfo=datetime.UTC)
    client.pause("news")
    assert [(s.paused, s.next_run) for s in client.schedules()] == [(True, None)]
    client.resume("news")
    assert not client.schedules()[0].paused
    kubeflow.fail("DELETE", "/recurringruns", 503, after=True)
    client.delete("news")
    assert client.schedules() == []
    for change in (client.pause, client.resume, client.delete):
        with pytest.raises(InputError, match=r"news: Kubeflow has no schedule of this name. It has: none"):
            change("news")


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("0 3 * *", "UTC", "is no cron line"),
        ("61 3 * * 1", "UTC", "is no cron line"),
        ("0 3 * * 1 0", "UTC", "is no cron line"),
        ("@daily", "UTC", "is no cron line"),
        ("0 3 L * *", "UTC", "only numbers, names"),
        ("0 3 * * 7", "UTC", "write Sunday as 0"),
        ("0 3 * * 1", "Europe/Berlim", "'Europe/Berlim' is not known"),
        ("0 3 * * 1", "Europe/Berlin", "Kubeflow reads cron lines in its own time zone"),
    ],
)
def test_a_cron_line_is_checked_before_anything_is_sent(kubeflow, client, job, cron, zone, words):
    before = len(kubeflow.requests)
    with pytest.raises(InputError, match=words):
        client.create_schedule(job, "news", ScheduleSettings(cron=cron, timezone=zone))
    assert len(kubeflow.requests) == before
