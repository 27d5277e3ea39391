"""Reads the artifacts of a run and writes the page."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import jinja2
import tensorflow as tf
from tfx import types

from components.report import checks, data, page_figures, provenance, training, verdict_file
from components.report.parts import Artifacts, LeftOut
from components.report.verdict_file import Verdict

FILE_NAME = "report.html"


def write(report: types.Artifact, artifacts: Artifacts, settings: str) -> None:
    """Writes `report.html` into the artifact, whole or not at all.

    Args:
      report: the artifact to write to.
      artifacts: those of the run by the names of the component's inputs; "evaluation" is there.
      settings: JSON of the pipeline's settings, or nothing.

    Raises:
      InputError: the evaluation has no verdict, or one that cannot be read.
    """
    text = page(artifacts, settings)
    path = os.path.join(report.uri, FILE_NAME)
    tf.io.gfile.makedirs(report.uri)
    with tf.io.gfile.GFile(f"{path}.part", "w") as file:
        file.write(text)
    tf.io.gfile.rename(f"{path}.part", path, overwrite=True)


def page(artifacts: Artifacts, settings: str) -> str:
    """The page of a run, as HTML. The same artifacts give the same page."""
    verdict = verdict_file.read(artifacts["evaluation"].uri)
    documents, examples = data.documents(artifacts), data.examples(artifacts)
    trained, config = training.training(artifacts), provenance.model_config(artifacts)
    probe = checks.probe(artifacts, verdict.probe)
    export = checks.export_checks(artifacts)
    curves = training.curves(artifacts)
    named = {
        "documents": _attribute(documents, "settings"),
        "examples": _attribute(examples, "settings"),
        "training": _attribute(trained, "training"),
        "model": {} if isinstance(config, LeftOut) else config,
        "probe": _attribute(probe, "settings"),
    }
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            outcome=outcome(artifacts, verdict, export),
            name=json.loads(settings)["name"] if settings else None,
            span=_span(artifacts),
            verdict=verdict,
            figures=page_figures.figures(verdict),
            interval_plots=page_figures.interval_plots(verdict),
            curves=curves,
            curve_plots=page_figures.curve_plots(curves),
            documents=documents,
            examples=examples,
            length_plot=page_figures.length_plot(examples),
            domains=data.domains(artifacts),
            drops=data.drops(documents, examples),
            drift=data.drift(artifacts),
            anomalies=data.anomalies(artifacts),
            schema=data.schema(artifacts),
            export=export,
            probe=probe,
            training=trained,
            timings=provenance.timings(artifacts),
            made=provenance.made(artifacts, trained, verdict.baseline),
            settings=provenance.settings_used(settings, named),
        )
    )


def _attribute(found: object, name: str) -> dict[str, Any]:
    return {} if isinstance(found, LeftOut) else getattr(found, name)


def outcome(artifacts: Artifacts, verdict: Verdict, export: checks.ExportChecks | LeftOut) -> dict[str, str | None]:
    """The first thing people see: headline, tone ("good", "bad"; "half": blessed, but not pushed), and where to."""
    if not verdict.blessed:
        return {"headline": "Not blessed", "tone": "bad", "then": "Nothing was pushed."}
    if not isinstance(export, LeftOut) and not export.passed:
        return {"headline": "Blessed, not pushed", "tone": "half", "then": "The export failed its checks, see below."}
    pushed = artifacts.get("pushed_model")
    if pushed is None:
        return {"headline": "Blessed", "tone": "good", "then": "This run pushes nothing."}
    if not pushed.get_int_custom_property("pushed"):
        return {
            "headline": "Blessed, not pushed",
            "tone": "half",
            "then": "The pusher pushed nothing; its log says why.",
        }
    return {
        "headline": f"Blessed, pushed as version {pushed.get_string_custom_property('pushed_version')}",
        "tone": "good",
        "then": pushed.get_string_custom_property("pushed_destination"),
    }


def _span(artifacts: Artifacts) -> int | None:
    documents = artifacts.get("documents")
    return documents.get_int_custom_property("span") or None if documents else None


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names of domains and paths are other people's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": _seconds, "share": _share, "words": lambda name: str(name).replace("_", " ")}
    environment.tests["left_out"] = lambda value: isinstance(value, LeftOut)
    return environment


def _share(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


def _seconds(value: float | None) -> str:
    """Rounded as people say it."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
