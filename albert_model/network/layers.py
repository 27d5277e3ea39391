"""Layers with ALBERT's initialisation and numerics, shared by encoder and heads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import keras
from keras import ops

from albert_model.config import AlbertConfig

_ACTIVATIONS: dict[str, Callable] = {
    "gelu": lambda x: ops.gelu(x, approximate=True),
    "gelu_erf": lambda x: ops.gelu(x, approximate=False),
    "relu": ops.relu,
}


class LayerFactory:
    """Makes layers whose initial values depend on (seed, name) alone, so that no global seed is touched.

    Args:
      config: stddev of the truncated normal that kernels and embeddings start from, and the activation.
      seed: the network's seed.
      dtype: Keras dtype or policy of every layer.
      scope: part of every name; nests with `within`.
    """

    def __init__(self, config: AlbertConfig, seed: int, dtype: str = "float32", scope: str = ""):
        self.config, self.seed, self.dtype, self.scope = config, seed, dtype, scope

    def within(self, name: str) -> LayerFactory:
        return LayerFactory(self.config, self.seed, self.dtype, f"{self.scope}/{name}")

    def seed_of(self, name: str) -> int:
        digest = hashlib.blake2b(f"{self.seed}{self.scope}/{name}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little")

    def initializer(self, name: str) -> keras.initializers.Initializer:
        return keras.initializers.TruncatedNormal(stddev=self.config.initializer_range, seed=self.seed_of(name))

    def dense(self, units: int, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(units, kernel_initializer=self.initializer(name), dtype=self.dtype, name=name)

    def embedding(self, rows: int, name: str) -> keras.layers.Embedding:
        return keras.layers.Embedding(
            rows,
            self.config.embedding_size,
            embeddings_initializer=self.initializer(name),
            dtype=self.dtype,
            name=name,
        )

    def layer_norm(self, name: str) -> keras.layers.LayerNormalization:
        return keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype, name=name)

    def dropout(self, rate: float, name: str) -> keras.layers.Dropout:
        return keras.layers.Dropout(rate, seed=self.seed_of(name), dtype=self.dtype, name=name)

    def activation(self) -> Callable:
        return _ACTIVATIONS[self.config.hidden_act]
