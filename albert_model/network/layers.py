"""Layers with ALBERT's initialisation and numerics, shared by encoder and heads."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable

import keras
from keras import ops

from albert_model.config import AlbertConfig


def gelu_tanh(x):
    """The tanh form of gelu (arXiv:1606.08415), which Google's configs call "gelu".

    Not `ops.gelu(x, approximate=True)`: TensorFlow rounds its constant to float32 even where x is float64.
    """
    return 0.5 * x * (1.0 + ops.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * ops.power(x, 3))))


def gelu_erf(x):
    """The erf form, which Hugging Face calls "gelu". Not `ops.gelu`, for the same reason."""
    return 0.5 * x * (1.0 + ops.erf(x / math.sqrt(2.0)))


_ACTIVATIONS: dict[str, Callable] = {
    "gelu": gelu_tanh,
    "gelu_erf": gelu_erf,
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
        inner = copy.copy(self)
        inner.scope = f"{self.scope}/{name}"
        return inner

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
