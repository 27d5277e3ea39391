"""AlbertConfig: the sizes of a network, as `albert_config.json` and `bert_config.json` state them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pydantic

from albert_model.errors import InputError
from albert_model.settings import Settings

Architecture = Literal["albert", "bert"]
Activation = Literal["gelu", "gelu_erf", "relu"]
PublishedSize = Literal["base", "large", "xlarge", "xxlarge"]

# arXiv:1909.11942, table 1. Heads are "hidden size / 64"; xlarge has 32 (google-research/albert#180).
_PUBLISHED: dict[PublishedSize, tuple[int, int, int]] = {
    # size: (hidden_size, num_hidden_layers, num_attention_heads)
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "xlarge": (2048, 24, 32),
    "xxlarge": (4096, 12, 64),
}
PUBLISHED_SIZES = tuple(_PUBLISHED)
# In a `bert_config.json`, of heads for other tasks that no pre-training code builds.
_BERT_ONLY = ("directionality", "pooler_")


class AlbertConfig(Settings):
    """The fields of google-research/albert's `albert_config.json`, with its names.

    A BERT is the special case of one group for each layer. Where the embedding is as wide as the layers (as it is
    in BERT), nothing projects it.

    Attributes:
      architecture: "bert" if there is a group for each layer and files name them as google-research/bert does.
      hidden_act: "gelu" is the tanh approximation, as in Google's code.
      num_hidden_groups: groups of layers that share their parameters; ALBERT's published sizes use 1.
      inner_group_num: layers inside a group, each with its own parameters.
    """

    architecture: Architecture = "albert"
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
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: float = pydantic.Field(default=0.0, ge=0, lt=1)
    attention_probs_dropout_prob: float = pydantic.Field(default=0.0, ge=0, lt=1)
    initializer_range: float = pydantic.Field(default=0.02, gt=0)

    # Written by Google's releases and read by nothing; kept so that their files are accepted and round-trip.
    net_structure_type: int = 0
    gap_size: int = 0
    num_memory_blocks: int = 0
    down_scale_factor: int = 1

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_bert(cls, values: Any) -> Any:
        """What a `bert_config.json` leaves unsaid."""
        if not isinstance(values, dict) or values.get("architecture") != "bert":
            return values
        values = {key: value for key, value in values.items() if not key.startswith(_BERT_ONLY)}
        values.setdefault("embedding_size", values.get("hidden_size"))
        values.setdefault("num_hidden_groups", values.get("num_hidden_layers"))
        return values

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
        if self.architecture == "bert" and (self.num_hidden_groups, self.inner_group_num) != (
            self.num_hidden_layers,
            1,
        ):
            raise ValueError("a BERT has one group for each layer (num_hidden_groups) and inner_group_num 1")
        return self

    @classmethod
    def from_file(cls, path: str | Path, architecture: Architecture = "albert") -> AlbertConfig:
        """Reads an `albert_config.json` or a `bert_config.json`.

        Args:
          path: the file.
          architecture: what to take it for where it does not say so itself.

        Raises:
          InputError: the file is missing, is not JSON, has an unknown key, or its sizes do not fit each other.
        """
        return cls.from_values({"architecture": architecture} | read_json(path), str(path))

    @classmethod
    def from_values(cls, values: dict[str, Any], source: str) -> AlbertConfig:
        """Validates values that came from `source`.

        Raises:
          InputError: an unknown key, or sizes that do not fit each other.
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise InputError(f"{source}: {describe(error)}") from error

    @classmethod
    def published(cls, size: PublishedSize, version: int = 2) -> AlbertConfig:
        """The config of a released English model.

        Args:
          size: one of `PUBLISHED_SIZES`.
          version: 1, or 2 for all later ones; version 1 has dropout (but xxlarge).
        """
        hidden, layers, heads = _PUBLISHED[size]
        dropout = 0.1 if version == 1 and size != "xxlarge" else 0.0
        return cls(
            vocab_size=30000,
            embedding_size=128,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )

    def network(self) -> dict[str, int | str]:
        """The fields that decide what the weights mean: all that two configs must share to share them."""
        return self.model_dump(include=_NETWORK_FIELDS)

    @property
    def projects_embedding(self) -> bool:
        """Whether a dense layer stands between the embedding and the first layer."""
        return self.embedding_size != self.hidden_size

    def to_json(self) -> str:
        """As Google's releases write it; `architecture` only where it is not ALBERT."""
        unsaid = {"architecture"} if self.architecture == "albert" else None
        return self.model_dump_json(indent=2, exclude=unsaid) + "\n"


_NETWORK_FIELDS = {
    *("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "num_hidden_groups", "inner_group_num", "hidden_act"),
}


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      InputError: the file is missing, or does not hold one.
    """
    try:
        values = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). It should be a JSON file.") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: should hold a JSON object with the model's sizes.")
    return values


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
