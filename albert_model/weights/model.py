"""A model in memory: config, weights, vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights import network
from albert_model.weights.names import ROLES, Role, Weights, parameters, roles
from albert_model.weights.tensors import LazyWeights


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
    initialised: tuple[Role, ...] = ()

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
            raise InputError(f"{self.source}: has no vocabulary. Put its file (*.model) beside the weights.")
        return Tokenizer.of(self.vocabulary, self.source)

    def network(self, dtype: str = "float32") -> AlbertPretrainer:
        """The live network with these weights; parts that are missing have fresh ones."""
        return network.loaded(self.config, self.weights, self.source, dtype)

    def only(self, wanted: tuple[Role, ...]) -> Model:
        """Without the parts that are not wanted."""
        kept = [row.name for row in parameters(self.config) if row.role in wanted and row.name in self.weights]
        return replace(self, weights=LazyWeights(_readers(self.weights, kept)))

    def complete(self, wanted: tuple[Role, ...] = ROLES, seed: int = 0) -> Model:
        """With fresh values, drawn as training from scratch does, for parts that are wanted and missing."""
        missing = tuple(role for role in wanted if role not in self.roles)
        if not missing:
            return self
        fresh = network.fresh(self.config, missing, seed)
        joined = LazyWeights(_readers(self.weights, self.weights) | _readers(fresh, fresh))
        return replace(self, weights=joined, initialised=self.initialised + missing)


def _readers(weights: Weights, names: Iterable[str]) -> dict[str, Callable[[], np.ndarray]]:
    return {name: partial(weights.__getitem__, name) for name in names}
