"""Dataflow, Flink and Spark by options alone: their jobs are made, loaded elsewhere, and run without the engines."""

import gzip
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from tfx import v1 as tfx
from tfx.orchestration.pipeline import RunOptions

from albert_model.text.settings import ExampleSettings
from components import beam_options
from pipeline.lineage import Lineage
from pipeline.pipeline import create_pipeline
from pipeline.settings import load_settings
from tests.components import load_jobs, portable
from tests.components.local import make_examples, shards
from tests.conftest import MANUAL
from tests.demo import ROOT

RUNNERS = ("DataflowRunner", "FlinkRunner", "SparkRunner")
# What names a component's job, and how many there are: AnchorDocuments is a DocumentGen.
STEPS = {
    "EncodeDocuments": 2,
    "SampleSentences": 1,
    "MaketrainExamples": 1,
    "GenerateStatistics[train]": 1,
    "Analyze": 1,
    "Score this text, candidate": 1,
}
SETTINGS = {
    "corpus.span": 1,
    "corpus.near_duplicates": "drop",
    "examples.dupe_factor": 1,
    "training.max_steps": 2,
    "training.warmup_steps": 1,
    "evaluation.anchor.path": str(MANUAL),
    "evaluation.anchor.pattern": "span-1/*/*.txt",
}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """By runner, the jobs of all Beam components, which a run left that Dataflow's graphs were run for."""
    root = tmp_path_factory.mktemp("every_runner")
    args = (f"--runner={portable.__name__}.EveryRunner", f"--sdk_container_image={portable.IMAGE}")
    settings = SETTINGS | {"root": str(root), "push.destination": str(root / "encoders"), "beam.args": args}
    pipeline = create_pipeline(load_settings(ROOT / "configs" / "pipelines" / "demo.yaml", settings))
    portable.EveryRunner.jobs.clear()
    to_nodes = RunOptions(to_nodes=["Evaluator", "ExampleValidator"])
    tfx.orchestration.LocalDagRunner().run(pipeline, run_options=to_nodes)
    lineage = Lineage(str(root / "metadata.sqlite"))
    evaluation = lineage.nodes(lineage.run_ids[-1])["Evaluator"].outputs["evaluation"].uri
    assert json.loads(Path(evaluation, "verdict.json").read_text())["texts"][0]["candidate"]
    return dict(portable.EveryRunner.jobs)


@pytest.mark.parametrize("runner", RUNNERS)
def test_each_runner_makes_a_job_of_each_component(jobs, runner):
    steps = [{node.unique_name.split("/")[0] for node in job.components.transforms.values()} for job in jobs[runner]]
    assert Counter(step for of_job in steps for step in of_job & STEPS.keys()) == STEPS
    assert len(steps) == sum(STEPS.values())


def test_workers_start_where_the_options_say(jobs):
    urns = common_urns.environments
    for runner, urn in zip(RUNNERS, (urns.DOCKER, urns.EXTERNAL, urns.EXTERNAL), strict=True):
        for job in jobs[runner]:
            found = {environment.urn for environment in job.components.environments.values()}
            assert found == {urn.urn}, runner
    docker = beam_runner_api_pb2.DockerPayload
    images = {
        docker.FromString(environment.payload).container_image
        for job in jobs["DataflowRunner"]
        for environment in job.components.environments.values()
    }
    assert images == {portable.IMAGE}


def test_nothing_is_staged_for_workers(jobs):
    """They have all in their image: what TFX would pack of itself would lack this project."""
    for job in itertools.chain(*jobs.values()):
        for environment in job.components.environments.values():
            assert not [d for d in environment.dependencies if b"tfx" in d.role_payload or b"tfx" in d.type_payload]


def test_no_records_are_shuffled_by_our_components(jobs):
    """Only names, counts, offsets and ids: a local runner would hold records in memory, and others pay for them."""
    known = ("Names", "NameSplits", "SpreadFiles", "Reshard", "SpreadRanges", "GroupByShard", "CountFiles", "SumCounts")
    urn = common_urns.primitives.GROUP_BY_KEY.urn
    ours = [job for job in jobs["FlinkRunner"] if any("GroupByShard" in name for name in names_of(job))]
    assert len(ours) == 4
    for job in ours:
        shuffles = [node.unique_name for node in job.components.transforms.values() if node.spec.urn == urn]
        assert [name for name in shuffles if not any(part in name for part in known)] == []


def names_of(job):
    return [node.unique_name for node in job.components.transforms.values()]


def test_jobs_load_in_another_process_with_the_installed_packages_alone(jobs, tmp_path):
    """Every function and combiner is unpickled there, the statistics' first, as by a worker that does nothing else."""
    program = tmp_path / "load_jobs.py"
    program.write_text(Path(load_jobs.__file__).read_text())
    paths = []
    for runner, of_runner in jobs.items():
        for i, job in enumerate(of_runner):
            is_ours = any("GroupByShard" in name for name in names_of(job))
            paths.append(tmp_path / f"{is_ours:d}-{runner}-{i}")
            paths[-1].write_bytes(job.SerializeToString())
    done = subprocess.run(
        [sys.executable, str(program), _plugins(), *map(str, sorted(paths))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=portable.bare_environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["counts"]["beam:dofn:pickled_python_info:v1"] > 1000
    assert found["counts"]["beam:combinefn:pickled_python:v1"] > 100
    assert {name.split(".")[0] for name in found["modules"]} == {"albert_model", "components"}
    assert "components.evaluator.metrics" in found["modules"]


def _plugins():
    """That components tell workers to import."""
    options = PipelineOptions(beam_options.for_components(["--runner=FlinkRunner"]))
    return ",".join(options.get_all_options()["beam_plugins"])


@pytest.fixture(scope="module")
def files(shared_data):
    with gzip.open(shared_data / "corpora" / "us_code.txt.gz", "rt", encoding="utf-8") as lines:
        return {"law/all.txt": "".join(itertools.islice(lines, 2000))}


SMALL = ExampleSettings(max_seq_length=128, dupe_factor=2, packing="bins", bin_width=32)


def test_examples_of_worker_processes_are_those_of_the_local_runner(tmp_path, files, small_config):
    """FlinkRunner's job, run by workers that a pool starts in an empty folder, one for each job."""
    expected = make_examples(tmp_path / "local", files, small_config, SMALL)
    with portable.job_service() as (endpoint, jobs), portable.worker_pool(tmp_path / "pool") as pool:
        options = ["--runner=FlinkRunner", f"--job_endpoint={endpoint}"]
        options += ["--environment_type=EXTERNAL", f"--environment_config={pool}"]
        made = make_examples(tmp_path / "flink", files, small_config, SMALL, options)
    assert len(jobs) == 3
    assert examples(made) == examples(expected)
    started = (tmp_path / "pool" / "log").read_text().count("Starting worker with command")
    assert started >= 3


def test_examples_of_spark_jobs_are_those_of_the_local_runner(tmp_path, files, small_config):
    expected = make_examples(tmp_path / "local", files, small_config, SMALL)
    with portable.job_service() as (endpoint, jobs):
        options = ["--runner=SparkRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
        made = make_examples(tmp_path / "spark", files, small_config, SMALL, options)
    assert len(jobs) == 3
    assert examples(made) == examples(expected)


def examples(nodes):
    return shards(nodes["PretrainingExampleGen"].outputs["examples"].uri)
