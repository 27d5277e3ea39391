"""A model in memory: config, weights, vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights import network
from albert_model.weights.names import ROLES, Role, Weights, parameters, roles


@dataclass(frozen=True)
class Model:
    """All that a model is.

    Attributes:
      config: sizes.
      weights: canonical; of an encoder at least. They may be read each time they are asked for.
      vocabulary: None where the source brought none.
      source: where it was read, for errors.
      left_out: arrays of the source that are no part of a model, such as an optimizer's.
      initialised: the parts that were not in the source and got fresh values.
    """

    config: AlbertConfig
    weights: Weights
    vocabulary: Vocabulary | None = None
    source: str = "model"
    left_out: tuple[str, ...] = ()
    initialised: tuple[Role, ...] = field(default=())

    @property
    def roles(self) -> tuple[Role, ...]:
        """The parts that there are."""
        return roles(self.weights, self.config)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the vocabulary.

        Raises:
          InputError: there is no vocabulary, or not one that text can be cut with.
        """
        if self.vocabulary is None:
            raise InputError(f"{self.source}: has no vocabulary.")
        return Tokenizer.of(self.vocabulary, self.source)

    def network(self, dtype: str = "float32") -> AlbertPretrainer:
        """The live network with these weights; parts that are missing have fresh ones."""
        made = AlbertPretrainer(self.config, dtype=dtype)
        network.assign(made, self.weights, self.source)
        return made

    def only(self, wanted: tuple[Role, ...]) -> Model:
        """Without the parts that are not wanted."""
        kept = {row.name for row in parameters(self.config) if row.role in wanted and row.name in self.weights}
        return replace(self, weights=_Chosen(self.weights, kept))

    def complete(self, wanted: tuple[Role, ...] = ROLES, seed: int = 0) -> Model:
        """With fresh values, drawn as training from scratch does, for parts that are wanted and missing."""
        missing = tuple(role for role in wanted if role not in self.roles)
        if not missing:
            return self
        fresh = network.fresh(self.config, missing, seed)
        return replace(self, weights=_Joined(self.weights, fresh), initialised=self.initialised + missing)


class _Chosen(Mapping[str, np.ndarray]):
    """Some of the weights; the others are never read."""

    def __init__(self, weights: Weights, names: set[str]):
        self._weights, self._names = weights, names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._weights[name]

    def __iter__(self):
        return (name for name in self._weights if name in self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Joined(Mapping[str, np.ndarray]):
    """Weights and more weights."""

    def __init__(self, weights: Weights, more: Weights):
        self._weights, self._more = weights, more

    def __getitem__(self, name: str) -> np.ndarray:
        return self._more[name] if name in self._more else self._weights[name]

    def __iter__(self):
        yield from self._weights
        yield from self._more

    def __len__(self) -> int:
        return len(self._weights) + len(self._more)
