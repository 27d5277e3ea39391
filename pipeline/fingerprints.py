"""The state of files, for a cache that does not look at files itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from albert_model.errors import InputError

_UNREADABLE = "{path}: cannot be read ({why}). Was it removed just now?"


def files_fingerprint(paths: Iterable[str]) -> str:
    """Names, sizes and times of files, as hex.

    Raises:
      InputError: one is gone, or cannot be looked at.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(paths):
        digest.update("\0".join(map(str, (path, *_state(path), ""))).encode())
    return digest.hexdigest()


def _state(path: str) -> tuple[int, int]:
    """(bytes, time of the last change in nanoseconds)"""
    if "://" in path:
        return _state_of_remote(path)
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(_UNREADABLE.format(path=path, why=error.strerror)) from error
    return state.st_size, state.st_mtime_ns


def _state_of_remote(path: str) -> tuple[int, int]:
    import tensorflow as tf  # which takes seconds

    try:
        state = tf.io.gfile.stat(path)
    except tf.errors.OpError as error:
        raise InputError(_UNREADABLE.format(path=path, why=type(error).__name__)) from error
    return state.length, state.mtime_nsec
