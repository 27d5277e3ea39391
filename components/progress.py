"""How far a Beam pipeline is, for runs on one machine: workers leave numbers in files, the driver adds them up."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_SECONDS_BETWEEN_FILES = 1.0
_SECONDS_BETWEEN_LINES = 10.0


class Reporter:
    """A worker's part. Does nothing where the folder is not on this machine.

    Args:
      folder: the same for all workers.
    """

    def __init__(self, folder: str):
        self._path = None if "://" in folder else Path(folder, uuid.uuid4().hex)
        self._done = 0
        self._written = 0.0

    def add(self, done: int) -> None:
        """Adds what was done since the last time."""
        self._done += done
        if self._path and time.monotonic() - self._written > _SECONDS_BETWEEN_FILES:
            self._written = time.monotonic()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(str(self._done))


@contextlib.contextmanager
def lines(folder: str, total: int, what: str, log: logging.Logger) -> Iterator[None]:
    """Logs every ten seconds how much of `total` the reporters of a folder have done, how fast, and the time left."""
    stop = threading.Event()
    thread = threading.Thread(target=_log_lines, args=(folder, total, what, log, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _log_lines(folder: str, total: int, what: str, log: logging.Logger, stop: threading.Event) -> None:
    started = time.monotonic()
    while not stop.wait(_SECONDS_BETWEEN_LINES):
        if done := min(_sum(folder), total):
            seconds = time.monotonic() - started
            left = datetime.timedelta(seconds=round(seconds * (total - done) / done))
            log.info("%s of %s %s (%.0f %%), ETA %s", f"{done:,}", f"{total:,}", what, 100 * done / total, left)


def _sum(folder: str) -> int:
    if not os.path.isdir(folder):
        return 0
    return sum(int(path.read_text() or 0) for path in Path(folder).iterdir())
