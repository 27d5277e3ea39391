"""What can be said of a model that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pydantic

from albert_model.config import Activation, AlbertConfig, PublishedSize
from albert_model.settings import Settings


def _read_config(value: Any) -> Any:
    return AlbertConfig.from_file(value) if isinstance(value, str | Path) else value


class ReadOptions(Settings):
    """What a source leaves unsaid, or says wrongly."""

    config: Annotated[AlbertConfig | None, pydantic.BeforeValidator(_read_config)] = pydantic.Field(
        default=None, description="An albert_config.json, or its fields, in place of the source's own."
    )
    model: PublishedSize | None = pydantic.Field(
        default=None, description="The released model whose config it is, in place of `config`."
    )
    version: int = pydantic.Field(default=2, ge=1, le=3, description="Of the released model; 1 has dropout.")
    hidden_act: Activation | None = pydantic.Field(
        default=None, description="In place of what the config says; gelu is the tanh form."
    )
    sha256: str | None = pydantic.Field(
        default=None, pattern=r"^[0-9a-fA-F]{64}$", description="Of the source, if that is a file: checked first."
    )
    any_vocabulary: bool = pydantic.Field(
        default=False, description="Take a vocabulary also where it is not the one it seems to be."
    )

    @pydantic.model_validator(mode="after")
    def _one_config(self) -> ReadOptions:
        if self.config and self.model:
            raise ValueError("give config or model, not both")
        return self

    @property
    def stated_config(self) -> AlbertConfig | None:
        """The config that goes before the source's own."""
        return AlbertConfig.published(self.model, self.version) if self.model else self.config
