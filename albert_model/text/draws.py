"""Random numbers that are a function of a key and an index: the same on any machine, in any order, many at a time.

The numbers of a key are those of SplitMix64 (Steele, Lea and Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014) from that state on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_HALF = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFFFFFF)


def document_keys(seed: int, document_ids: Sequence[str]) -> np.ndarray:
    """uint64 [D] from the 128-bit ids of documents."""
    first, second = halves(document_ids)
    return derive(derive(first, second), seed)


def halves(document_ids: Sequence[str]) -> np.ndarray:
    """uint64 [2, D] of 128-bit ids in hex."""
    return np.frombuffer(bytes.fromhex("".join(document_ids)), ">u8").astype(np.uint64).reshape(-1, 2).T


def derive(keys: np.ndarray, index: np.ndarray | int) -> np.ndarray:
    """Keys that have nothing in common with each other: uint64, one for each key and index."""
    return draw(keys, index)


def draw(keys: np.ndarray, index: np.ndarray | int) -> np.ndarray:
    """Random bits: uint64, of the broadcast shape of keys and indices ≥ 0."""
    with np.errstate(over="ignore"):
        state = keys + _STEP * (np.asarray(index).astype(np.uint64) + np.uint64(1))
        state = (state ^ (state >> np.uint64(30))) * _MULTIPLIERS[0]
        state = (state ^ (state >> np.uint64(27))) * _MULTIPLIERS[1]
        return state ^ (state >> np.uint64(31))


def high(bits: np.ndarray) -> np.ndarray:
    """The upper half of `draw`'s bits, as a number for `below`."""
    return bits >> _HALF


def low(bits: np.ndarray) -> np.ndarray:
    """The lower half, independent of the upper one."""
    return bits & _LOW_HALF


def below(halves: np.ndarray, limits: np.ndarray | int) -> np.ndarray:
    """int64: each number from 0 to limit - 1 alike, to one part in 2³² / limit. Limits are below 2³¹."""
    return ((halves * np.asarray(limits).astype(np.uint64)) >> _HALF).astype(np.int64)


def threshold(probability: float) -> np.uint64:
    """`half < threshold(p)` is true with probability p."""
    return np.uint64(round(probability * 2**32))
