"""The state of files, for a cache that does not look at files itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from albert_model.errors import InputError


def files_fingerprint(paths: Iterable[str]) -> str:
    """Names, sizes and times of local files, as hex.

    Raises:
      InputError: one is gone, or cannot be looked at.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(paths):
        try:
            state = os.stat(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}). Was it removed just now?") from error
        digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.hexdigest()
