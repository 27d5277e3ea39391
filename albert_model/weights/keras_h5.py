"""`tf2_model.h5` and `tf2_model_full.h5`, in the layout of ALBERT-TF2.0.

Keras 2's H5 layout, which its scripts load by position: a group for each layer, the arrays of the encoder in
the order of `names.parameters` in layer `albert_model`; in the full file a layer `cls` with the heads after it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.weights.names import Weights, check, parameters

_OVERHEAD = 1024 * 1024  # bytes of a file besides its arrays, at most
_INPUT_LAYERS = ("input_word_ids", "input_mask", "input_type_ids")
_WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
# The order of layer `cls`; the tied word embeddings are written once more.
_HEADS = (
    _WORD_EMBEDDINGS,
    "cls/predictions/output_bias",
    "cls/seq_relationship/output_weights",
    "cls/seq_relationship/output_bias",
    "cls/predictions/transform/dense/kernel",
    "cls/predictions/transform/dense/bias",
    "cls/predictions/transform/LayerNorm/gamma",
    "cls/predictions/transform/LayerNorm/beta",
)


def write(path: str | Path, weights: Weights, config: AlbertConfig, full: bool) -> None:
    """Writes the encoder, and with `full` the heads."""
    layers: dict[str, tuple[str, ...]] = dict.fromkeys(_INPUT_LAYERS, ())
    layers["albert_model"] = tuple(row.name for row in parameters(config) if row.role == "encoder")
    if full:
        layers["cls"] = _HEADS
    _check_space(path, sum(weights[name].nbytes for names in layers.values() for name in names))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = _names(layers)
        file.attrs["backend"] = np.bytes_("tensorflow")
        file.attrs["keras_version"] = np.bytes_("2.4.0")
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = _names(f"{name}:0" for name in names)
            for name in names:
                group.create_dataset(f"{name}:0", data=weights[name])


def _check_space(path: str | Path, needed: int) -> None:
    """Asks before it is too late: h5py takes the process down when a disk fills up while it writes."""
    if shutil.disk_usage(Path(path).parent).free < needed + _OVERHEAD:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _names(names: Iterable[str]) -> np.ndarray:
    """Bytes of a fixed length: what Keras 2 writes, and all that its older readers decode."""
    return np.array([name.encode() for name in names], "S")


def read_full(path: str | Path, config: AlbertConfig) -> Weights:
    """Reads a `tf2_model_full.h5`, by position, as ALBERT-TF2.0 does.

    Raises:
      InputError: not such a file, truncated, or it does not fit the config.
    """
    try:
        with h5py.File(path, "r") as file:
            encoder = _arrays(file["albert_model"])
            heads = dict(zip(_HEADS, _arrays(file["cls"]), strict=True))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a complete tf2_model_full.h5 ({error}).") from error
    names = [row.name for row in parameters(config) if row.role == "encoder"]
    if len(names) != len(encoder):
        raise InputError(f"{path}: has {len(encoder)} encoder arrays, its config asks for {len(names)}.")
    weights = heads | dict(zip(names, encoder, strict=True))
    check(weights, config, str(path))
    return weights


def _arrays(group: h5py.Group) -> list[np.ndarray]:
    return [group[name][()] for name in group.attrs["weight_names"]]
