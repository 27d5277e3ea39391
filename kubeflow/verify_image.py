"""Proves, without Docker, that what a compiled pipeline starts is in the image: commands, classes, types, templates.

    python kubeflow/verify_image.py --spec pipeline.json
    python kubeflow/verify_image.py --spec pipeline.json --reuse-packages-of .venv

Does what kubeflow/Dockerfile does, in a folder that it removes: copies what the Dockerfile copies, builds the wheel,
installs the image's packages and the wheel into a new virtual environment. Then it starts every command of the
specification from an empty folder, with few variables, and gives it an empty input. A command has started when it
has read its flags, imported its executor and calls it; that the executor then misses its inputs is expected.

The image's packages need glibc 2.39. On an older one, and where minutes are too long, `--reuse-packages-of` takes the
packages of an environment that is there; the wheel is installed all the same. Takes about 20 seconds of the processor a
command.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from albert_model.errors import InputError
from pipeline.cloud import compiled, importable
from pipeline.cloud.checks import Subject
from pipeline.cloud.compiled import Compiled, Container
from pipeline.cloud.environment_checks import CUSTOM_JOB_MODULE, custom_job, what_must_be_importable

PROJECT = Path(__file__).resolve().parent.parent
DOCKERFILE = PROJECT / "kubeflow" / "Dockerfile"
LOCK = PROJECT / "kubeflow" / "requirements-image.lock"
_STAGE = "project"  # of the Dockerfile, where the wheel is built
_CALLED = ("Starting executor", "exec_properties = ")  # what TFX's executor and driver log when they have started
_TIME_LIMIT = 600  # seconds of a command
_LINES = 12  # of what a command said, where it failed


@dataclass(frozen=True)
class Result:
    """What was verified, and why it failed; None where it did not."""

    name: str
    why: str | None


def main() -> None:
    arguments = _arguments()
    try:
        results = verify(arguments)
    except (InputError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or ""
        sys.exit("\n".join([f"Error: {error}", *said.splitlines()[-_LINES:]]))
    failed = [result for result in results if result.why]
    print(f"{len(results) - len(failed)} of {len(results)} ok")
    sys.exit(bool(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, help="what `albert pipeline compile` wrote: .json or .yaml")
    parser.add_argument("--reuse-packages-of", metavar="VENV", type=Path, help="take the packages of this environment")
    parser.add_argument("--lock", type=Path, default=LOCK, help="packages to install (default: the image's)")
    parser.add_argument("--task", action="append", help="start this task's commands alone; can be given several times")
    parser.add_argument("--jobs", type=int, default=2, help="commands at once (default 2)")
    return parser.parse_args()


def verify(arguments: argparse.Namespace) -> list[Result]:
    """All results, each printed when it is there."""
    job = compiled.read(arguments.spec)
    parsed = compiled.parse(job, "vertex" if "runtimeConfig" in job else "kfp")
    with tempfile.TemporaryDirectory(prefix="albert-image-") as folder:
        wheel = build_wheel(Path(folder))
        results = _told(package_data(wheel))
        python = make_environment(Path(folder), wheel, arguments.lock, arguments.reuse_packages_of)
        results += _told([_runs_the_wheel(python)])
        results += _told(imports(parsed, python))
        with ThreadPoolExecutor(arguments.jobs) as pool:
            chosen = [one for one in distinct(parsed) if not arguments.task or one.task in arguments.task]
            results += _told(pool.map(lambda container: start(container, python), chosen))
    return results


def _told(results: Iterable[Result]) -> list[Result]:
    told = []
    for result in results:
        print(f"{'✗' if result.why else '✓'} {result.name}" + (f": {result.why}" if result.why else ""), flush=True)
        told.append(result)
    return told


# === As the Dockerfile does ===


def copied_sources(stage: str) -> list[str]:
    """What a stage copies from the context."""
    lines, sources, current = DOCKERFILE.read_text(encoding="utf-8").splitlines(), [], ""
    for line in lines:
        if match := re.fullmatch(r"FROM \S+(?: AS (\S+))?", line):
            current = match[1] or ""
        elif line.startswith("COPY ") and "--from" not in line and current == stage:
            sources += line.split()[1:-1]
    return sources


def build_wheel(folder: Path) -> Path:
    """Builds from a copy, so that nothing of the checkout gets in but what the image gets."""
    context = folder / "context"
    for source in copied_sources(_STAGE):
        path, target = PROJECT / source, context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    _run([*command, "--wheel-dir", str(folder / "wheels"), str(context)], folder)
    (wheel,) = (folder / "wheels").glob("*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path, lock: Path, reused: Path | None) -> Path:
    """A new virtual environment with the packages and the wheel; gives its Python."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if reused is None:
        tools = folder / "build-tools.lock"
        tools.write_text(_locked(lock, ("setuptools", "wheel")), encoding="utf-8")
        _run([*install, "--require-hashes", "-r", str(tools)], folder)
        _run([*install, "--require-hashes", "--no-build-isolation", "-r", str(lock)], folder)
    else:
        paths = {name: str(environment) for name in ("base", "platbase")}
        own = Path(sysconfig.get_path("purelib", "venv", paths))
        theirs = reused.resolve() / own.relative_to(environment)
        if not theirs.is_dir():
            raise InputError(f"--reuse-packages-of {reused}: has no {own.relative_to(environment)}.")
        # A line adds the folder to the path, and none of what .pth files in it would add, such as a checkout.
        (own / "reused.pth").write_text(f"{theirs}\n", encoding="utf-8")
    _run([*install, str(wheel)], folder)
    return python


