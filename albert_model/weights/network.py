"""Canonical weights ⇄ a live Keras network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import keras
import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.layers import LayerFactory
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights.names import Parameter, Role, Weights, check, parameters
from albert_model.weights.tensors import column_blocks

_ALIGNMENT = 64  # bytes; of TensorFlow's tensors


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
    return _filled(_Given(config, weights, source, dtype))


def streamed(config: AlbertConfig, weights: Weights, source: str, dtype: str = "float32") -> AlbertPretrainer:
    """A network that computes as `loaded`, but reads its kernels each time it needs them: to run a model that does not
    fit in memory, or in the double of it. It cannot be trained or saved.

    Raises:
      InputError: as `loaded`.
    """
    return _filled(_Streaming(config, weights, source, dtype))


def _filled(factory: _Given) -> AlbertPretrainer:
    check(factory.weights, factory.config, factory.source)
    network = AlbertPretrainer(factory.config, factory=factory)
    rows = {row.keras.name: row for row in parameters(factory.config)}
    for variable in network.trainable_variables:
        row = rows[variable.path.split("/", 1)[1]]
        if row.name in factory.weights and not _is_matrix(row):
            variable.assign(_in_keras(row, factory.weights, factory.source))
    return network


def _is_matrix(row: Parameter) -> bool:
    return len(row.shape) > 1


class _Given(LayerFactory):
    """Makes layers whose kernels and embeddings are born with their weights: with other values first, the largest of
    them would be in memory twice more.
    """

    def __init__(self, config: AlbertConfig, weights: Weights, source: str, dtype: str):
        super().__init__(config, seed=0, dtype=dtype)
        self.weights, self.source = weights, source
        rows = (row for row in parameters(config) if _is_matrix(row) and row.name in weights)
        self._matrices = {row.keras.name.rpartition("/")[0]: row for row in rows}

    def reader(self, name: str) -> Callable[[], np.ndarray] | None:
        """Reads the kernel or embedding of a layer, if it is among the weights."""
        row = self._matrices.get(f"{self.scope}/{name}".removeprefix("/"))
        return partial(_in_keras, row, self.weights, self.source) if row else None

    def initializer(self, name: str) -> Callable:
        read = self.reader(name)
        return _Constant(read) if read else super().initializer(name)


class _Constant(keras.initializers.Initializer):
    def __init__(self, read: Callable[[], np.ndarray]):
        self.read = read

    def __call__(self, shape, dtype=None):
        return _tensor(self.read(), dtype)

    def clone(self) -> _Constant:
        return self


def _tensor(array: np.ndarray, dtype: str) -> Any:
    """One copy of an array: TensorFlow's `convert_to_tensor` makes two, its `from_dlpack` none of what is aligned."""
    if keras.backend.backend() != "tensorflow":
        return keras.ops.convert_to_tensor(array, dtype)
    import tensorflow as tf

    room = np.empty(array.size * np.dtype(dtype).itemsize + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    copy = room[start : len(room) - _ALIGNMENT + start].view(dtype).reshape(array.shape)
    copy[...] = array
    return tf.experimental.dlpack.from_dlpack(copy.__dlpack__())


class _Streaming(_Given):
    """Makes dense layers that hold no kernel."""

    def dense(self, units: int, name: str) -> keras.layers.Layer:
        read = self.reader(name)
        return _StreamedDense(units, read, dtype=self.dtype, name=name) if read else super().dense(units, name)


class _StreamedDense(keras.layers.Layer):
    def __init__(self, units: int, read_kernel: Callable[[], np.ndarray], **kwargs):
        super().__init__(**kwargs)
        self.units, self.read_kernel = units, read_kernel

    def build(self, _):
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, x):
        # The kernel has no name here, so that it is gone when the parts are joined.
        parts = [
            keras.ops.matmul(x, keras.ops.convert_to_tensor(block, x.dtype))
            for block in column_blocks(self.read_kernel())
        ]
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
