"""Short strings by number, many at a time: a hash table in arrays."""

from __future__ import annotations

import numpy as np

LONGEST = 16  # bytes of a string: two words of 64 bits, so that strings are compared and not only their hashes
_SLOTS = 4  # at least so many for each string, so that few want the same one
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))
_FIRST_BYTES = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # of a little-endian word


class StringIndex:
    """Strings, numbered in the order in which they came.

    Args:
      capacity: how many strings there may be.

    Attributes:
      size: how many there are.
    """

    def __init__(self, capacity: int):
        self.size = 0
        self._keys = np.zeros((2, capacity), np.uint64)
        self._bits = (_SLOTS * capacity - 1).bit_length()
        self._slots = np.full(1 << self._bits, -1, np.int32)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """int32 [N]: the number of each string, -1 if it has none; from `keys_of`."""
        slots = self._first_slots(keys)
        numbers = self._slots[slots]
        others = np.flatnonzero(self._are_others(numbers, keys))
        while len(others):
            slots[others] = self._next(slots[others])
            numbers[others] = self._slots[slots[others]]
            others = others[self._are_others(numbers[others], keys[:, others])]
        return numbers

    def add(self, strings: np.ndarray) -> None:
        """Numbers strings, S16, which are distinct and have no number yet."""
        keys = strings.view("<u8").reshape(-1, 2).T
        numbers = np.arange(self.size, self.size + len(strings), dtype=np.int32)
        self._keys[:, numbers] = keys
        self.size += len(strings)
        slots = self._first_slots(keys)
        while len(numbers):
            free = self._slots[slots] < 0
            self._slots[slots[free]] = numbers[free]  # of those that want the same slot, one gets it
            left = self._slots[slots] != numbers
            numbers, slots = numbers[left], self._next(slots[left])

    def _are_others(self, numbers: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Whether each number is that of another string."""
        first, second = self._keys
        return ((first[numbers] != keys[0]) | (second[numbers] != keys[1])) & (numbers >= 0)

    def _first_slots(self, keys: np.ndarray) -> np.ndarray:
        mixed = (keys[0] ^ (keys[1] * _MULTIPLIERS[0])) * _MULTIPLIERS[1]
        return (mixed >> np.uint64(64 - self._bits)).astype(np.int64)

    def _next(self, slots: np.ndarray) -> np.ndarray:
        return (slots + 1) & (len(self._slots) - 1)


def keys_of(text: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """uint64 [2, N]: the first 16 bytes of each string in a text, zero after its end.

    Args:
      text: uint8; 16 bytes more than the strings.
      starts, lengths: of strings.
    """
    words = numbers_at(text, "<u8", len(text) - 7)
    first = words[starts] & _FIRST_BYTES[np.minimum(lengths, 8)]
    second = words[starts + 8] & _FIRST_BYTES[np.maximum(np.minimum(lengths, LONGEST) - 8, 0)]
    return np.stack([first, second])


def numbers_at(text: np.ndarray, dtype: str, count: int) -> np.ndarray:
    """A number from the bytes at each place and after it; a view."""
    return np.ndarray(count, dtype, text, strides=(1,))


def strings_of(keys: np.ndarray) -> np.ndarray:
    """S16 [N]."""
    return np.ascontiguousarray(keys.T).astype("<u8").view(f"S{LONGEST}").ravel()
