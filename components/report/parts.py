"""A part of the report: what a reader makes of artifacts, or a word why it is left out."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import pydantic
import tensorflow as tf
from google.protobuf.message import DecodeError
from google.protobuf.text_format import ParseError
from tfx import types

from albert_model.config import describe

P = ParamSpec("P")
T = TypeVar("T")
Artifacts = Mapping[str, types.Artifact]
# What truncated, missing and foreign files end in.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, DecodeError, ParseError, tf.errors.OpError)
_LONGEST_REASON = 300


@dataclass(frozen=True)
class LeftOut:
    """A part that is not there, and why."""

    why: str


def part(
    what: str, *needed: str
) -> Callable[[Callable[Concatenate[Artifacts, P], T]], Callable[Concatenate[Artifacts, P], T | LeftOut]]:
    """Makes of a reader one that says why it cannot read: a page with a gap is better than a run without a page.

    Args:
      what: subject of the sentence that says so.
      needed: names of the artifacts without which there is nothing to read.
    """

    def decorate(reader: Callable[Concatenate[Artifacts, P], T]) -> Callable[Concatenate[Artifacts, P], T | LeftOut]:
        @functools.wraps(reader)
        def read(artifacts: Artifacts, *args: P.args, **kwargs: P.kwargs) -> T | LeftOut:
            missing = [name.replace("_", " ") for name in needed if name not in artifacts]
            if missing:
                return LeftOut(f"{what}: left out, as the run has no {' and no '.join(missing)}.")
            try:
                return reader(artifacts, *args, **kwargs)
            except _UNREADABLE as error:
                return LeftOut(f"{what}: left out, as it cannot be read. {_reason(error)}")

        return read

    return decorate


def _reason(error: Exception) -> str:
    text = describe(error) if isinstance(error, pydantic.ValidationError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_LONGEST_REASON]}"


def read_bytes(path: str) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def read_json(path: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
      ValueError: it is something else.
    """
    content = json.loads(read_bytes(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content
