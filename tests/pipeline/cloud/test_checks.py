"""The checks before submission: of what is compiled, and of what was done to it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from albert_model.errors import InputError
from pipeline.cloud import checks, compiled, compiler, environment_checks, graph_checks, importable, machine_checks
from pipeline.cloud.check_cli import check
from pipeline.cloud.checks import NotCheckedError, ProblemError, Subject
from pipeline.cloud.settings import Target
from pipeline.settings import PipelineSettings, load_settings
from tests.demo import ROOT

_VALUES = {
    "name": "news",
    "root": "gs://bucket/root",
    "corpus.path": "gs://bucket/corpus",
    "corpus.span": 2,
    "push.destination": "gs://bucket/out",
}
_WORKERS = "--sdk_container_image=a"
_CLOUD = {"image": "example/albert:1.0", "project": "a-project"}


def _settings(cloud: Mapping[str, Any] | None = None, **values: Any) -> PipelineSettings:
    values = {key.replace("__", "."): value for key, value in values.items()}
    path = ROOT / "configs" / "pipelines" / "demo.yaml"
    return load_settings(path, _VALUES | {"cloud": _CLOUD | dict(cloud or {})} | values)


@pytest.fixture(scope="module")
def jobs() -> dict[Target, dict[str, Any]]:
    """The demo, compiled for both targets."""
    return {target: compiler.compile_pipeline(_settings(), target) for target in ("vertex", "kfp")}


@pytest.fixture
def subject(jobs) -> Callable[..., Subject]:
    """A compiled pipeline to check, after something was done to it."""

    def made(change: Callable[[dict[str, Any]], None] = lambda job: None, target: Target = "vertex", settings=None):
        job = copy.deepcopy(jobs[target])
        change(job)
        return Subject(compiled.parse(job, target), target, settings or _settings())

    return made


def _tasks(job: dict[str, Any]) -> dict[str, Any]:
    return job["pipelineSpec"]["root"]["dag"]["tasks"]


def _containers(job: dict[str, Any]) -> dict[str, Any]:
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    return {label.removesuffix("_executor"): each["container"] for label, each in executors.items()}


def _set_parameter(job: dict[str, Any], task: str, name: str, value: Any) -> None:
    _tasks(job)[task]["inputs"]["parameters"][name] = {"runtimeValue": {"constant": value}}


# === All of them ===


@pytest.mark.parametrize("target", ["vertex", "kfp"])
def test_what_is_compiled_passes(jobs, target):
    results = checks.check_job(jobs[target], target, _settings())
    assert checks.failures(results) == []
    assert [result.name for result in results if result.outcome == "not checked"] == ["memory"]  # no limit is set
    assert {result.name for result in results} >= {
        "specification",
        "artifacts",
        "secrets",
        "importable",
        "remote paths",
    }


def test_a_specification_that_is_not_one_ends_the_checks(jobs):
    job = copy.deepcopy(jobs["vertex"])
    job["pipelineSpec"]["root"]["dagg"] = {}
    (result,) = checks.check_job(job, "vertex")
    assert result.outcome == "failed"
    assert "dagg" in result.found


def test_settings_are_those_that_the_report_has(jobs, tmp_path):
    path = tmp_path / "pipeline.yaml"
    compiler.write(jobs["kfp"], path)
    job = compiled.read(path)
    assert checks._settings_in(compiled.parse(job, "kfp")) == _settings()


def test_local_runs_are_not_for_here():
    with pytest.raises(InputError, match="vertex or kfp"):
        checks.check_before_submission(_settings(), "local")


# === The graph ===


def test_the_schema_version(subject):
    with pytest.raises(ProblemError, match=r"is 2\.0\.0; both services need 2\.1\.0"):
        graph_checks.schema_version(subject(lambda job: job["pipelineSpec"].update(schemaVersion="2.0.0")))


@pytest.mark.parametrize(
    ("target", "change", "words"),
    [
        ("vertex", lambda job: job["runtimeConfig"].pop("gcsOutputDirectory"), "Pipeline root must be specified"),
        ("vertex", lambda job: job["runtimeConfig"].update(parameterValues={"typo": 1}), "typo is not found"),
        ("kfp", lambda job: job["pipelineSpec"].pop("root"), "root"),
    ],
)
def test_what_the_services_clients_refuse(subject, target, change, words):
    with pytest.raises(ProblemError, match=words):
        graph_checks.loader(subject(change, target))


def test_a_parameter_without_a_value(subject):
    broken = subject(lambda job: _tasks(job)["Trainer"]["inputs"]["parameters"].pop("run_fn"))
    with pytest.raises(ProblemError, match="Trainer: run_fn has no value"):
        graph_checks.parameters(broken)


def test_a_parameter_of_the_pipeline_without_a_value(subject):
    def declare(job):
        job["pipelineSpec"]["root"]["inputDefinitions"] = {"parameters": {"year": {"parameterType": "NUMBER_INTEGER"}}}
        job["runtimeConfig"]["parameterValues"] = {}

    with pytest.raises(ProblemError, match="the pipeline's year has neither value nor default"):
        graph_checks.parameters(subject(declare))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("producerTask", "Nobody", "Trainer.schema is of Nobody, which is no task"),
        ("outputArtifactKey", "anomalies", "Trainer.schema is of SchemaGen, which has no output anomalies"),
        ("producerTask", "StatisticsGen", "Trainer.schema is of StatisticsGen, which has no output schema"),
    ],
)
def test_an_edge_that_leads_nowhere(subject, key, value, words):
    def change(job):
        _tasks(job)["Trainer"]["inputs"]["artifacts"]["schema"]["taskOutputArtifact"][key] = value

    with pytest.raises(ProblemError, match=words):
        graph_checks.artifacts(subject(change))


def test_an_edge_between_types_that_differ(subject):
    def change(job):
        edge = {"producerTask": "TokenizerTrainer", "outputArtifactKey": "tokenizer"}
        _tasks(job)["Trainer"]["inputs"]["artifacts"]["schema"] = {"taskOutputArtifact": edge}

    with pytest.raises(ProblemError, match=r"takes tfx\.Schema, and TokenizerTrainer gives components\.Tokenizer"):
        graph_checks.artifacts(subject(change))


def test_an_input_that_nothing_gives(subject):
    with pytest.raises(ProblemError, match="Trainer: nothing gives it schema"):
        graph_checks.artifacts(subject(lambda job: _tasks(job)["Trainer"]["inputs"]["artifacts"].pop("schema")))


def test_a_resolver_is_for_vertex_alone(subject):
    def change(job):
        job["pipelineSpec"]["deploymentSpec"]["executors"]["SchemaGen_executor"] = {"resolver": {}}

    assert "resolver" in graph_checks.executors(subject(change))
    with pytest.raises(ProblemError, match="SchemaGen: Kubeflow runs no resolvers"):
        graph_checks.executors(subject(change, "kfp"))


def test_a_component_that_is_not_there(subject):
    with pytest.raises(ProblemError, match="Trainer: there is no component of its name"):
        graph_checks.executors(subject(lambda job: job["pipelineSpec"]["components"].pop("Trainer")))


def test_a_span_that_stays_a_placeholder(subject):
    pattern = json.dumps({"splits": [{"name": "documents", "pattern": "span-{SPAN}/*/*.txt*"}]})

    def change(job):
        _set_parameter(job, "DocumentGen", "input_config", pattern)

    assert "driver finds" in graph_checks.span(subject(change))
    assert "parameter `span`" in graph_checks.span(subject(change, "kfp"))

    def change_and_drop_parameter(job):
        change(job)
        spec = job["pipelineSpec"]
        _tasks(job)["DocumentGen"]["inputs"]["parameters"].pop("given_span")
        spec["components"]["DocumentGen"]["inputDefinitions"]["parameters"].pop("given_span")

    with pytest.raises(ProblemError, match=r"DocumentGen: its pattern has \{SPAN\}, which Kubeflow does not replace"):
        graph_checks.span(subject(change_and_drop_parameter, "kfp"))

    def change_and_drop_driver(job):
        change(job)
        _containers(job)["DocumentGen"].pop("lifecycle")

    with pytest.raises(ProblemError, match="no driver that replaces it"):
        graph_checks.span(subject(change_and_drop_driver))


@pytest.mark.parametrize(
    ("target", "name", "fits"),
    [("vertex", "7-news", False), ("kfp", "7-news", True), ("kfp", "news-", False), ("vertex", "n" * 113, True)],
)
def test_names_that_services_take(subject, target, name, fits):
    named = subject(lambda job: job["pipelineSpec"]["pipelineInfo"].update(name=name), target)
    if fits:
        assert name in graph_checks.names(named)
    else:
        with pytest.raises(ProblemError, match="name: "):
            graph_checks.names(named)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("displayName", "n" * 129, "displayName is longer than 128"), ("labels", {"Team": "x"}, "label Team=x")],
)
def test_other_names(subject, key, value, words):
    with pytest.raises(ProblemError, match=words):
        graph_checks.names(subject(lambda job: job.update({key: value})))


def test_parameters_that_are_no_argument_any_more(subject):
    def change(job):
        _set_parameter(job, "Report", "settings", "x" * 100_000)

    with pytest.raises(ProblemError, match=r"Report gets 100,\d+ bytes"):
        graph_checks.sizes(subject(change))


# === Where it runs ===


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("AKIA" + "ABCDEFGHIJKLMNOP", "an access key of AWS"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----\nMII", "a private key"),
        ('{"private_key_id": "0123"}', "a service account's key"),
        ("https://hooks.slack.com/" + "services/T0/B0/xyz", "a webhook's address"),
        ("https://chat.googleapis.com/v1/spaces/A/messages?key=" + "x", "a webhook's address"),
        ("mysql://albert:" + "hunter2@db/metadata", "an address with a password"),
        ('{"password": "' + 'hunter22"}', "a password"),
        ("--api_key=" + "abcdef", "a password"),
        ("ghp_" + "a" * 36, "a token of GitHub"),
        ("hf_" + "a" * 34, "a token of Hugging Face"),
    ],
)
def test_a_secret_is_found_and_not_shown(subject, text, what):
    with pytest.raises(ProblemError, match=what) as problem:
        environment_checks.secrets(subject(lambda job: _set_parameter(job, "Trainer", "eval_args", text)))
    assert text not in str(problem.value)
    assert "Trainer" in str(problem.value)


@pytest.mark.parametrize(
    "text",
    [
        "projects/p/secrets/webhook/versions/latest",
        "env:ALBERT_WEBHOOK",
        '{"password_variable": null, "password": null}',
        "gs://bucket/root:with/colons@2",
        "https://host:8080/path",
        '{"num_tokens": 12345, "token": "components.Tokenizer"}',
    ],
)
def test_what_is_no_secret(subject, text):
    found = environment_checks.secrets(subject(lambda job: _set_parameter(job, "Trainer", "eval_args", text)))
    assert found.startswith("none in ")


@pytest.mark.parametrize(
    "image", ["", "albert", "albert:latest", "host:5000/albert", "host:5000/albert:latest", "albert@sha256:abc"]
)
def test_an_image_that_may_change(subject, image):
    with pytest.raises(ProblemError, match="Evaluator: "):
        environment_checks.images(subject(lambda job: _containers(job)["Evaluator"].update(image=image)))


@pytest.mark.parametrize("image", ["host:5000/albert:1.0", "albert@sha256:" + "0" * 64, "a/b:1.0@sha256:" + "a" * 64])
def test_an_image_that_stays(subject, image):
    assert image in environment_checks.images(subject(lambda job: _containers(job)["Evaluator"].update(image=image)))


def test_the_image_of_a_custom_job():
    settings = _settings({"images": {"Trainer": "example/gpu:latest"}, "trainer": {"machine_type": "n1-standard-8"}})
    parsed = compiled.parse(compiler.compile_pipeline(settings, "vertex"), "vertex")
    with pytest.raises(ProblemError, match="latest is another image later"):
        environment_checks.images(Subject(parsed, "vertex", settings))
    wanted = environment_checks.what_must_be_importable(Subject(parsed, "vertex", settings))
    assert "tfx.scripts.run_executor" in wanted["module"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("root", "/data/root"),
        ("corpus.path", "corpus"),
        ("push.destination", "encoders"),
        ("initial.source", "albert_base.tar.gz"),
        ("evaluation.anchor", {"path": "general"}),
    ],
)
def test_a_folder_that_others_do_not_see(subject, key, value):
    settings = _settings(**{key: value})
    own_root = subject(lambda job: job["runtimeConfig"].update(gcsOutputDirectory=settings.root), settings=settings)
    with pytest.raises(ProblemError, match=f"{key.partition('.anchor')[0]}.*is on this machine alone"):
        environment_checks.remote_paths(own_root)


def test_a_root_that_nothing_there_reads(subject):
    """TensorFlow 2.21 has no file system for it, on whichever service."""
    elsewhere = {"gcsOutputDirectory": "s3://bucket/root"}
    for target in ("vertex", "kfp"):
        changed = subject(lambda job: job["runtimeConfig"].update(elsewhere), target)
        with pytest.raises(ProblemError, match=r"root: s3://bucket/root: TensorFlow cannot read it; it knows gs://"):
            environment_checks.remote_paths(changed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--project=p"], "names no --runner"),
        (["--runner=DataflowRunner", "--project=p"], "needs --region.*--temp_location.*--sdk_container_image"),
        (
            ["--runner", "DataflowRunner", "--project=p", "--region=r", "--temp_location=/tmp", _WORKERS],
            "--temp_location=/tmp should be a folder such as gs://",
        ),
        (
            ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t", f"{_WORKERS}:latest"],
            "latest is another image later",
        ),
        (["--runner=FlinkRunner"], "needs --flink_master"),
    ],
)
def test_beam_options_that_cannot_work(subject, options, words):
    with pytest.raises(ProblemError, match=words):
        environment_checks.beam(subject(lambda job: _set_beam(job, options)))


def test_beam_options_that_work(subject):
    options = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t"]
    options += [f"{_WORKERS}:1"]
    assert "--region=r" in environment_checks.beam(subject(lambda job: _set_beam(job, options)))
    assert "in each component's container" in environment_checks.beam(subject())


def _set_beam(job: dict[str, Any], options: list[str]) -> None:
    for container in _containers(job).values():
        kept = [word for word in container["args"] if not word.startswith(("--runner", "--sdk_container_image"))]
        container["args"] = [*kept, *options]


# === Whether it fits ===


def _memory(subject: Subject, settings: PipelineSettings) -> str:
    return machine_checks.memory(Subject(subject.compiled, subject.target, settings))


_BASE: dict[str, Any] = {
    "model": str(ROOT / "configs" / "models" / "base_v2.json"),
    "examples.max_seq_length": 512,
    "examples.max_predictions_per_seq": 76,
    "training.batch_size": 64,
}


def test_a_model_that_does_not_fit_the_accelerator(subject):
    pool = {"machine_type": "n1-standard-8", "accelerator": "NVIDIA_TESLA_T4"}
    with pytest.raises(ProblemError, match=r"about [\d.]+ GiB on a device .* NVIDIA_TESLA_T4 has 16.0 GiB"):
        _memory(subject(), _settings({"trainer": pool}, **_BASE))
    parts = {"training.accumulation": 16, "training.rematerialize": True, "training.batch_size": 32}
    assert "of 16.0 GiB of NVIDIA_TESLA_T4" in _memory(subject(), _settings({"trainer": pool}, **_BASE | parts))


def test_a_model_that_does_not_fit_the_container(subject):
    with pytest.raises(ProblemError, match=r"the Trainer's container has 4\.0 GiB"):
        _memory(subject(), _settings({"resources": {"Trainer": {"memory": "4Gi"}}}, **_BASE))
    assert "of 16.0 GiB" in _memory(subject(), _settings({"resources": {"default": {"memory": "16Gi"}}}))


@pytest.mark.parametrize("cloud", [{}, {"resources": {"Trainer": {"accelerator": "nvidia.com/gpu"}}}])
def test_memory_that_is_not_known_is_left_to_people(subject, cloud):
    with pytest.raises(NotCheckedError, match=r"about .* on a device"):
        _memory(subject(), _settings(cloud))


def test_machines_that_would_not_train_together(subject):
    pool = {"machine_type": "a2-highgpu-1g", "accelerator": "NVIDIA_TESLA_A100", "workers": 3}
    with pytest.raises(ProblemError, match=r"4 machines, and training\.strategy mirror uses one"):
        _memory(subject(), _settings({"trainer": pool}))
    together = _settings({"trainer": pool}, **{"training.strategy": "multiworker"})
    assert "of 40.0 GiB" in _memory(subject(), together)


# === Modules ===


def test_what_cannot_be_imported():
    names: importable.Names = {
        "module": ["json", "nowhere.at_all"],
        "run_fn": ["os.getcwd", "components.trainer_module.gone"],
        "preprocessing_fn": ["json.dumps"],
    }
    answers = importable.ask(names)
    assert answers["module"]["json"] is None
    assert "No module named 'nowhere'" in str(answers["module"]["nowhere.at_all"])
    assert "takes other arguments than TFX gives it" in str(answers["run_fn"]["os.getcwd"])
    assert "has no attribute 'gone'" in str(answers["run_fn"]["components.trainer_module.gone"])


def test_classes_of_another_kind():
    assert importable.why_not("executor", "components.artifacts.Tokenizer") == "is no executor of TFX"
    assert importable.why_not("executor", "components.document_gen.executor.Executor") is None
    assert importable.why_not("artifact", "components.Tokenizer") is None
    assert "has no attribute 'Tokeniser'" in str(importable.why_not("artifact", "components.Tokeniser"))


# === Files and the command ===


@pytest.mark.parametrize("text", ["", "[1, 2", '{"pipelineSpec": ', '{"name": "other"}', "\x00"])
def test_files_that_are_no_compiled_pipeline(tmp_path, text):
    for suffix in (".json", ".yaml"):
        path = tmp_path / f"pipeline{suffix}"
        path.write_text(text)
        with pytest.raises(InputError, match=str(path)):
            compiled.read(path)


def test_the_command(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(environment_checks, "ask", lambda names: {})  # half a minute; it has tests of its own
    monkeypatch.setattr("pipeline.console._redirected", _not_redirected)
    path = tmp_path / "pipeline.yaml"
    compiler.write(jobs["kfp"], path)
    done = CliRunner().invoke(check, ["--target", "kfp", "--spec", str(path)])
    assert done.exit_code == 0, done.output
    assert "✓ specification" in done.output
    spec = yaml.safe_load(path.read_text())
    spec["schemaVersion"] = "2.0.0"
    path.write_text(yaml.safe_dump(spec))
    done = CliRunner().invoke(check, ["--target", "kfp", "--spec", str(path)])
    assert done.exit_code == 1
    assert "✗ schema version" in done.output


def test_the_command_wants_one_of_two():
    assert "Give one of --config and --spec" in CliRunner().invoke(check, ["--target", "kfp"]).output


def _not_redirected(_log_file):
    import contextlib
    import sys

    return contextlib.nullcontext(sys.stdout)
