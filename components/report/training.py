"""The report's learning curves."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Any

import pydantic

from components import manifests
from components.model_layout import package_folder
from components.report.parts import Artifacts, part, read_bytes, read_json

METRICS = "metrics.jsonl"
FIGURES = ("mlm_loss", "mlm_accuracy", "sop_loss", "sop_accuracy")
Curve = list[tuple[int, float]]
_NAMES = {"train": "training", "eval": "held out"}


@dataclass(frozen=True)
class Curves:
    """Figures over steps.

    Attributes:
      of: by figure and line ("training", "held out"); only those that have points.
      unreadable: lines of the file that are none, as the last one after a full disk.
    """

    of: dict[str, dict[str, Curve]]
    unreadable: int


@part("Learning curves", "model_run")
def curves(artifacts: Artifacts) -> Curves:
    """Reads `metrics.jsonl`. A training that was resumed wrote some steps twice: the later line counts."""
    lines = read_bytes(os.path.join(artifacts["model_run"].uri, METRICS)).decode(errors="replace").splitlines()
    read = [_point(line) for line in lines]
    points = {(split, step): figures for split, step, figures in filter(None, read)}
    if not points:
        raise ValueError(f"{METRICS} has no line that can be read")
    if sum(split == "train" for split, _ in points) > 1:
        points.pop(("train", 1), None)  # of one batch, where the others are means of many
    found: dict[str, dict[str, Curve]] = {}
    for (split, step), figures in sorted(points.items()):
        for name in FIGURES:
            value = figures.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(name, {}).setdefault(_NAMES[split], []).append((step, value))
    return Curves({name: found[name] for name in FIGURES if name in found}, read.count(None))


def _point(line: str) -> tuple[str, int, dict[str, object]] | None:
    try:
        figures = json.loads(line)
        split, step = figures["split"], int(figures["step"])
    except (ValueError, KeyError, TypeError):
        return None
    return (split, step, figures) if split in _NAMES else None


class Start(pydantic.BaseModel):
    """Where the weights came from."""

    source: str
    model_uri: str | None = None


class Training(pydantic.BaseModel):
    """What the page needs of `training.json` in the model's package."""

    start: Start
    steps: int
    tokenizer_fingerprint: str
    training: dict[str, Any] = {}
    last_interval: dict[str, float | None] = {}

    @property
    def tokens_per_second(self) -> float | None:
        return self.last_interval.get("tokens_per_second")


@part("How it was trained", "model")
def training(artifacts: Artifacts) -> Training:
    path = os.path.join(package_folder(artifacts["model"].uri), manifests.TRAINING)
    return Training.model_validate(read_json(path))
