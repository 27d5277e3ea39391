"""Canonical weights ⇄ a live Keras network."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.layers import LayerFactory
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights.names import Parameter, Role, Weights, check, parameters


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
            array = weights[row.name]
            if array.shape != row.shape:
                raise InputError(f"{source}: {row.name} has shape {array.shape}, the config says {row.shape}.")
            variable.assign(row.keras.put(array))


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
