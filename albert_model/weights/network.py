"""Canonical weights ⇄ a live Keras network."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras
import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.layers import LayerFactory
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights.names import Parameter, Role, Weights, check, parameters
from albert_model.weights.tensors import column_blocks


def variables(network: AlbertPretrainer) -> list[tuple[Parameter, keras.Variable]]:
    """Every row of the table with its variable, in the table's order."""
    by_path = {variable.path.split("/", 1)[1]: variable for variable in network.trainable_variables}
    return [(row, by_path[row.keras.name]) for row in parameters(network.config)]


def read(network: AlbertPretrainer) -> dict[str, np.ndarray]:
    """A copy of the network's weights."""
    return {
        row.name: np.array(row.keras.take(keras.ops.convert_to_numpy(variable), row.shape), order="C")
        for row, variable in variables(network)
    }


def assign(network: AlbertPretrainer, weights: Weights, source: str) -> None:
    """Sets the variables of every part of the network that weights are given for.

    Raises:
      InputError: a weight of the encoder or of a part is missing, unknown, or of another shape.
    """
    check(weights, network.config, source)
    for row, variable in variables(network):
        if row.name in weights:
            variable.assign(_in_keras(row, weights, source))


def _in_keras(row: Parameter, weights: Weights, source: str) -> np.ndarray:
    """A weight as its variable holds it."""
    array = weights[row.name]
    if array.shape != row.shape:
        raise InputError(f"{source}: {row.name} has shape {array.shape}, the config says {row.shape}.")
    return row.keras.put(array)


def loaded(config: AlbertConfig, weights: Weights, source: str, dtype: str = "float32") -> AlbertPretrainer:
    """A network with these weights, and fresh values in the parts that are missing.

    Raises:
      InputError: a weight of the encoder or of a part is missing, unknown, or of another shape.
    """
    network = AlbertPretrainer(config, factory=_Empty(config, weights, dtype))
    assign(network, weights, source)
    return network


def streamed(config: AlbertConfig, weights: Weights, source: str, dtype: str = "float32") -> AlbertPretrainer:
    """A network that computes as `loaded`, but reads its kernels each time it needs them: to run a model that does not
    fit in memory, or in the double of it. It cannot be trained or saved.

    Raises:
      InputError: as `loaded`.
    """
    check(weights, config, source)
    network = AlbertPretrainer(config, factory=_Streaming(config, weights, source, dtype))
    rows = {row.keras.name: row for row in parameters(config)}
    for variable in network.trainable_variables:
        row = rows[variable.path.split("/", 1)[1]]
        if row.name in weights:
            variable.assign(_in_keras(row, weights, source))
    return network


class _Empty(LayerFactory):
    """Makes layers that start with zeros where weights are given: random values cost time and several times their
    memory.
    """

    def __init__(self, config: AlbertConfig, weights: Weights, dtype: str):
        super().__init__(config, seed=0, dtype=dtype)
        rows = (row for row in parameters(config) if len(row.shape) > 1 and row.name in weights)
        self._given = {row.keras.name.rpartition("/")[0]: row for row in rows}

    def given(self, name: str) -> Parameter | None:
        """The kernel or embedding of a layer, if there is one among the weights."""
        return self._given.get(f"{self.scope}/{name}".removeprefix("/"))

    def initializer(self, name: str) -> keras.initializers.Initializer:
        return keras.initializers.Zeros() if self.given(name) else super().initializer(name)


class _Streaming(_Empty):
    """Makes dense layers that hold no kernel."""

    def __init__(self, config: AlbertConfig, weights: Weights, source: str, dtype: str):
        super().__init__(config, weights, dtype)
        self._weights, self._source = weights, source

    def dense(self, units: int, name: str) -> keras.layers.Layer:
        row = self.given(name)
        if row is None:
            return super().dense(units, name)
        return _StreamedDense(units, lambda: _in_keras(row, self._weights, self._source), dtype=self.dtype, name=name)


class _StreamedDense(keras.layers.Layer):
    def __init__(self, units: int, read_kernel: Callable[[], np.ndarray], **kwargs):
        super().__init__(**kwargs)
        self.units, self.read_kernel = units, read_kernel

    def build(self, _):
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, x):
        blocks = column_blocks(self.read_kernel())
        parts = [keras.ops.matmul(x, keras.ops.convert_to_tensor(block, x.dtype)) for block in blocks]
        return keras.ops.concatenate(parts, -1) + self.bias


def fresh(config: AlbertConfig, wanted: Iterable[Role], seed: int) -> dict[str, np.ndarray]:
    """The values that a new `AlbertPretrainer(config, seed)` has in some of its parts, without making all of it."""
    factory = LayerFactory(config, seed)
    roles = set(wanted)
    return {row.name: _fresh(row, factory) for row in parameters(config) if row.role in roles}


def _fresh(row: Parameter, factory: LayerFactory) -> np.ndarray:
    layer, _, part = row.keras.name.rpartition("/")
    if part in ("kernel", "embeddings"):
        values = factory.initializer(layer)(row.keras.shape_of(row.shape))
        return np.array(row.keras.take(keras.ops.convert_to_numpy(values), row.shape), order="C")
    return np.full(row.shape, 1.0 if part == "gamma" else 0.0, np.float32)
