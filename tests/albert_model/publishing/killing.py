"""Processes that are killed before one of their file operations."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count

_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")


def killed_at_each(prepare: Callable[[int], None], work: Callable[[], None], check: Callable[[int], None]) -> int:
    """For k = 0, 1 …: prepares, works in a fork that is killed before its k-th file operation, and checks what is left.

    An operation is one that changes a folder, one that opens a file to write, or an fsync (where a file has its content
    and is not yet known to be safe).

    Returns:
      How many operations the work has.
    """
    for k in count():
        prepare(k)
        if not (child := os.fork()):
            _die_at(k)
            work()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return k
        assert os.WTERMSIG(status) == signal.SIGKILL
        check(k)
    raise AssertionError("never")


def _die_at(k: int) -> None:
    left = iter(range(k))

    def step() -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        if event in _CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            step()

    fsync = os.fsync
    os.fsync = lambda descriptor: (step(), fsync(descriptor))  # type: ignore[assignment,func-returns-value]
    sys.addaudithook(hook)
