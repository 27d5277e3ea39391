"""What all readers share: stored arrays matched with the table, read when they are asked for.

Arrays are not held: a model of many gigabytes is converted with the largest of its arrays in memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.weights.names import ROLES, Parameter, Place, Weights, parameters

PlaceOf = Callable[[Parameter], Place | None]
# Of optimizers and of counting: never a part of the model.
TRAINING_STATE = re.compile(
    r"(^|/)(global_step|good_steps|loss_scale|current_loss_scale|beta[12]_power|learning_rate)$"
    r"|(^|/)(adam|lamb)_[mv](_\d+)?$|/Adam(_\d+)?$|/LAMB\w*$|^optimizer/|^save_counter"
)


@dataclass(frozen=True)
class Stored:
    """Arrays in a file.

    Attributes:
      source: the file, for errors.
      shapes: of each name.
      read: gives the array of a name. Raises `InputError` where the file is damaged.
    """

    source: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


def renamed(stored: Stored, rename: Callable[[str], str]) -> Stored:
    """The same arrays under other names.

    Raises:
      InputError: two arrays get the same name.
    """
    originals = {rename(name): name for name in stored.shapes}
    if len(originals) != len(stored.shapes):
        raise InputError(f"{stored.source}: holds a parameter twice, under different names.")
    shapes = {name: stored.shapes[original] for name, original in originals.items()}
    return Stored(stored.source, shapes, lambda name: stored.read(originals[name]))


class LazyWeights(Mapping[str, np.ndarray]):
    """Canonical weights that read an array each time it is asked for, and at no other time.

    Args:
      readers: gives the array of each name.
    """

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]]):
        self._readers = readers

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:  # Mapping's own reads the array to find out
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def _read(stored: Stored, place: Place, shape: tuple[int, ...]) -> np.ndarray:
    """The canonical array, of `shape`, of a stored one."""
    array = stored.read(place.name)
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
        raise InputError(f"{stored.source}: {place.name} is of type {array.dtype}, not a float.")
    array = np.ascontiguousarray(place.take(array, shape), np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f"{stored.source}: {place.name} holds NaN or infinite values. The training that wrote it broke; take an "
            "earlier checkpoint."
        )
    return array


def match(
    stored: Stored, config: AlbertConfig, place_of: PlaceOf, ignore: re.Pattern[str] = TRAINING_STATE
) -> tuple[Weights, tuple[str, ...]]:
    """Finds every parameter among the stored arrays.

    Args:
      stored: what the file has.
      config: says which parameters there are.
      place_of: the format's column of the table.
      ignore: names that may be left unread.

    Returns:
      The weights, and the names that were left out as `ignore` allows.

    Raises:
      InputError: an array is left unread, a parameter of the encoder or a part of a head is missing, or a shape is
        not what the config says. Names all of them.
    """
    found: dict[str, Callable[[], np.ndarray]] = {}
    read: set[str] = set()
    problems: list[str] = []
    for role in ROLES:
        rows = [(row, place) for row in parameters(config) if row.role == role and (place := place_of(row))]
        held = [row.name for row, place in rows if place.name in stored.shapes]
        if not held and role != "encoder":
            continue
        for row, place in rows:
            read.add(place.name)
            if place.name not in stored.shapes:
                problems.append(f"{place.name} is missing")
            elif stored.shapes[place.name] != place.shape_of(row.shape):
                expected = place.shape_of(row.shape)
                problems.append(f"{place.name} has shape {stored.shapes[place.name]}, the config says {expected}")
            else:
                found[row.name] = partial(_read, stored, place, row.shape)
    unread = stored.shapes.keys() - read
    problems += [f"{name} is no parameter of this model" for name in unread if not ignore.search(name)]
    if problems:
        raise InputError(f"{stored.source}: " + "; ".join(_shortened(sorted(problems))))
    return LazyWeights(found), tuple(sorted(unread))


def _shortened(problems: list[str], limit: int = 12) -> list[str]:
    return problems if len(problems) <= limit else [*problems[:limit], f"and {len(problems) - limit} more"]


_BLOCK = 16 * 1024 * 1024  # bytes of a block of columns in float64; making it one takes twice that


def column_blocks(kernel: np.ndarray) -> Iterator[np.ndarray]:
    """A kernel in blocks of columns, for those who need it in float64 and not all of it in memory at once."""
    width = max(1, _BLOCK // (8 * kernel.shape[0]))
    return (kernel[:, start : start + width] for start in range(0, kernel.shape[1], width))


def fingerprint(weights: Weights, config: AlbertConfig) -> str:
    """Hex digest of names, shapes and bits: the same for the same weights in any format."""
    digest = hashlib.blake2b(digest_size=16)
    for row in parameters(config):
        if row.name in weights:
            digest.update(f"{row.name}{row.shape}".encode())
            digest.update(np.ascontiguousarray(weights[row.name], "<f4").data)
    return digest.hexdigest()
