"""What can be found wrong with a pipeline for Vertex AI or Kubeflow before it is submitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pydantic

from albert_model.errors import InputError
from pipeline.cloud import compiled
from pipeline.cloud.compiled import Compiled
from pipeline.cloud.settings import Target
from pipeline.settings import PipelineSettings

Outcome = Literal["passed", "failed", "not checked"]
_FEW = 8  # problems that one check tells of


@dataclass(frozen=True)
class CheckResult:
    """What a check came to.

    Attributes:
      name: of the check.
      outcome: of it.
      found: what was looked at, what is wrong and what to do, or why it could not be checked.
    """

    name: str
    outcome: Outcome
    found: str


class ProblemError(Exception):
    """A check failed; the message is what was found."""


class NotCheckedError(Exception):
    """A check could not be made; the message says why."""


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
      compiled: the job.
      target: where it is to run.
      settings: that it was compiled from; None where they are not known.
    """

    compiled: Compiled
    target: Target
    settings: PipelineSettings | None

    def known_settings(self) -> PipelineSettings:
        if self.settings is None:
            raise NotCheckedError("the compiled pipeline has no Report, whose settings would be those of the pipeline")
        return self.settings


Check = Callable[[Subject], str]


def check_before_submission(settings: PipelineSettings, target: Target) -> list[CheckResult]:
    """Compiles a pipeline and checks what comes of it.

    Args:
      settings: with `cloud`; for Kubeflow with a span that is a number.
      target: vertex or kfp.

    Returns:
      One result a check, in the order in which one depends on another.

    Raises:
      InputError: it cannot be compiled.
    """
    from pipeline.cloud.compiler import compile_pipeline  # TFX takes seconds to import, and prints

    if target == "local":
        raise InputError("--target: local runs are checked when they start. Name vertex or kfp.")
    return check_job(compile_pipeline(settings, target), target, settings)


def check_job(job: Mapping[str, Any], target: Target, settings: PipelineSettings | None = None) -> list[CheckResult]:
    """Checks a compiled job.

    Args:
      job: of `compile_pipeline` or `compiled.read`.
      target: vertex or kfp.
      settings: that it was compiled from. None: those that its Report has.
    """
    try:
        parsed = compiled.parse(job, target)
    except InputError as error:
        return [CheckResult(_PARSE, "failed", str(error))]
    tasks = parsed.tasks
    first = CheckResult(_PARSE, "passed", f"{len(tasks)} tasks, {len(parsed.containers)} commands")
    subject = Subject(parsed, target, settings or _settings_in(parsed))
    return [first, *(_result(name, check, subject) for name, check in _checks())]


def failures(results: Sequence[CheckResult]) -> list[CheckResult]:
    return [result for result in results if result.outcome == "failed"]


def require_none(problems: Sequence[str]) -> None:
    """Ends a check that found problems.

    Raises:
      ProblemError: there is one; with the first few.
    """
    if problems:
        more = f"; and {len(problems) - _FEW} more" if len(problems) > _FEW else ""
        raise ProblemError("; ".join(problems[:_FEW]) + more)


_PARSE = "specification"


def _checks() -> tuple[tuple[str, Check], ...]:
    from pipeline.cloud import environment_checks, graph_checks, machine_checks  # they need the names of this module

    return (
        ("schema version", graph_checks.schema_version),
        ("client's loader", graph_checks.loader),
        ("parameters", graph_checks.parameters),
        ("artifacts", graph_checks.artifacts),
        ("executors", graph_checks.executors),
        ("span", graph_checks.span),
        ("names", graph_checks.names),
        ("sizes of parameters", graph_checks.sizes),
        ("secrets", environment_checks.secrets),
        ("images", environment_checks.images),
        ("remote paths", environment_checks.remote_paths),
        ("Beam", environment_checks.beam),
        ("memory", machine_checks.memory),
        ("importable", environment_checks.importable),
    )


def _result(name: str, check: Check, subject: Subject) -> CheckResult:
    try:
        return CheckResult(name, "passed", check(subject))
    except ProblemError as problem:
        return CheckResult(name, "failed", str(problem))
    except NotCheckedError as reason:
        return CheckResult(name, "not checked", str(reason))


def _settings_in(parsed: Compiled) -> PipelineSettings | None:
    """The Report is given all settings, to show them."""
    for task in parsed.tasks:
        said = task.parameters.get("settings")
        if task.name == "Report" and isinstance(said, str) and said:
            try:
                return PipelineSettings.model_validate_json(said)
            except pydantic.ValidationError:
                return None
    return None
