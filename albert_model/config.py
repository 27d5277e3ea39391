"""AlbertConfig: the sizes of a network, as `albert_config.json` states them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic

from albert_model.errors import InputError


class AlbertConfig(pydantic.BaseModel):
    """The fields of google-research/albert's `albert_config.json`, with its names.

    Attributes:
      hidden_act: "gelu" is the tanh approximation, as in Google's code.
      num_hidden_groups: groups of layers that share their parameters; ALBERT's published sizes use 1.
      inner_group_num: layers inside a group, each with its own parameters.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    vocab_size: int = pydantic.Field(ge=8)
    embedding_size: int = pydantic.Field(ge=1)
    hidden_size: int = pydantic.Field(ge=1)
    num_hidden_layers: int = pydantic.Field(ge=1)
    num_attention_heads: int = pydantic.Field(ge=1)
    intermediate_size: int = pydantic.Field(ge=1)
    max_position_embeddings: int = pydantic.Field(default=512, ge=8)
    type_vocab_size: int = pydantic.Field(default=2, ge=2)
    num_hidden_groups: int = pydantic.Field(default=1, ge=1)
    inner_group_num: int = pydantic.Field(default=1, ge=1)
    hidden_act: Literal["gelu", "gelu_erf", "relu"] = "gelu"
    hidden_dropout_prob: float = pydantic.Field(default=0.0, ge=0, lt=1)
    attention_probs_dropout_prob: float = pydantic.Field(default=0.0, ge=0, lt=1)
    initializer_range: float = pydantic.Field(default=0.02, gt=0)

    # Written by Google's releases and read by nothing; kept so that their files are accepted and round-trip.
    net_structure_type: int = 0
    gap_size: int = 0
    num_memory_blocks: int = 0
    down_scale_factor: int = 1

    @pydantic.model_validator(mode="after")
    def _sizes_fit(self) -> AlbertConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.num_hidden_layers % self.num_hidden_groups:
            raise ValueError(
                f"num_hidden_layers {self.num_hidden_layers} is not a multiple of "
                f"num_hidden_groups {self.num_hidden_groups}"
            )
        return self

    @classmethod
    def from_file(cls, path: str | Path) -> AlbertConfig:
        """Reads an `albert_config.json`.

        Raises:
          InputError: the file is missing, is not JSON, has an unknown key, or its sizes do not fit each other.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}). Give the path of an albert_config.json."
            ) from error
        except pydantic.ValidationError as error:
            raise InputError(f"{path}: {describe(error)}") from error

    def network(self) -> dict[str, int | str]:
        """The fields that decide what the weights mean: all that two configs must share to share them."""
        return self.model_dump(include=_NETWORK_FIELDS)

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"


_NETWORK_FIELDS = {
    *("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "num_hidden_groups", "inner_group_num", "hidden_act"),
}


def describe(error: pydantic.ValidationError) -> str:
    """One line for each wrong key: where it stands, what is wrong, what was given."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "is not a known key"
        elif key and problem["type"] not in ("missing", "value_error"):
            message += f" (got {problem['input']!r})"
        lines.append(f"{key}: {message}" if key else message)
    return "; ".join(lines)
