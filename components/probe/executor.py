"""Runs the probe on both models, and writes what came of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from tfx import types

from albert_model.evaluation.probe import ProbeScores, report, run_probe
from albert_model.evaluation.probe_data import ProbeData, read_data
from albert_model.evaluation.probe_settings import ProbeSettings
from albert_model.weights import package
from components import manifests
from components.model_layout import package_folder

_log = logging.getLogger("albert.probe")


def run(probe: types.Artifact, model: types.Artifact, baseline: types.Artifact | None, settings: str) -> None:
    """Writes `probe.json`.

    Raises:
      InputError: the labelled files cannot be used; says where.
    """
    said = ProbeSettings.model_validate_json(settings)
    data = read_data(said)
    candidate = _scores(model, said, data, "model")
    before = None if baseline is None else _scores(baseline, said, data, "model before")
    Path(probe.uri).mkdir(parents=True, exist_ok=True)
    found = report(said, data, candidate, before)
    Path(probe.uri, manifests.PROBE).write_text(
        json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    _tell(data, candidate, before)


def _scores(model: types.Artifact, settings: ProbeSettings, data: ProbeData, name: str) -> ProbeScores:
    return run_probe(package.read(package_folder(model.uri)), settings, data, name)


def _tell(data: ProbeData, candidate: ProbeScores, before: ProbeScores | None) -> None:
    _log.info(
        "probe: accuracy %s, the model before %s, always guessing the same %.1f %%",
        _words(candidate),
        _words(before) if before else "none",
        100 * data.majority,
    )


def _words(scores: ProbeScores) -> str:
    return f"{100 * scores.mean:.1f} % ± {100 * scores.spread:.1f}"
