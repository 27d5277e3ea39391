"""The ids of text, put together from those of its parts, which are looked up.

A part begins where no piece can reach across: before a space, and between two characters that stand side by side in
no piece. Every way to cut a text into pieces is then one way for each part, and the best one the best of each. Natural
text repeats its parts, and arrays of parts are looked up several times faster than a tokenizer cuts them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from albert_model.text.ragged import Ragged, offsets_of, ranges
from albert_model.text.string_index import LONGEST, StringIndex, keys_of, numbers_at, strings_of

_SPACE, _LINE_FEED = ord(" "), ord("\n")
_PARTS = 1 << 16  # that are remembered; when there are as many, all are forgotten
_CUT, _FOREIGN = 1, 2


class PartMemo:
    """Encodes sentences by what is remembered of their parts.

    Args:
      pieces: of the vocabulary, a space for the word mark. None holds a space but as its first character.
      characters: ASCII ones that stand for themselves, a space not among them. A sentence with any other is encoded
        as a whole.
      encode_whole: ids of sentences.
      encode_parts: ids of parts (bytes), none for one whose ids may be others inside a sentence.
      longest: bytes of the longest sentence that is put together.
    """

    def __init__(
        self,
        pieces: Iterable[str],
        characters: str,
        encode_whole: Callable[[Sequence[str]], Ragged],
        encode_parts: Callable[[np.ndarray], Ragged],
        longest: int,
    ):
        self._encode_whole, self._encode_parts, self._longest = encode_whole, encode_parts, longest
        self._between = _between(pieces, characters)
        self._lock = threading.Lock()  # of what follows; runners share a tokenizer among threads
        self._forget()

    def _forget(self) -> None:
        self._index = StringIndex(_PARTS)
        self._ids = Ragged.from_lengths(np.zeros(0, np.int32), np.zeros(0, np.int64))

    def encode(self, sentences: Sequence[str]) -> Ragged:
        """The same as `encode_whole`. No sentence has a line feed."""
        text = np.frombuffer(bytearray("\n".join(["", *sentences, "\0" * LONGEST]).encode()), np.uint8)
        bounds = np.flatnonzero(text == _LINE_FEED)  # where sentences start, and the last one ends
        text[bounds] = _SPACE
        between = self._between.take(numbers_at(text, "<u2", bounds[-1]))
        starts = np.concatenate([[0], np.flatnonzero((between & _CUT).view(bool)) + 1])
        first_parts = np.searchsorted(starts, bounds)
        whole = np.diff(bounds) > self._longest
        whole[_owners(bounds, np.flatnonzero(between >= _FOREIGN))] = True
        with self._lock:
            numbers = self._numbers(text, starts, np.repeat(whole, np.diff(first_parts)))
            ids = self._ids
        lengths = np.append(ids.lengths, 0)[numbers]
        whole[_owners(first_parts, np.flatnonzero(lengths == 0))] = True
        return self._put_together(sentences, np.flatnonzero(whole), first_parts, ids, numbers, lengths)

    def _numbers(self, text: np.ndarray, starts: np.ndarray, unwanted: np.ndarray) -> np.ndarray:
        """Number of each part, the last start being an end; -1 where there is none. New parts get one if wanted."""
        if self._index.size == _PARTS:
            self._forget()
        lengths = np.diff(starts)
        keys = keys_of(text, starts[:-1], lengths)
        numbers = self._index.find(keys)
        numbers[lengths > LONGEST] = -1
        new = np.flatnonzero((numbers < 0) & (lengths <= LONGEST) & ~unwanted)
        if len(new):
            self._add(keys[:, new])
            numbers[new] = self._index.find(keys[:, new])
        return numbers

    def _add(self, keys: np.ndarray) -> None:
        parts = np.unique(strings_of(keys))[: _PARTS - self._index.size]
        self._index.add(parts)
        self._ids = _joined(self._ids, self._encode_parts(parts))

    def _put_together(
        self,
        sentences: Sequence[str],
        whole: np.ndarray,
        first_parts: np.ndarray,
        ids: Ragged,
        numbers: np.ndarray,
        lengths: np.ndarray,
    ) -> Ragged:
        """Ids of parts; those of a sentence that is encoded as a whole stand where its first part's would."""
        starts = ids.offsets[numbers]
        if len(whole):
            encoded = self._encode_whole([sentences[i] for i in whole])
            lengths[ranges(first_parts[whole], np.diff(first_parts)[whole])] = 0
            lengths[first_parts[whole]] = encoded.lengths
            starts[first_parts[whole]] = encoded.offsets[:-1] + len(ids.values)
            ids = _joined(ids, encoded)
        return Ragged(ids.values[ranges(starts, lengths)], offsets_of(lengths)[first_parts])


def _owners(bounds: np.ndarray, places: np.ndarray) -> np.ndarray:
    """In which of the ranges between bounds each place lies."""
    return np.searchsorted(bounds, places, "right") - 1


def _joined(rows: Ragged, more: Ragged) -> Ragged:
    offsets = np.concatenate([rows.offsets, more.offsets[1:] + rows.offsets[-1]])
    return Ragged(np.concatenate([rows.values, more.values]), offsets)


def _between(pieces: Iterable[str], characters: str) -> np.ndarray:
    """uint8 [2 ** 16]: what stands between two bytes, by their number in little-endian order."""
    pairs = np.zeros((256, 256), np.uint8)  # second, first
    pairs[:] = _CUT
    for piece in pieces:
        data = np.frombuffer(piece.encode(), np.uint8)
        pairs[data[1:], data[:-1]] = 0
    foreign = np.ones(256, bool)
    foreign[[_SPACE, *characters.encode()]] = False
    pairs[foreign] = pairs[:, foreign] = 0
    pairs[_SPACE] = _CUT
    pairs[foreign] |= _FOREIGN
    pairs[:, foreign] |= _FOREIGN
    pairs[_SPACE, _SPACE] |= _FOREIGN  # a tokenizer takes out what is more than one
    return pairs.ravel()
