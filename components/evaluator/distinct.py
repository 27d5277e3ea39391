"""How many different things there were, in bounded memory."""

from __future__ import annotations

_MOST = 4096
_SPACE = 2.0**64


class Distinct:
    """Counts different 128-bit ids in hex: exactly up to 4,096 of them, then to about 1.6 %.

    Keeps the smallest ones, whose density tells how many there are: Bar-Yossef and others, Counting Distinct Elements
    in a Data Stream, RANDOM 2002. The ids are hashes already.
    """

    def __init__(self) -> None:
        self._smallest: set[int] = set()

    def add(self, hex_id: str) -> None:
        self._smallest.add(int(hex_id[:16], 16))
        if len(self._smallest) > 2 * _MOST:
            self._keep_smallest()

    def update(self, other: Distinct) -> None:
        self._smallest |= other._smallest
        self._keep_smallest()

    def _keep_smallest(self) -> None:
        self._smallest = set(sorted(self._smallest)[:_MOST])

    def __len__(self) -> int:
        self._keep_smallest()
        if len(self._smallest) < _MOST:
            return len(self._smallest)
        return round((_MOST - 1) * _SPACE / max(self._smallest))
