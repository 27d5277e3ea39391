"""Checks of what a pipeline meets where it runs: images, folders, Beam's runner, modules; and of what it gives away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.cloud.checks import ProblemError, Subject, require_none
from pipeline.cloud.compiled import Task, title_of
from pipeline.cloud.importable import Kind, ask
from pipeline.settings import PipelineSettings

# What keys and tokens look like, by their issuers' documentation. What is found is never shown.
_SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a service account's key": r'\\*"private_key_id\\*"\s*:',
    "an access key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google Cloud": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of Google Cloud": r"\bya29\.[0-9A-Za-z_-]{20,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{22,})",
    "a token of GitLab": r"\bglpat-[0-9A-Za-z_-]{20,}",
    "a token of Hugging Face": r"\bhf_[0-9A-Za-z]{30,}\b",
    "a token of Slack": r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}",
    "a webhook's address": r"https://(?:hooks\.slack\.com/|discord(?:app)?\.com/api/webhooks/|[\w.-]+\.webhook\.office\.com/"
    r"|[\w.-]+\.logic\.azure\.com\S*[?&]sig=|chat\.googleapis\.com/\S*[?&](?:key|token)=)",
    "an address with a password": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'\\]+:[^\s/@\"'\\]+@",
    "a JSON web token": r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}",
    "a key of a model's API": r"\bsk-(?:ant-|proj-)?[0-9A-Za-z_-]{24,}",
    "a password": r"(?i)(?:--|\b|\\*[\"'])(?:password|passwd|api_?key|secret_?key|access_?token|auth_?token)"
    r"(?:\\*[\"'])?\s*[=:]\s*(?:\\*[\"'])?(?!env:|projects/|null\b|None\b)[^\s\"'\\,}]{4,}",
}
_COMPILED_SECRETS = {what: re.compile(pattern) for what, pattern in _SECRETS.items()}
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner", "PrismRunner")
_NEEDED_OPTIONS = {
    "DataflowRunner": ("project", "region", "temp_location", "sdk_container_image"),
    "FlinkRunner": ("flink_master", "environment_type"),
    "SparkRunner": ("spark_master_url", "environment_type"),
    "PortableRunner": ("job_endpoint", "environment_type"),
}
CUSTOM_JOB_MODULE = "tfx.scripts.run_executor"  # that the machines of Vertex AI's custom jobs run


# === Secrets ===


def secrets(subject: Subject) -> str:
    """Parameters, arguments and labels are shown in consoles, kept in metadata, and logged."""
    count, found = 0, []
    for place, text in _texts(subject.compiled.job, ""):
        count += 1
        found += [f"{what} in {place}" for what, pattern in _COMPILED_SECRETS.items() if pattern.search(text)]
    if found:
        found[0] += " (name it by env:NAME or a secret manager's path, and let the service account read it)"
    require_none(found)
    return f"none in {count} texts"


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every text of the job, and where it stands: as it is, and a list's as one, as a flag's value may follow it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{place}[{number}]")
    elif isinstance(value, str):
        yield place, value


# === Images ===


def images(subject: Subject) -> str:
    found: dict[str, str] = {container.image: container.task for container in subject.compiled.containers}
    for task in subject.compiled.tasks:
        found |= dict.fromkeys(job_images(task), f"{task.name}'s custom job")
    require_none([f"{task}: {why}" for image, task in found.items() if (why := why_image_is_refused(image))])
    return ", ".join(sorted(found))


def why_image_is_refused(image: str) -> str | None:
    """
    >>> why_image_is_refused("europe-docker.pkg.dev/p/r/albert:0.1.0"), why_image_is_refused("host:5000/albert")
    (None, "image 'host:5000/albert' has no tag, so it is whatever was pushed last; name a version or a digest")
    """
    if not image:
        return "has no image"
    if _DIGEST.fullmatch(image):
        return None
    if "@" in image:
        return f"image {image!r} has a digest that is no sha256 of 64 digits"
    tag = image.rpartition("/")[2].partition(":")[2]
    if not tag:
        return f"image {image!r} has no tag, so it is whatever was pushed last; name a version or a digest"
    if tag == "latest":
        return f"image {image!r}: latest is another image later; name a version or a digest"
    return None


def job_images(task: Task) -> list[str]:
    """Images of the machines of a custom job."""
    return [
        pool.get("container_spec", {}).get("image_uri", "")
        for pool in custom_job(task).get("job_spec", {}).get("worker_pool_specs", [])
    ]


def custom_job(task: Task) -> dict[str, Any]:
    """What Vertex AI's Trainer starts; empty for other tasks."""
    try:
        config = json.loads(task.parameters["custom_config"])
    except (KeyError, TypeError, ValueError):
        return {}
    job = config.get("ai_platform_training_args", {}) if isinstance(config, dict) else {}
    return job if isinstance(job, dict) else {}


# === Folders ===


