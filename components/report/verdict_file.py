"""`verdict.json` as the report needs it: read, checked, and without figures that are no numbers."""

from __future__ import annotations

import json
import math
import os
from typing import Annotated, Any, Literal

import pydantic
import tensorflow as tf

from albert_model.config import describe
from albert_model.errors import InputError
from albert_model.evaluation.verdict import FILE_NAME


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, pydantic.BeforeValidator(_finite)]


class Interval(pydantic.BaseModel):
    """A figure and where it lies at the verdict's confidence; a figure without an interval has none of the ends."""

    value: Number = None
    low: Number = None
    high: Number = None


Figures = dict[str, Interval | None]


class TextFigures(pydantic.BaseModel):
    """What was measured on a text (`domain` None), or on a domain of it."""

    text: str
    domain: str | None
    documents: int
    examples: int
    candidate: Figures
    baseline: Figures | None = None
    difference: Figures | None = None

    def of(self, model: str, figure: str) -> Interval | None:
        """A figure of "candidate", "baseline" or "difference"; None if it was not measured."""
        found = (getattr(self, model) or {}).get(figure)
        return found if found and found.value is not None else None


class Rule(pydantic.BaseModel):
    name: str
    passed: bool
    said: str


class Verdict(pydantic.BaseModel):
    format_version: Literal[1]
    blessed: bool
    summary: str
    rules: list[Rule]
    confidence: float
    comparison: str
    baseline: str | None = None
    texts: list[TextFigures]
    probe: dict[str, Any] | None = None

    @property
    def deciding(self) -> Rule | None:
        """The first rule that failed; of a blessed model the gain, else the rule that was asked last."""
        failed = [rule for rule in self.rules if not rule.passed]
        gains = [rule for rule in self.rules if rule.name == "gain"]
        return next(iter([*failed, *gains, *reversed(self.rules)]), None)


def read(uri: str) -> Verdict:
    """The verdict in the evaluation at `uri`.

    Raises:
      InputError: there is none, or it is not one.
    """
    path = os.path.join(uri, FILE_NAME)
    try:
        with tf.io.gfile.GFile(path) as file:
            content = json.loads(file.read())
    except tf.errors.NotFoundError as error:
        raise InputError(f"{path} is not there: the report needs an evaluation of this project's Evaluator.") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): run the Evaluator again.") from error
    try:
        return Verdict.model_validate(content)
    except pydantic.ValidationError as error:
        raise InputError(f"{path} is no verdict: {describe(error)}. Run the Evaluator again.") from error
