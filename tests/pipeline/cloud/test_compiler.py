import json
import os
import subprocess

import pytest
import yaml
from google.protobuf import json_format
from kfp import components as kfp_components
from kfp.pipeline_spec import pipeline_spec_pb2

from albert_model.errors import InputError
from pipeline.cloud import compiler
from pipeline.settings import load_settings
from tests.demo import ROOT
from tests.forks import albert_fork

VERTEX = ROOT / "configs/pipelines/vertex.yaml"
KFP = ROOT / "configs/pipelines/kfp.yaml"


@pytest.fixture(autouse=True)
def _in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def vertex():
    return compiler.compile_pipeline(vertex_settings(), "vertex")


def vertex_settings(**more):
    return load_settings(VERTEX, {"model": str(ROOT / "configs/models/base_v2.json"), **more})


def kfp_job(**more):
    settings = load_settings(KFP, {"model": str(ROOT / "configs/models/tiny.json"), "corpus.span": 7, **more})
    return compiler.compile_pipeline(settings, "kfp")


def container(job, component):
    return job["pipelineSpec"]["deploymentSpec"]["executors"][f"{component}_executor"]["container"]


def strict(job):
    return json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())


def test_images_and_resources_are_those_of_each_component(vertex):
    of_trainer, of_others = (container(vertex, name) for name in ("Trainer", "Evaluator"))
    assert of_trainer["image"].endswith("pipeline-gpu:0.1.0")
    assert of_others["image"].endswith("pipeline:0.1.0")
    wanted = {"cpuLimit": 4.0, "memoryLimit": 16.0, "resourceCpuLimit": "4", "resourceMemoryLimit": "16G"}
    assert of_others["resources"] == wanted
    assert container(vertex, "DocumentGen")["resources"] == wanted
    assert container(vertex, "PretrainingExampleGen")["resources"]["cpuLimit"] == 8.0


def test_beam_components_get_the_options_of_the_cloud(vertex):
    assert "--runner=DataflowRunner" in container(vertex, "PretrainingExampleGen")["args"]
    assert vertex_settings().beam_args("local") == ("--runner=FnApiRunner",)


def test_the_trainer_is_a_custom_job_with_its_pools(vertex):
    tasks = vertex["pipelineSpec"]["components"]["tfx-dag"]["dag"]["tasks"]
    config = json.loads(tasks["Trainer"]["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"])
    arguments = config["ai_platform_training_args"]
    assert arguments["project"] == "my-project"
    (chief,) = arguments["job_spec"]["worker_pool_specs"]
    assert chief["machine_spec"] == {
        "machine_type": "a2-highgpu-1g",
        "accelerator_type": "NVIDIA_TESLA_A100",
        "accelerator_count": 1,
    }
    assert chief["container_spec"]["image_uri"].endswith("pipeline-gpu:0.1.0")
    assert config["ai_platform_vertex_region"] == "europe-west4"


def test_vertex_takes_the_job_and_kubeflow_the_specification(vertex, tmp_path):
    from google.cloud.aiplatform.utils import pipeline_utils

    assert strict(vertex).schema_version == "2.1.0"
    compiler.write(vertex, tmp_path / "p.json")
    job = json.loads((tmp_path / "p.json").read_text())
    assert (
        pipeline_utils.PipelineRuntimeConfigBuilder.from_job_spec_json(job)
        .build()["gcsOutputDirectory"]
        .startswith("gs:")
    )

    compiler.write(kfp_job(), tmp_path / "p.yaml")
    loaded = kfp_components.load_component_from_file(str(tmp_path / "p.yaml"))
    assert list(loaded.pipeline_spec.root.dag.tasks)
    parameters = yaml.safe_load((tmp_path / "p.yaml").read_text())["root"]["inputDefinitions"]["parameters"]
    assert parameters["base_model"] == {"defaultValue": "", "parameterType": "STRING"}


def test_a_run_that_fails_is_told_of_by_an_exit_handler(vertex):
    tasks = strict(vertex).root.dag.tasks
    assert set(tasks) == {"tfx-dag", "FailureNotice"}
    strategy = type(tasks["FailureNotice"].trigger_policy).ALL_UPSTREAM_TASKS_COMPLETED
    assert tasks["FailureNotice"].trigger_policy.strategy == strategy


def test_on_kubeflow_who_submitted_the_run_tells_of_it():
    """Older servers refuse a task that is given how the run ended."""
    assert "FailureNotice" not in strict(kfp_job(**{"cloud.notify": {"webhook": "env:HOOK"}})).components


def test_kubeflow_gets_no_resolver_and_the_span_as_a_parameter():
    job = kfp_job()
    assert '"resolver"' not in json.dumps(job["pipelineSpec"])
    assert job["runtimeConfig"]["parameterValues"] == {"base_model": "", "span": 7.0}
    inputs = strict(job).root.dag.tasks["DocumentGen"].inputs.parameters
    assert inputs["given_span"].component_input_parameter == "span"


def test_kubeflow_needs_a_span():
    with pytest.raises(InputError, match="Kubeflow finds no span when it runs"):
        kfp_job(**{"corpus.span": "latest"})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cloud": None}, "cloud: the settings have no such section"),
        ({"cloud.resources": {"Trianer": {"cpu": 1}}}, "there is no component Trianer"),
        ({"cloud.project": None}, "cloud.project: cloud.trainer needs it"),
        ({"cloud.trainer.workers": 3}, "Set training.strategy: multiworker"),
        ({"cloud.notify.webhook": "env:HOOK"}, "containers have no such variable"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(more, said):
    with pytest.raises(InputError, match=said):
        compiler.compile_pipeline(vertex_settings(**more), "vertex")


def test_another_name_than_json_or_yaml_is_refused(vertex, tmp_path):
    with pytest.raises(InputError, match=r"should end in \.json"):
        compiler.write(vertex, tmp_path / "pipeline.txt")


def test_the_command_writes_the_file(tmp_path):
    done = albert_fork(
        *("pipeline", "compile", "--target", "vertex", "--config", VERTEX, "--output", tmp_path / "p.json")
    ).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == f"{tmp_path / 'p.json'}: law for vertex, 18 components"
    assert json.loads((tmp_path / "p.json").read_text())["displayName"] == "law"


def test_the_command_line_of_tfx_compiles_the_runner_file(tmp_path):
    command = [ROOT / ".venv/bin/tfx", "pipeline", "compile", "--engine=vertex"]
    script = f"--pipeline_path={ROOT / 'kubeflow' / 'kubeflow_v2_runner.py'}"
    config = tmp_path / "my.yaml"
    config.write_text(VERTEX.read_text().replace("configs/models", str(ROOT / "configs/models")))
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"  # it asks pip for kfp
    environment = os.environ | {"ALBERT_PIPELINE_CONFIG": str(config), "HOME": str(tmp_path), "PATH": path}
    done = subprocess.run([*command, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Pipeline law compiled successfully." in done.stdout, done.stderr
    job = json.loads((tmp_path / "pipeline.json").read_text())
    assert container(job, "Trainer")["image"].endswith("pipeline-gpu:0.1.0")
