"""What all settings have in common."""

from __future__ import annotations

import pydantic


class Settings(pydantic.BaseModel):
    """Values that do not change, of which none has a name that is not known, and no number is NaN or infinite."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
