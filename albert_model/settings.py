"""What all settings have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import pydantic

Kind = TypeVar("Kind", bound="Settings")


class Settings(pydantic.BaseModel):
    """Values that do not change, of which none has a name that is not known, and no number is NaN or infinite."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def narrowed(self, kind: type[Kind]) -> Kind:
        """Those values that a parent class has, as one of it."""
        return kind(**self.model_dump(include=set(kind.model_fields)))


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values as text, of sections in sections.

    >>> list(dotted({"push": {"keep": 5}, "name": "demo"}))
    [('push.keep', '5'), ('name', 'demo')]
    """
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
