"""What the report says of where a model came from: artifacts, their times, and settings."""

from __future__ import annotations

import datetime
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from albert_model.settings import dotted
from albert_model.weights.package import CONFIG
from components.model_layout import package_folder
from components.report.parts import Artifacts, LeftOut, part, read_json
from components.report.training import Training

# In the order in which a run makes them, with the component that does.
_MADE_BY = {
    "documents": "DocumentGen",
    "examples": "PretrainingExampleGen",
    "statistics": "StatisticsGen",
    "schema": "SchemaGen",
    "anomalies": "ExampleValidator",
    "model_run": "Trainer",
    "model": "Trainer",
    "probe": "Probe",
    "evaluation": "Evaluator",
    "blessing": "Evaluator",
    "infra_blessing": "ExportCheck",
    "pushed_model": "EncoderPusher",
}
_MADE_FROM = {
    "examples": ("documents",),
    "statistics": ("examples",),
    "schema": ("statistics",),
    "anomalies": ("statistics", "schema"),
    "model": ("examples", "schema"),
    "model_run": ("examples", "schema"),
    "probe": ("model",),
    "evaluation": ("model", "examples"),
    "blessing": ("model", "examples"),
    "infra_blessing": ("model", "blessing"),
    "pushed_model": ("model", "blessing", "infra_blessing"),
}


@dataclass(frozen=True)
class Finished:
    """When a component's results were recorded, and how long after those of the row above.

    Attributes:
      seconds: None for the first.
    """

    component: str
    at: datetime.datetime
    seconds: float | None


@dataclass(frozen=True)
class Made:
    """An artifact of the run.

    Attributes:
      made_from: what of this list it was made from.
      facts: name and value.
    """

    name: str
    component: str
    type: str
    id: int
    uri: str
    made_from: list[str]
    facts: list[tuple[str, str]] = field(default_factory=list)


def timings(artifacts: Artifacts) -> list[Finished] | LeftOut:
    """Components by the time at which they ended; an artifact knows no other time, and the cache's are old ones."""
    ended: dict[str, int] = {}
    for name, component in _MADE_BY.items():
        if name in artifacts and (at := _recorded(artifacts[name])):
            ended[component] = max(at, ended.get(component, 0))
    if not ended:
        return LeftOut("Times: left out, as the artifacts do not know when they were made.")
    rows = sorted(ended.items(), key=lambda row: row[1])
    before = itertools.chain([None], (at for _, at in rows))
    return [
        Finished(name, _date(at), None if last is None else (at - last) / 1000)
        for (name, at), last in zip(rows, before, strict=False)
    ]


def _recorded(artifact: Any) -> int:
    """Milliseconds since 1970; 0 where the artifact does not say."""
    return artifact.mlmd_artifact.create_time_since_epoch


def _date(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)


def made(artifacts: Artifacts, training: Training | LeftOut, baseline: str | None) -> list[Made]:
    """The artifacts of the run, in order."""
    facts = {"documents": _document_facts(artifacts), "model": _start(training)}
    facts["evaluation"] = [("compared with", baseline or "no model: there was none before")]
    return [
        Made(
            name=name.replace("_", " "),
            component=component,
            type=artifacts[name].type_name,
            id=artifacts[name].id,
            uri=artifacts[name].uri,
            made_from=[source.replace("_", " ") for source in _MADE_FROM.get(name, ()) if source in artifacts],
            facts=[(key, str(value)) for key, value in facts.get(name, []) if value not in (None, "")],
        )
        for name, component in _MADE_BY.items()
        if name in artifacts
    ]


def _document_facts(artifacts: Artifacts) -> list[tuple[str, Any]]:
    if "documents" not in artifacts:
        return []
    documents = artifacts["documents"]
    return [
        ("span", documents.get_int_custom_property("span") or None),
        ("fingerprint of the text", documents.get_string_custom_property("fingerprint")),
        ("files", documents.get_string_custom_property("input_fingerprint")),
        ("TFX", documents.get_string_custom_property("tfx_version")),
    ]


def _start(training: Training | LeftOut) -> list[tuple[str, Any]]:
    if isinstance(training, LeftOut):
        return []
    return [
        ("started from", training.start.source),
        ("its model", training.start.model_uri),
        ("fingerprint of the vocabulary", training.tokenizer_fingerprint),
        ("steps", training.steps),
    ]


@part("The model's size", "model")
def model_config(artifacts: Artifacts) -> dict[str, Any]:
    return read_json(os.path.join(package_folder(artifacts["model"].uri), CONFIG))


def settings_used(given: str, from_artifacts: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Every setting by section, with dotted keys.

    Args:
      given: JSON of all settings of the pipeline; where it is empty, those of `from_artifacts` are shown.
      from_artifacts: by section.
    """
    sections = dict(from_artifacts)
    if given:
        content = json.loads(given)
        sections = {key: value for key, value in content.items() if isinstance(value, dict)}
        sections = {"pipeline": {k: v for k, v in content.items() if k not in sections}, **sections}
    return {name: list(dotted(values)) for name, values in sections.items() if values}
