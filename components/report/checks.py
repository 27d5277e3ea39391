"""What the report says of the export's checks and of the probe."""

from __future__ import annotations

import os
from typing import Any

import pydantic

from components import manifests
from components.report.parts import Artifacts, LeftOut, part, read_json
from components.report.verdict_file import Number


class ExportCheck(pydantic.BaseModel):
    """One check of the exported package; `passed` is None where it could not run here."""

    name: str
    passed: bool | None
    said: str
    seconds: Number = None


class ExportChecks(pydantic.BaseModel):
    passed: bool
    checks: list[ExportCheck]


class ProbeModel(pydantic.BaseModel):
    """Accuracies of a classifier on top of a model, one a seed, and their mean and sample standard deviation."""

    accuracies: list[float]
    mean: float
    spread: Number = None


class Probe(pydantic.BaseModel):
    settings: dict[str, Any] = {}
    labels: list[Any] = []
    train_examples: int
    test_examples: int
    candidate: ProbeModel
    baseline: ProbeModel | None = None


@part("Checks of the export", "infra_blessing")
def export_checks(artifacts: Artifacts) -> ExportChecks:
    return ExportChecks.model_validate(read_json(os.path.join(artifacts["infra_blessing"].uri, manifests.EXPORT_CHECK)))


@part("Probe", "probe")
def _probe_file(artifacts: Artifacts) -> Probe:
    return Probe.model_validate(read_json(os.path.join(artifacts["probe"].uri, manifests.PROBE)))


def probe(artifacts: Artifacts, in_verdict: dict[str, Any] | None) -> Probe | LeftOut:
    """The probe's own file, else what the verdict repeats of it."""
    found = _probe_file(artifacts)
    if isinstance(found, LeftOut) and in_verdict:
        return _probe_in_verdict(artifacts, in_verdict)
    return found


@part("Probe")
def _probe_in_verdict(_artifacts: Artifacts, in_verdict: dict[str, Any]) -> Probe:
    return Probe.model_validate(in_verdict)