def _locked(lock: Path, names: tuple[str, ...]) -> str:
    """The entries of these packages, with their hashes."""
    entries = re.findall(r"^\S+==(?:.*\\\n)*.*\n", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return "".join(entry for entry in entries if entry.partition("==")[0] in names)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, errors="replace")


# === What is verified ===


def package_data(wheel: Path) -> Iterator[Result]:
    """Files that packages read when they run, such as templates, which setuptools leaves out unless told."""
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
    for package in ("albert_model", "components", "pipeline"):
        for path in sorted((PROJECT / package).rglob("*")):
            name = path.relative_to(PROJECT).as_posix()
            if path.is_file() and "__pycache__" not in name and path.suffix != ".py":
                yield Result(
                    f"wheel has {name}", None if name in there else "it has not: see package-data in pyproject.toml"
                )


def _runs_the_wheel(python: Path) -> Result:
    """Not the checkout, by way of the environment whose packages are reused."""
    said = subprocess.run(
        [str(python), "-c", "import albert_model, components, pipeline; print(pipeline.__file__)"],
        cwd=python.parent,
        env=_environment(python),
        capture_output=True,
        text=True,
    )
    is_own = str(python.parent.parent) in said.stdout
    return Result("the wheel's modules are what is imported", None if is_own else said.stdout + said.stderr)


def imports(parsed: Compiled, python: Path) -> Iterator[Result]:
    wanted = what_must_be_importable(Subject(parsed, "vertex", None))
    for kind, answers in importable.ask(wanted, str(python), _environment(python)).items():
        for name, why in answers.items():
            yield Result(f"{kind} {name}", why)


def distinct(parsed: Compiled) -> list[Container]:
    """Commands that differ in more than their arguments' values."""
    found = {(container.command, container.module, container.executor): container for container in parsed.containers}
    jobs = [task for task in parsed.tasks if custom_job(task)]
    if jobs:
        command = ("python", "-m", CUSTOM_JOB_MODULE)
        found[(command, CUSTOM_JOB_MODULE, None)] = Container(jobs[0].name, "", command, ("--help",))
    return list(found.values())


def start(container: Container, python: Path) -> Result:
    """Starts a command with an empty input in an empty folder."""
    words = [*container.command, *(word.replace("{{$}}", "{}") for word in container.arguments)]
    is_tfx = container.executor is not None or container.is_driver
    words += [] if is_tfx or "--help" in words else ["--help"]
    name = f"{container.task}: {' '.join(container.command)}" + (f" {container.executor}" if container.executor else "")
    with tempfile.TemporaryDirectory(prefix="albert-empty-") as empty:
        try:
            done = subprocess.run(
                words,
                cwd=empty,
                env=_environment(python) | {"HOME": empty, "TMPDIR": empty},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIME_LIMIT,
            )
        except OSError as error:
            return Result(name, f"{words[0]}: {error.strerror}")
        except subprocess.TimeoutExpired:
            return Result(name, f"has not ended after {_TIME_LIMIT} seconds")
    said = done.stdout + done.stderr
    started = any(line in said for line in _CALLED) if is_tfx else done.returncode == 0
    return Result(name, None if started else f"ended with {done.returncode}:\n{_last(said)}")


def _last(said: str) -> str:
    return "\n".join(f"    {line}" for line in said.splitlines()[-_LINES:])


def _environment(python: Path) -> dict[str, str]:
    """What a container has, not what this process was given."""
    path = os.pathsep.join([str(python.parent), "/usr/local/bin", "/usr/bin", "/bin"])
    return {"PATH": path, "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


if __name__ == "__main__":
    main()
