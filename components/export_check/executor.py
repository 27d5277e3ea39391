"""Writes the encoder package, has it checked, and blesses it or not."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, replace

import tensorflow as tf
from tfx import types
from tfx.components.util import model_utils

from albert_model.publishing.export_check import Check
from albert_model.publishing.export_process import check_export, passed
from albert_model.weights import package as packages
from components import manifests
from components.model_layout import package_folder
from components.remote import folders_here, read_package

_log = logging.getLogger("albert.export")
# What tfx/components/infra_validator/executor.py writes, and TFX's Pusher reads.
_BLESSED = "blessed"
_FILES = {True: "INFRA_BLESSED", False: "INFRA_NOT_BLESSED"}


def check(
    package: types.Artifact,
    infra_blessing: types.Artifact,
    model: types.Artifact,
    model_blessing: types.Artifact,
    time_limit: float,
) -> None:
    """Writes and checks the package of a blessed model.

    What is wrong with the package is a result. Only what keeps it from being written is an error.

    Raises:
      InputError: the model's own package is damaged.
      OSError: the disk is full, or the like.
    """
    tf.io.gfile.makedirs(package.uri)
    if not model_utils.is_model_blessed(model_blessing):
        _log.info("no package written: the model was not blessed")
        _finish(infra_blessing, [])
        return
    trained = read_package(package_folder(model.uri))
    with folders_here() as here:
        folder = here.of_output(package.uri)
        packages.write_encoder(folder, trained)
        checks = [replace(c, said=here.with_uris(c.said)) for c in check_export(folder, trained, time_limit)]
    _finish(infra_blessing, checks)
    _tell(checks)


def _finish(infra_blessing: types.Artifact, checks: Sequence[Check]) -> None:
    """Writes `export_check.json` (`passed`, and `checks` with the fields of `Check`), and marks the artifact."""
    blessed = passed(checks)
    report = {"passed": blessed, "checks": [asdict(check) for check in checks]}
    files = {manifests.EXPORT_CHECK: json.dumps(report, indent=2, ensure_ascii=False) + "\n", _FILES[blessed]: ""}
    tf.io.gfile.makedirs(infra_blessing.uri)
    for name, text in files.items():
        with tf.io.gfile.GFile(os.path.join(infra_blessing.uri, name), "w") as file:
            file.write(text)
    infra_blessing.set_int_custom_property(_BLESSED, int(blessed))


def _tell(checks: Sequence[Check]) -> None:
    """One line: how many passed and what could not run, or what failed."""
    failed = [check for check in checks if check.passed is False]
    if failed:
        _log.error("the export is not fit to be used: %s", "; ".join(f"{c.name}: {c.said}" for c in failed))
        return
    skipped = [check.name for check in checks if check.passed is None]
    not_run = f"; could not run here: {', '.join(skipped)}" if skipped else ""
    _log.info("export loads and computes as in training: %d checks passed%s", len(checks) - len(skipped), not_run)
