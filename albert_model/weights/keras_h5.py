"""`tf2_model.h5` and `tf2_model_full.h5`, in the layout of ALBERT-TF2.0.

Keras 2's H5 layout, which its scripts load by position: a group for each layer, the arrays of the encoder in
the order of `names.parameters` in layer `albert_model`; in the full file a layer `cls` with the heads after it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.weights.names import WORD_EMBEDDINGS, Weights, parameters
from albert_model.weights.tensors import Stored, match

ENCODER_FILE = "tf2_model.h5"
FULL_FILE = "tf2_model_full.h5"
_OVERHEAD = 1024 * 1024  # bytes of a file besides its arrays, at most
_INPUT_LAYERS = ("input_word_ids", "input_mask", "input_type_ids")
_ENCODER_LAYER = "albert_model"
_HEADS_LAYER = "cls"
# The order of layer `cls`; the tied word embeddings are written once more.
_HEADS = (
    WORD_EMBEDDINGS,
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
    layers[_ENCODER_LAYER] = tuple(_encoder_names(config))
    if full:
        layers[_HEADS_LAYER] = _HEADS
    sizes = {row.name: 4 * int(np.prod(row.shape)) for row in parameters(config)}
    _check_space(path, sum(sizes[name] for names in layers.values() for name in names))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = _names(layers)
        file.attrs["backend"] = np.bytes_("tensorflow")
        file.attrs["keras_version"] = np.bytes_("2.4.0")
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = _names(f"{name}:0" for name in names)
            for name in names:
                group.create_dataset(f"{name}:0", data=weights[name])


def _encoder_names(config: AlbertConfig) -> Iterator[str]:
    return (row.name for row in parameters(config) if row.role in ("encoder", "pooler"))


def _check_space(path: str | Path, needed: int) -> None:
    """Asks before it is too late: h5py takes the process down when a disk fills up while it writes."""
    if shutil.disk_usage(Path(path).parent).free < needed + _OVERHEAD:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _names(names: Iterable[str]) -> np.ndarray:
    """Bytes of a fixed length: what Keras 2 writes, and all that its older readers decode."""
    return np.array([name.encode() for name in names], "S")


def read(path: str | Path, config: AlbertConfig) -> tuple[Weights, tuple[str, ...]]:
    """Reads either file, by position, as ALBERT-TF2.0 does.

    Returns:
      The weights, and the names of arrays left out: none.

    Raises:
      InputError: not such a file, truncated, it does not fit the config, or its two word embeddings differ.
    """
    stored = open_stored(path, config)
    weights, left_out = match(stored, config, lambda row: row.canonical)
    return weights, left_out


def open_stored(path: str | Path, config: AlbertConfig) -> Stored:
    """The file's arrays under canonical names."""
    layers = {_ENCODER_LAYER: list(_encoder_names(config)), _HEADS_LAYER: list(_HEADS)}
    places: dict[str, str] = {}  # canonical name → path in the file
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with h5py.File(path, "r") as file:
            for layer, names in layers.items():
                if layer == _HEADS_LAYER and layer not in file:
                    continue
                stored = [f"{layer}/{_text(name)}" for name in file[layer].attrs["weight_names"]]
                if len(stored) != len(names):
                    raise InputError(
                        f"{path}: layer {layer} has {len(stored)} arrays, its config asks for {len(names)}."
                    )
                for name, place in zip(names, stored, strict=True):
                    if name not in places:
                        places[name], shapes[name] = place, file[place].shape
                    elif not np.array_equal(file[place][()], file[places[name]][()]):
                        raise InputError(f"{path}: holds the tied {name} twice, with different values.")
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a complete {Path(path).name} of ALBERT-TF2.0 ({error}).") from error

    def read_array(name: str) -> np.ndarray:
        try:
            with h5py.File(path, "r") as file:
                return file[places[name]][()]
        except (OSError, KeyError) as error:
            raise InputError(f"{path}: {name} cannot be read ({error}); the file is damaged.") from error

    return Stored(str(path), shapes, read_array)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
