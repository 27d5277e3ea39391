"""Runs the probe on both models, and writes what came of it."""

from __future__ import annotations

import json
import logging
import os

import tensorflow as tf
from tfx import types

from albert_model.evaluation.probe import ProbeScores, report, run_probe
from albert_model.evaluation.probe_data import ProbeData, read_data
from albert_model.evaluation.probe_settings import ProbeSettings
from components import manifests
from components.model_layout import holds_model, package_folder
from components.remote import folders_here, read_package

_log = logging.getLogger("albert.probe")


def run(probe: types.Artifact, model: types.Artifact, baseline: types.Artifact | None, settings: str) -> None:
    """Writes `probe.json`.

    Raises:
      InputError: the labelled files cannot be used; says where.
    """
    said = ProbeSettings.model_validate_json(settings)
    with folders_here() as here:
        data = read_data(said.with_paths(lambda path: str(here.of_input(path))))
    candidate = _scores(model, said, data, "model")
    before = _scores(baseline, said, data, "model before") if baseline and holds_model(baseline) else None
    found = report(said, data, candidate, before)
    tf.io.gfile.makedirs(probe.uri)
    with tf.io.gfile.GFile(os.path.join(probe.uri, manifests.PROBE), "w") as file:
        file.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    _tell(data, candidate, before)


def _scores(model: types.Artifact, settings: ProbeSettings, data: ProbeData, name: str) -> ProbeScores:
    return run_probe(read_package(package_folder(model.uri)), settings, data, name)


def _tell(data: ProbeData, candidate: ProbeScores, before: ProbeScores | None) -> None:
    _log.info(
        "probe: accuracy %s, the model before %s, always guessing the same %.1f %%",
        _words(candidate),
        _words(before) if before else "none",
        100 * data.majority,
    )


def _words(scores: ProbeScores) -> str:
    return f"{100 * scores.mean:.1f} % ± {100 * scores.spread:.1f}"
