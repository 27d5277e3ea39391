"""Canonical weights ⇄ a live Keras network."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights.names import Parameter, Weights, check, parameters


def variables(network: AlbertPretrainer) -> list[tuple[Parameter, keras.Variable]]:
    """Every row of the table with its variable, in the table's order."""
    by_path = {variable.path.split("/", 1)[1]: variable for variable in network.trainable_variables}
    return [(row, by_path[row.keras_path]) for row in parameters(network.config)]


def read(network: AlbertPretrainer) -> Weights:
    """A copy of the network's weights."""
    return {
        row.name: np.ascontiguousarray(_turn(row, keras.ops.convert_to_numpy(variable)))
        for row, variable in variables(network)
    }


def assign(network: AlbertPretrainer, weights: Mapping[str, np.ndarray], source: str) -> None:
    """Sets every variable of the network.

    Raises:
      InputError: a weight is missing, unknown, or of another shape; nothing is set then.
    """
    check(weights, network.config, source)
    for row, variable in variables(network):
        variable.assign(_turn(row, weights[row.name]))


def _turn(row: Parameter, array: np.ndarray) -> np.ndarray:
    return array.T if row.transposed else array