def remote_paths(subject: Subject) -> str:
    """A folder of one machine is empty on all others."""
    paths = dict(_paths(subject.known_settings()))
    root = subject.compiled.root
    if root:
        paths["root"] = root
    wrong = [
        f"{key}: {path} is on this machine alone; put it where the service reaches it, such as gs://bucket/folder"
        for key, path in paths.items()
        if "://" not in path
    ]
    known = _schemes()
    told = ", ".join(f"{scheme}://" for scheme in known if scheme != "ram")
    wrong += [
        f"{key}: {path}: TensorFlow cannot read it; it knows {told}"
        for key, path in paths.items()
        if "://" in path and path.partition("://")[0] not in (*known, "http", "https")
    ]
    if subject.target == "vertex" and "://" in paths["root"] and not paths["root"].startswith("gs://"):
        wrong.append(f"root: {paths['root']}: Vertex AI takes gs:// only")
    require_none(wrong)
    return ", ".join(f"{key} {path}" for key, path in paths.items())


def _schemes() -> list[str]:
    """Of the file systems that are there: plug-ins add to them."""
    from tensorflow.python.lib.io import file_io

    known = {scheme.decode() if isinstance(scheme, bytes) else scheme for scheme in file_io.get_registered_schemes()}
    return sorted(known - {"", "file"})


def _paths(settings: PipelineSettings) -> Iterator[tuple[str, str]]:
    yield "root", settings.root
    yield "corpus.path", settings.corpus.path
    yield "push.destination", settings.push.destination
    if settings.initial.source and settings.start != "random":
        yield "initial.source", settings.initial.source
    seen: list[str] = []
    settings.evaluation.with_paths(lambda path: seen.append(path) or path)  # type: ignore[func-returns-value]
    yield from ((f"evaluation ({path})", path) for path in seen)


# === Beam ===


def beam(subject: Subject) -> str:
    options = _options(subject)
    runner = options.get("runner", "")
    if not runner:
        raise ProblemError("beam.args: names no --runner; Beam would try to download one")
    if runner in _LOCAL_RUNNERS:
        return f"{runner}: in each component's container, with its processors and memory"
    missing = [name for name in _NEEDED_OPTIONS.get(runner, ()) if not options.get(name)]
    require_none([f"cloud.beam_args: {runner} needs --{name}" for name in missing])
    wrong = []
    if runner == "DataflowRunner":
        wrong += [
            f"cloud.beam_args: --{name}={options[name]} should be a folder such as gs://bucket/tmp"
            for name in ("temp_location", "staging_location")
            if name in options and not options[name].startswith("gs://")
        ]
    if image := options.get("sdk_container_image"):
        why = why_image_is_refused(image)
        wrong += [f"cloud.beam_args: {why}"] if why else []
    require_none(wrong)
    return ", ".join(f"--{name}={options[name]}" for name in ("runner", *_NEEDED_OPTIONS.get(runner, ())))


def _options(subject: Subject) -> dict[str, str]:
    """Beam's, of the first command that has them. A flag's value may be the next word."""
    for container in (one for one in subject.compiled.containers if not one.is_driver):
        words = list(container.arguments)
        for place, word in enumerate(words):
            if word == "--runner" and place + 1 < len(words):
                words[place : place + 2] = [f"--runner={words[place + 1]}"]
                break
        flags = [word[2:].partition("=") for word in words if word.startswith("--")]
        options = {name: value for name, _, value in flags}
        if "runner" in options:
            return options
    return {}


# === Modules ===


def importable(subject: Subject) -> str:
    """In this environment, from an empty folder. `kubeflow/verify_image.py` does the same in the image's."""
    wanted = what_must_be_importable(subject)
    answers = ask(wanted)
    require_none(
        [f"{kind} {name}: {why}" for kind, some in answers.items() for name, why in some.items() if why is not None]
    )
    counts = ", ".join(f"{len(some)} {kind}{'s' * (len(some) > 1)}" for kind, some in wanted.items() if some)
    return f"{counts}, in this environment; kubeflow/verify_image.py looks in the image's"


def what_must_be_importable(subject: Subject) -> dict[Kind, list[str]]:
    """Names by kind, each once."""
    wanted: dict[Kind, set[str]] = {
        kind: set() for kind in ("module", "executor", "artifact", "run_fn", "preprocessing_fn")
    }
    for task in subject.compiled.tasks:
        for container in task.containers:
            wanted["module"] |= {container.module} if container.module else set()
            wanted["executor"] |= {container.executor} if container.executor else set()
        if custom_job(task):
            wanted["module"].add(CUSTOM_JOB_MODULE)
        for kind in ("run_fn", "preprocessing_fn"):
            if isinstance(path := task.parameters.get(kind), str) and path:
                wanted[kind].add(path)
        if task.component is not None:
            for declared in (task.component.input_definitions, task.component.output_definitions):
                wanted["artifact"] |= {title_of(each.artifact_type) for each in declared.artifacts.values()}
    return {kind: sorted(some) for kind, some in wanted.items()}
