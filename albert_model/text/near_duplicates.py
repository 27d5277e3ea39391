"""Which documents say nearly what another one says: MinHash signatures, compared where bands of them agree.

A document stands for the set of its word 5-grams. Two signatures agree at a place with the probability that a 5-gram
of either document is one of both (Broder, "On the resemblance and containment of documents", 1997). Only documents
whose signatures agree in a whole band are compared (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", ch. 3),
so that the work grows with the number of documents and not with its square.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import re
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from datasketch import MinHash, MinHashLSH

ID_BYTES = 16
SKETCH_BYTES = 128  # one of each place of a signature: its lowest, which two signatures share by chance once in 256
_WORDS = 5
_WORD = re.compile(r"\w+")
_MULTIPLIERS = np.array([pow(0x9E3779B97F4A7C15, i, 1 << 64) for i in range(1, _WORDS + 1)], np.uint64)
_HASHES_AT_ONCE = 1 << 9  # what stays in a processor's cache, times the places of a signature
_COMPARED_WITH = 1000  # documents of a band that the others are compared with at most, so that the work has a bound
# What a pair that is missed costs, against one that is compared in vain.
_LSH_WEIGHTS = (0.1, 0.9)


def sign(sentences: Iterable[str]) -> np.ndarray | None:
    """The signature of a text: uint32 [128]; None for a text without a word.

    Case, punctuation and ends of sentences make no difference.
    """
    words = _WORD.findall(" ".join(sentences).casefold())
    if not words:
        return None
    minhash = _empty_signature().copy()
    hashes = _hashes(np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words)))
    for start in range(0, len(hashes), _HASHES_AT_ONCE):
        minhash.update_batch(hashes[start : start + _HASHES_AT_ONCE].tolist())
    return minhash.hashvalues


@functools.cache
def _empty_signature() -> MinHash:
    return MinHash(num_perm=SKETCH_BYTES, seed=1, hashfunc=operator.index, scheme="affine32")


def _hashes(words: np.ndarray) -> np.ndarray:
    """Hashes of words, uint64 [N], to those of their distinct 5-grams, uint32; a shorter text is one n-gram."""
    n = min(_WORDS, len(words))
    ngrams = np.lib.stride_tricks.sliding_window_view(words, n)
    return np.unique((ngrams @ _MULTIPLIERS[:n] >> np.uint64(32)).astype(np.uint32))


def band_keys(signature: np.ndarray, similarity: float) -> list[bytes]:
    """16 bytes for each band of a signature. Near duplicates share one, as a rule.

    At a similarity of 0.8, documents that reach it just so share one 87 times of 100, at 0.85 97 times.
    """
    bands, rows = _bands(similarity)
    return [
        hashlib.blake2b(
            signature[band * rows : (band + 1) * rows].astype("<u4").tobytes(),
            digest_size=16,
            salt=band.to_bytes(2, "big"),
        ).digest()
        for band in range(bands)
    ]


@functools.cache
def _bands(similarity: float) -> tuple[int, int]:
    lsh = MinHashLSH(threshold=similarity, num_perm=SKETCH_BYTES, weights=_LSH_WEIGHTS)
    return lsh.b, lsh.r


def sketch(signature: np.ndarray) -> bytes:
    """128 bytes that similarity is estimated from."""
    return signature.astype(np.uint8).tobytes()


def find_near_duplicates(keys: np.ndarray, ids: np.ndarray, sketches: np.ndarray, similarity: float) -> Iterator[bytes]:
    """Ids of documents that are near duplicates of one with a smaller id. Of documents that are alike one is kept.

    Depends on which rows there are, not on their order, so that the rows of a band must all be there.

    Args:
      keys: uint8 [N, 16], of a band of each document, see `band_keys`.
      ids: uint8 [N, 16], of the documents.
      sketches: uint8 [N, 128], see `sketch`.
      similarity: from which documents are near duplicates.

    Yields:
      Ids, some more than once.
    """
    rows = np.concatenate([keys, ids], 1).view(f"V{keys.shape[1] + ids.shape[1]}").ravel()
    _, order = np.unique(rows, return_index=True)  # copies of a document have equal rows
    sorted_keys = keys[order]
    changes = np.flatnonzero((sorted_keys[1:] != sorted_keys[:-1]).any(1)) + 1
    for band in np.split(order, changes):
        if len(band) > 1:
            for row in band[_repeats(sketches[band], similarity)]:
                yield ids[row].tobytes()


def _repeats(sketches: np.ndarray, similarity: float) -> np.ndarray:
    """Rows that resemble one before them which resembles none: indices of uint8 [N, 128]."""
    repeats, rest = [], np.arange(len(sketches))
    for _ in range(_COMPARED_WITH):
        if len(rest) < 2:
            break
        first, rest = rest[0], rest[1:]
        alike = _similarity(sketches[rest], sketches[first]) >= similarity
        repeats.append(rest[alike])
        rest = rest[~alike]
    return np.concatenate(repeats)


def _similarity(sketches: np.ndarray, sketch: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity: of the places that agree, those that do not by chance (b-bit minwise hashing)."""
    chance = 1 / 256
    return ((sketches == sketch).mean(1) - chance) / (1 - chance)
