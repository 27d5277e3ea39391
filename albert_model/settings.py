"""What all settings have in common."""

from __future__ import annotations

from typing import TypeVar

import pydantic

Kind = TypeVar("Kind", bound="Settings")


class Settings(pydantic.BaseModel):
    """Values that do not change, of which none has a name that is not known, and no number is NaN or infinite."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def narrowed(self, kind: type[Kind]) -> Kind:
        """Those values that a parent class has, as one of it."""
        return kind(**self.model_dump(include=set(kind.model_fields)))
