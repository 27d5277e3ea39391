"""The image, as far as it can be tested without building it; and the script that does what building it does."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pipeline.cloud import compiler
from pipeline.cloud.environment_checks import why_image_is_refused
from pipeline.settings import load_settings
from tests.demo import ROOT

_FOLDER = ROOT / "kubeflow"
_DOCKERFILE = _FOLDER / "Dockerfile"
_IMAGE_LOCK, _GPU_LOCK = _FOLDER / "requirements-image.lock", _FOLDER / "requirements-gpu.lock"
_TARGETS = ("pipeline", "pipeline-gpu", "pipeline-beam")
_NEWER = {"ml-metadata": "1.21.0", "tensorflow-data-validation": "1.21.0"}  # for glibc 2.39 and later


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_image", _FOLDER / "verify_image.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def _instructions() -> list[tuple[str, str]]:
    """Name and words of each, with lines joined."""
    text = re.sub(r"^#.*\n", "", _DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (name, " ".join(words.split()))
        for name, _, words in (line.partition(" ") for line in text.splitlines())
        if name
    ]


def _versions(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+) ", lock.read_text(), re.MULTILINE))


# === The Dockerfile ===


def test_images_that_it_begins_with_are_named_in_full():
    begins = dict(words.split("=") for name, words in _instructions() if name == "ARG")
    assert set(begins) == {"PYTHON_IMAGE", "BEAM_IMAGE"}
    assert [why_image_is_refused(image) for image in begins.values()] == [None, None]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-trixie", begins["PYTHON_IMAGE"])  # glibc 2.41
    assert begins["BEAM_IMAGE"].rpartition(":")[2] == _versions(_IMAGE_LOCK)["apache-beam"]
    stages = {"PYTHON_IMAGE", "BEAM_IMAGE"}
    for words in (words for name, words in _instructions() if name == "FROM"):
        source, _, stage = words.partition(" AS ")
        assert source.strip("${}") in stages
        stages.add(stage)
    assert set(_TARGETS) < stages


def test_what_it_copies_is_there_and_reaches_the_build():
    let_through = [
        line[1:] for line in (_FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [words.split()[:-1] for name, words in _instructions() if name == "COPY" and "--from" not in words]
    sources = [source for some in copied for source in some]
    assert sorted(sources) == sorted(let_through)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_what_runs_is_no_root():
    user, stage, users = "", "", {}
    for name, words in (each for each in _instructions() if each[0] != "ARG"):
        if name == "FROM":
            source, _, stage = words.partition(" AS ")
            user = users.get(source, "")
        elif name == "USER":
            user = words
        users[stage] = user
    assert [users[target] for target in (*_TARGETS, "")] == ["1000:1000"] * 4


def test_what_builds_packages_is_pinned_and_comes_first():
    (run,) = (words for name, words in _instructions() if name == "RUN" and "build-tools" in words)
    (expression,) = re.findall(r"sed -n '([^']+)'", run)
    sed = subprocess.run(["sed", "-n", expression, str(_IMAGE_LOCK)], capture_output=True, text=True, check=True)
    assert re.findall(r"^(\w+)==", sed.stdout, re.MULTILINE) == ["setuptools", "wheel"]
    assert not sed.stdout.rstrip().endswith("\\")
    for words in (words for name, words in _instructions() if name == "RUN" and "pip install" in words):
        for command in re.findall(r"pip install [^&]+", words):
            assert "--no-deps" in command
            assert "--require-hashes" in command or "wheels/" in command


@pytest.mark.skipif(not shutil.which("hadolint", path=Path(sys.executable).parent), reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), _DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# === Locks ===


def test_the_image_has_the_packages_that_are_tested_but_for_the_newer_wheels():
    tested, in_image = _versions(ROOT / "requirements.lock"), _versions(_IMAGE_LOCK)
    assert in_image == tested | _NEWER
    assert {name for name in tested if tested[name] != in_image[name]} == set(_NEWER)


def test_the_gpu_adds_packages_and_changes_none():
    added = _versions(_GPU_LOCK)
    assert added.keys().isdisjoint(_versions(_IMAGE_LOCK))
    assert {"nvidia-cudnn-cu12", "nvidia-nccl-cu12"} < set(added)


@pytest.mark.parametrize("lock", [_IMAGE_LOCK, _GPU_LOCK])
def test_every_package_has_hashes(lock):
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert len(entries) == len(re.findall("^[^ ]+==", lock.read_text(), re.MULTILINE))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_no_file_names_an_index():
    for path in (path for path in _FOLDER.iterdir() if path.suffix in (".lock", ".yaml", "", ".dockerignore")):
        if path.is_file():
            assert not re.search(r"(?:https?|file)://|index-url|find-links", path.read_text()), path


def test_cloud_build_builds_starts_and_pushes_each_target():
    build = yaml.safe_load((_FOLDER / "cloudbuild.yaml").read_text())
    names = ["${_REPOSITORY}/" + target + ":${_VERSION}" for target in _TARGETS]
    assert build["images"] == names
    building, starting = (step["args"][-1] for step in build["steps"])
    assert f"for target in {' '.join(_TARGETS)};" in building
    assert [name for name in names if name not in starting] == []


# === The script ===


def test_it_copies_and_builds_as_the_dockerfile_does(script, tmp_path):
    assert script.copied_sources("project") == [
        *("pyproject.toml", "README.md", "LICENSE", "albert_model", "components", "pipeline")
    ]
    wheel = script.build_wheel(tmp_path)
    results = list(script.package_data(wheel))
    assert [result.why for result in results] == [None] * len(results)
    assert "wheel has components/report/report.html.jinja" in {result.name for result in results}
    assert not (ROOT / "build" / "lib").exists()  # of the checkout nothing was touched


def test_it_tells_of_a_template_that_is_not_in_the_wheel(script, tmp_path):
    import zipfile

    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("components/__init__.py", "")
    assert all("package-data in pyproject.toml" in str(result.why) for result in script.package_data(wheel))


def test_it_takes_hashes_along_with_versions(script):
    locked = script._locked(_IMAGE_LOCK, ("setuptools", "wheel"))
    assert re.findall(r"^(\w+)==", locked, re.MULTILINE) == ["setuptools", "wheel"]
    assert locked.count("--hash=sha256:") >= 4


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    values = {"root": "gs://bucket/root", "corpus.path": "gs://bucket/corpus", "push.destination": "gs://bucket/out"}
    values |= {"cloud": {"image": "example/albert:1.0"}}
    return compiler.compile_pipeline(load_settings(ROOT / "configs" / "pipelines" / "demo.yaml", values), "vertex")


def test_it_starts_commands_and_tells_of_those_that_do_not_start(job, tmp_path):
    """Of one task that is as it should be, driver and executor, and of one whose executor's class is not there."""
    job = copy.deepcopy(job)
    container = job["pipelineSpec"]["deploymentSpec"]["executors"]["SchemaGen_executor"]["container"]
    container["args"][container["args"].index("--executor_class_path") + 1] = "components.gone.Executor"
    spec = tmp_path / "pipeline.json"
    spec.write_text(json.dumps(job))
    environment = Path(sys.executable).parent.parent
    command = [sys.executable, str(_FOLDER / "verify_image.py"), "--spec", str(spec), "--jobs", "1"]
    command += ["--reuse-packages-of", str(environment), "--task", "DocumentGen", "--task", "SchemaGen"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "✓ the wheel's modules are what is imported" in done.stdout
    assert "✗ executor components.gone.Executor: ModuleNotFoundError" in done.stdout
    started = re.findall(r"^([✓✗]) (\w+): python -m (\S+)", done.stdout, re.MULTILINE)
    assert {(mark, task, module.rpartition(".")[2]) for mark, task, module in started} == {
        ("✓", "DocumentGen", "kubeflow_v2_run_executor"),
        ("✓", "DocumentGen", "driver"),
        ("✗", "SchemaGen", "kubeflow_v2_run_executor"),
    }
    assert list(tmp_path.iterdir()) == [spec]


def test_it_tells_of_a_specification_that_is_not_one(tmp_path):
    path = tmp_path / "pipeline.json"
    path.write_text("{")
    done = subprocess.run(
        [sys.executable, str(_FOLDER / "verify_image.py"), "--spec", str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {path}: is cut off")
