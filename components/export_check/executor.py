"""Writes the encoder package, has it checked, and blesses it or not."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tfx import types
from tfx.components.util import model_utils

from albert_model.publishing.export_check import Check
from albert_model.publishing.export_process import check_export, passed
from albert_model.weights import package as packages
from components import manifests
from components.model_layout import package_folder

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
    Path(package.uri).mkdir(parents=True, exist_ok=True)
    if not model_utils.is_model_blessed(model_blessing):
        _log.info("no package written: the model was not blessed")
        _finish(infra_blessing, [])
        return
    trained = packages.read(package_folder(model.uri))
    packages.write_encoder(package.uri, trained)
    checks = check_export(package.uri, trained, time_limit)
    _finish(infra_blessing, checks)
    _tell(checks)


def _finish(infra_blessing: types.Artifact, checks: Sequence[Check]) -> None:
    """Writes `export_check.json` (`passed`, and `checks` with the fields of `Check`), and marks the artifact."""
    folder = Path(infra_blessing.uri)
    folder.mkdir(parents=True, exist_ok=True)
    blessed = passed(checks)
    report = {"passed": blessed, "checks": [asdict(check) for check in checks]}
    (folder / manifests.EXPORT_CHECK).write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / _FILES[blessed]).write_text("")
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
