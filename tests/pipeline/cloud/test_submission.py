"""A pipeline becomes a run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from albert_model.errors import InputError
from albert_model.publishing.versions import Versions
from pipeline.cloud import submission
from pipeline.cloud.clients import NoNewsError, checked_launcher, job_for_schedule, new_run_name
from pipeline.cloud.kfp_client import KfpClient
from pipeline.cloud.launcher import launcher
from pipeline.cloud.submit_cli import submit as submit_command
from pipeline.cloud.vertex import VertexClient
from pipeline.schedule.cli import schedule
from pipeline.settings import PipelineSettings, load_settings
from pipeline.spans import for_target
from tests.demo import ROOT
from tests.forks import Fork
from tests.pipeline.cloud.conftest import QUICK
from tests.pipeline.cloud.fakes import Fake, serving

DEMO = ROOT / "configs" / "pipelines" / "demo.yaml"


@pytest.fixture
def settings(kubeflow, tmp_path) -> PipelineSettings:
    """On Kubeflow, with the text of three spans, and folders on this machine."""
    for span in (1, 2, 3):
        (tmp_path / f"corpus/span-{span}/manual").mkdir(parents=True)
        (tmp_path / f"corpus/span-{span}/manual/a.txt").write_text("One sentence.\n")
    values = {"name": "news", "corpus.path": str(tmp_path / "corpus"), "push.destination": str(tmp_path / "out")}
    return load_settings(DEMO, values | {"cloud": {"image": "example/albert:1.0", "host": kubeflow.url}})


@pytest.fixture
def webhook() -> Iterator[Fake]:
    fake = Fake()
    fake.rule("POST", "/hook", lambda request: {})
    with serving(fake):
        yield fake


def _push(tmp_path: Path, name: str, span: int, keep: int = 9) -> str:
    """A version made of a span; gives the URI of its model."""
    model = tmp_path / "models" / name
    package = model / "Format-Serving" / "assets.extra"
    package.mkdir(parents=True)
    (package / "config.json").write_text("{}")
    more = {"spans": [span], "lineage": {"model": str(model)}}
    Versions(str(tmp_path / "out")).push(str(package), "A card", more, keep)
    return str(model)


# === What is settled before ===


def resolved(settings, target):
    found = for_target(settings, target)
    return found, submission.parameters(found, target)


def test_the_newest_span_is_found_and_starts_from_what_is_served(settings, tmp_path):
    assert resolved(settings, "kfp")[1] == {"base_model": ""}
    _push(tmp_path, "a", span=1)
    second = _push(tmp_path, "b", span=2)
    found, parameters = resolved(settings, "kfp")
    assert (found.corpus.span, parameters) == (3, {"base_model": second})


def test_a_span_that_is_run_again_starts_from_the_same_model_again(settings, tmp_path):
    first = _push(tmp_path, "a", span=1)
    for name, span in (("b", 2), ("c", 2), ("d", 3)):
        _push(tmp_path, name, span)
    assert submission.base_model(settings.push.destination, 2) == first
    assert submission.base_model(settings.push.destination, 1) == ""


def test_versions_that_were_rolled_back_and_models_that_are_gone_are_not_started_from(settings, tmp_path):
    first = _push(tmp_path, "a", span=1)
    second = Path(_push(tmp_path, "b", span=2), "Format-Serving", "assets.extra", "config.json")
    third = _push(tmp_path, "c", span=3)
    destination = settings.push.destination
    assert submission.base_model(destination, 4) == third
    Versions(destination).rollback(2)
    assert submission.base_model(destination, 4) == str(second.parents[2])
    second.unlink()
    assert submission.base_model(destination, 4) == first


def test_from_scratch_there_is_no_model_to_start_from(settings, tmp_path):
    _push(tmp_path, "a", span=1)
    assert resolved(settings.model_copy(update={"start": "random"}), "kfp")[1] == {}


def test_vertex_finds_out_by_itself(settings):
    assert resolved(settings, "vertex") == (settings, {})


# === Nothing twice ===


def test_a_span_that_was_pushed_is_nothing_new(settings, kubeflow, tmp_path):
    _push(tmp_path, "a", span=3)
    said: list[str] = []
    submission.submit(settings, "kfp", say=said.append)
    assert said == ["nothing new: span 3 was pushed as version 1 already"]
    assert kubeflow.runs == {}
    assert submission.pushed_version(settings.with_span(2)) is None


def test_a_run_at_work_is_in_the_way(settings, kubeflow, job):
    at_work = KfpClient(settings, QUICK).submit(job, new_run_name(settings))
    with pytest.raises(InputError, match=rf"a run is at work: {at_work.url} .*--wait does"):
        submission.submit(settings, "kfp", say=print)
    assert len(kubeflow.runs) == 1


def test_a_run_at_work_is_waited_for_and_what_it_pushed_is_not_run_again(settings, kubeflow, job, tmp_path):
    """As when what watched over it was killed, and its schedule fires again."""
    KfpClient(settings, QUICK).submit(job, new_run_name(settings))
    kubeflow.on_end = lambda: _push(tmp_path, "a", span=3)
    said: list[str] = []
    submission.submit(settings, "kfp", wait=True, say=said.append)
    assert [line.partition("\n")[0] for line in said] == [
        "news: a run is at work; waiting for its end",
        "nothing new: span 3 was pushed as version 1 already",
    ]
    assert len(kubeflow.runs) == 1


def test_names_that_a_service_would_not_take(settings, kubeflow):
    with pytest.raises(InputError, match="--name My Run: lower-case letters"):
        submission.submit(settings, "kfp", run_name="My Run")
    assert kubeflow.requests == []


def test_a_run_at_work_on_vertex_ai_is_in_the_way(vertex, cloud_settings, job):
    settings = cloud_settings(host=vertex.url)
    at_work = VertexClient(settings, QUICK).submit(job, "by-a-schedule")
    with pytest.raises(InputError, match=r"news: a run is at work: .*/by-a-schedule.*--wait does"):
        submission.submit(settings, "vertex", say=print)
    assert list(vertex.jobs) == [at_work.name]


def test_while_there_is_no_news_of_the_run_at_work_no_other_is_started(kubeflow, settings, job, monkeypatch):
    monkeypatch.setattr(submission, "client_of", lambda *_: KfpClient(settings, QUICK, lasting=QUICK))
    at_work = KfpClient(settings, QUICK).submit(job, new_run_name(settings))
    kubeflow.fail("GET", f"/runs/{at_work.name}", 503, times=3)
    with pytest.raises(NoNewsError):
        submission.submit(settings, "kfp", wait=True, say=lambda line: None)
    assert len(kubeflow.runs) == 1


def test_a_span_that_may_have_been_pushed_and_removed_is_refused(settings, kubeflow, tmp_path):
    for span in (1, 2, 3):
        _push(tmp_path, str(span), span, keep=2)
    with pytest.raises(InputError, match=r"corpus\.span: 1 is older than all that .* begins with span 2.*--force"):
        submission.submit(settings.with_span(1), "kfp", say=print)
    assert kubeflow.runs == {}


# === What is scheduled is checked ===


@pytest.mark.parametrize("target", ["vertex", "kfp"])
def test_what_would_not_be_submitted_is_not_scheduled(settings, target):
    cloud = settings.cloud.model_copy(update={"image": "example/albert", "project": "a-project"})
    with pytest.raises(InputError) as caught:
        job_for_schedule(settings.model_copy(update={"cloud": cloud}), target)
    assert "Nothing was sent. images: " in str(caught.value)
    assert f"push.destination: {settings.push.destination} is on this machine alone" in str(caught.value)


@pytest.mark.parametrize(
    ("cloud", "words"),
    [
        ({"image": "example/albert"}, "images of what recurs: launch: image 'example/albert' has no tag"),
        ({"host": "https://me:hunter2@example.com"}, "secrets of what recurs: an address with a password in "),
    ],
)
def test_what_recurs_on_kubeflow_is_checked_too(settings, cloud, words):
    """Components may have images of their own; what recurs has that of all."""
    assert checked_launcher(settings) == launcher(settings)
    with pytest.raises(InputError, match=words) as caught:
        checked_launcher(settings.model_copy(update={"cloud": settings.cloud.model_copy(update=cloud)}))
    assert "hunter2" not in str(caught.value)


# === Its end ===


def _followed(settings: PipelineSettings, job: dict, said: list[str]) -> None:
    client = KfpClient(settings, QUICK, poll_seconds=0.01)
    submission.follow(client, client.submit(job, "news-1"), settings, "kfp", said.append)


def test_a_run_that_came_to_its_end(settings, kubeflow, job):
    said: list[str] = []
    _followed(settings, job, said)
    assert said == ["news: succeeded"]


def test_a_run_in_which_all_was_cached_is_nothing_new(settings, kubeflow, job):
    details = {"task_details": [{"display_name": "executor", "state": "SKIPPED"}]}
    kubeflow.states = [{"state": "SUCCEEDED", "run_details": details}]
    said: list[str] = []
    _followed(settings, job, said)
    assert said == ["nothing new: everything was cached, nothing pushed"]


def test_of_a_run_that_failed_people_are_told(settings, kubeflow, webhook, job):
    notify = {"notify": {"webhook": f"{webhook.url}/hook"}}
    cloud = settings.cloud.model_validate(settings.cloud.model_dump() | notify)
    kubeflow.states = [{"state": "FAILED", "error": {"message": "out of memory"}}]
    with pytest.raises(InputError, match="out of memory"):
        _followed(settings.model_copy(update={"cloud": cloud}), job, [])
    (sent,) = webhook.sent("POST", "/hook")
    assert sent["text"].startswith("news: the run ended as FAILED: out of memory")


def test_of_a_run_that_goes_on_without_news_people_are_not_told(settings, kubeflow, webhook, job):
    notify = {"notify": {"webhook": f"{webhook.url}/hook"}}
    cloud = settings.cloud.model_validate(settings.cloud.model_dump() | notify)
    settings = settings.model_copy(update={"cloud": cloud})
    client = KfpClient(settings, QUICK, lasting=QUICK)
    run = client.submit(job, "news-1")
    kubeflow.fail("GET", f"/runs/{run.name}", 503, times=3)
    with pytest.raises(NoNewsError, match=f"goes on: {run.url} "):
        submission.follow(client, run, settings, "kfp", print)
    assert webhook.requests == []


def test_where_nobody_can_be_told_the_failure_is_what_counts(settings, kubeflow, job, monkeypatch):
    monkeypatch.delenv("NO_SUCH_WEBHOOK", raising=False)
    cloud = settings.cloud.model_validate(settings.cloud.model_dump() | {"notify": {"webhook": "env:NO_SUCH_WEBHOOK"}})
    kubeflow.states = [{"state": "FAILED"}]
    with pytest.raises(InputError, match="the run ended as FAILED"):
        _followed(settings.model_copy(update={"cloud": cloud}), job, [])


# === The command ===


def test_what_recurs_on_kubeflow_says_in_a_line_that_there_is_nothing_new(
    settings, kubeflow, tmp_path, monkeypatch, capfd
):
    """The words of its container, where the API has another address than from outside."""
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kubeflow.url)
    outside = settings.cloud.model_copy(update={"host": "https://kubeflow.example.com"})
    job = launcher(settings.model_copy(update={"cloud": outside}))
    (executor,) = job["pipelineSpec"]["deploymentSpec"]["executors"].values()
    _push(tmp_path, "a", span=3)
    submit_command.main(executor["container"]["args"][2:], standalone_mode=False)
    assert capfd.readouterr().out == "nothing new: span 3 was pushed as version 1 already\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Give the settings: --config FILE."),
        (["--config", "a.yaml", "--config-text", "{}"], "Give the settings: --config FILE."),
        (["--config-text", "{"], "--config-text: "),
        (["--config", str(DEMO)], "cloud: the settings have no such section"),
    ],
)
def test_settings_that_are_none(words, told):
    done = CliRunner().invoke(submit_command, ["--target", "kfp", *words])
    assert done.exit_code == 1
    assert told in done.output


def test_the_examples_for_kubernetes_and_terraform_give_commands_that_there_are():
    job = yaml.safe_load((ROOT / "kubeflow" / "cron_job.yaml").read_text())
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["albert"]
    assert container["args"][:2] == ["pipeline", "submit"]
    with submit_command.make_context("submit", container["args"][2:]) as context:
        assert context.params["wait"]
        assert context.params["config"] == f"{container['volumeMounts'][0]['mountPath']}/pipeline.yaml"
    said = (ROOT / "kubeflow" / "terraform" / "main.tf").read_text()
    commands = re.findall(r'command += "albert pipeline schedule (\w+) (.*)"\n', said)
    assert [name for name, _ in commands] == ["create", "delete"]
    for name, words in commands:
        schedule.commands[name].make_context(name, shlex.split(words.replace("\\", "")))


def test_a_pipeline_is_compiled_checked_submitted_and_waited_for(kubeflow, webhook):
    """In a process of its own, as users do it; its run fails."""
    kubeflow.states = [{"state": "FAILED", "error": {"message": "out of memory"}}]
    done = Fork(_submit, kubeflow.url, f"{webhook.url}/hook").done()
    assert done.returncode == 1, done.stdout + done.stderr
    (sent,) = kubeflow.sent("POST", "/runs")
    assert sent["display_name"] == "my-run"
    assert sent["pipeline_spec"]["pipelineInfo"]["name"] == "news"
    assert "span-{SPAN}/" in json.dumps(sent["pipeline_spec"])
    assert sent["runtime_config"]["parameters"]["span"] == 2
    assert sent["runtime_config"]["parameters"]["base_model"] == ""
    (run,) = kubeflow.runs
    assert done.stdout == f"news: submitted, of span 2\n  {kubeflow.url}/#/runs/details/{run}\n"
    assert "Error: news: the run ended as FAILED: out of memory" in done.stderr
    assert len(webhook.sent("POST", "/hook")) == 1


def test_a_schedule_on_kubeflow_is_checked_with_the_newest_span_and_finds_its_own_later(kubeflow):
    done = Fork(_create_schedule, kubeflow.url).done()
    assert done.returncode == 0, done.stdout + done.stderr
    (sent,) = kubeflow.sent("POST", "/recurringruns")
    assert sent["pipeline_spec"]["pipelineInfo"]["name"] == "news-launcher"
    assert done.stdout.startswith("news: 0 3 * * 1 (UTC)\n")


def _submit(url: str, webhook: str) -> None:
    words = [*_remote_settings({"host": url, "notify": {"webhook": webhook}}), "--target=kfp", f"--config={DEMO}"]
    submit_command.main([*words, "--wait", "--name=my-run"])


def _create_schedule(url: str) -> None:
    words = [*_remote_settings({"host": url}), "--target=kfp", f"--config={DEMO}"]
    schedule.main(["create", *words, "--set=schedule.cron=0 3 * * 1"])


def _remote_settings(cloud: dict) -> list[str]:
    """Words for the settings of a pipeline of two spans, which lie where a service would reach them."""
    import tensorflow as tf

    for span in (1, 2):
        tf.io.gfile.makedirs(f"ram://corpus/span-{span}/manual")
        with tf.io.gfile.GFile(f"ram://corpus/span-{span}/manual/a.txt", "w") as file:
            file.write("One sentence.\n")
    values = {
        "name": "news",
        "root": "gs://bucket/root",
        "corpus.path": "ram://corpus",
        "push.destination": "ram://out",
    }
    values["cloud"] = json.dumps({"image": "example/albert:1.0"} | cloud)
    return [f"--set={key}={value}" for key, value in values.items()]
