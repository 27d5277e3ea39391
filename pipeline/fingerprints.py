"""The state of files, for a cache that does not look at files itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from albert_model.errors import InputError


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
    try:
        if "://" not in path:
            state = os.stat(path)
            return state.st_size, state.st_mtime_ns
        import tensorflow as tf  # which takes seconds

        try:
            remote = tf.io.gfile.stat(path)
        except tf.errors.OpError as error:
            raise OSError(0, type(error).__name__) from error
        return remote.length, remote.mtime_nsec
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Was it removed just now?") from error
