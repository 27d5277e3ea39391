"""Layers and operations with ALBERT's initialisation and numerics, shared by encoder and heads."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from albert_model.config import AlbertConfig

_GELU_SCALE, _GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715
_PLACES = 4  # of dropout, in a layer
_SEED_STRIDE = 1_000_003  # torch adds the two numbers of a seed: the second, which counts passes, stays below this


def _from_input(function: Callable, derivative: Callable) -> Callable:
    """A function whose gradient is computed from its input. Else all that lies between is kept for it: with gelu as
    much as a layer keeps besides."""

    @ops.custom_gradient
    def of(x):
        def gradient(*gradients, upstream=None):  # torch gives the named argument, the other backends a positional one
            (of_output,) = gradients if upstream is None else (upstream,)
            return of_output * derivative(x)

        return function(x), gradient

    return of


def _tanh_of_gelu(x):
    return ops.tanh(x * (_GELU_SCALE + _GELU_SCALE * _GELU_CUBE * ops.square(x)))


def _gelu_tanh(x):
    return 0.5 * x * (1.0 + _tanh_of_gelu(x))


def _gelu_tanh_derivative(x):
    tanh, slope = _tanh_of_gelu(x), _GELU_SCALE + 3.0 * _GELU_SCALE * _GELU_CUBE * ops.square(x)
    return 0.5 * (1.0 + tanh) * (1.0 + x * (1.0 - tanh) * slope)


def _gelu_erf(x):
    return 0.5 * x * (1.0 + ops.erf(x / math.sqrt(2.0)))


def _gelu_erf_derivative(x):
    return 0.5 * (1.0 + ops.erf(x / math.sqrt(2.0))) + x * ops.exp(-0.5 * ops.square(x)) / math.sqrt(2.0 * math.pi)


_ACTIVATIONS: dict[str, Callable] = {
    # The tanh form (arXiv:1606.08415), which Google's configs call "gelu". Not `ops.gelu(x, approximate=True)`:
    # TensorFlow rounds its constant to float32 even where x is float64.
    "gelu": _from_input(_gelu_tanh, _gelu_tanh_derivative),
    # The erf form, which Hugging Face calls "gelu". Not `ops.gelu`, for the same reason.
    "gelu_erf": _from_input(_gelu_erf, _gelu_erf_derivative),
    "relu": ops.relu,
}


def take_rows(x_BSD, positions_BP):
    """The vectors at some positions, [B, P, D].

    Not `ops.take_along_axis`, which takes number by number: its gradient adds them up one by one.
    """
    batch, length, size = ops.shape(x_BSD)
    starts_B1 = ops.expand_dims(ops.arange(batch, dtype="int32"), 1) * length
    return ops.take(ops.reshape(x_BSD, (batch * length, size)), ops.cast(positions_BP, "int32") + starts_B1, axis=0)


# === Dropout ===


def dropout(x, rate: float, seed, place: int):
    """Dropout as a function of (seed, place) alone, so that it is the same again where a layer is computed twice.

    Args:
      x: of any shape.
      rate: share of numbers that become 0.
      seed: drawn once for each forward pass, see `seed_at`; none: nothing is dropped.
      place: tells up to four dropouts of a layer apart.
    """
    if seed is None or rate == 0.0:
        return x
    return keras.random.dropout(x, rate, seed=_Drawn(_moved(seed, place)))


def seed_at(seed, number):
    """The seed of layer `number`, of a forward pass's. The number may be a tensor, as in a loop over layers."""
    return _moved(seed, number * _PLACES)


def _moved(seed, steps):
    first = ops.cast(steps, seed.dtype) * _SEED_STRIDE
    return seed + ops.stack([first, ops.zeros_like(first)])


class _Drawn(keras.random.SeedGenerator):
    """A seed that was drawn already, as `keras.random` takes it."""

    def __init__(self, seed):
        self.seed = seed

    def next(self, ordered: bool = True):
        return self.seed


# === Layers ===


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
        """Gives vectors in the precision of the variables: where layers compute in a lower one, it would have the whole
        table rounded to it, and vectors that are added up right after."""
        return keras.layers.Embedding(
            rows,
            self.config.embedding_size,
            embeddings_initializer=self.initializer(name),
            dtype=keras.DTypePolicy(self.dtype).variable_dtype,
            name=name,
        )

    def layer_norm(self, name: str) -> keras.layers.LayerNormalization:
        """Computes in float32 at least, whatever the dtype."""
        return keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype, name=name)

    def seeds(self, name: str, *rates: float) -> keras.random.SeedGenerator | None:
        """Draws a seed for each forward pass. None if there is nothing to drop: it has a variable, which is saved."""
        return keras.random.SeedGenerator(self.seed_of(name), name=name) if any(rates) else None

    def activation(self) -> Callable:
        return _ACTIVATIONS[self.config.hidden_act]


class Part(keras.layers.Layer):
    """A layer made of layers. Its variables are read as they are: only the layers inside round them, at their use.

    Args:
      factory: whose dtype it has.
    """

    def __init__(self, factory: LayerFactory, **kwargs: Any):
        super().__init__(dtype=factory.dtype, autocast=False, **kwargs)
