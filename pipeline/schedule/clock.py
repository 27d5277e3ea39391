"""The wall clock, and waiting by it."""

from __future__ import annotations

import datetime
import select
import signal
import socket
from types import FrameType
from typing import Protocol


class Clock(Protocol):
    """The time. Tests have one of their own.

    Attributes:
      stops: how often this process was asked to stop.
    """

    stops: int

    def now(self) -> datetime.datetime:
        """With a time zone."""

    def sleep(self, seconds: float) -> None:
        """Returns early when the process is asked to stop."""


class SystemClock:
    """The machine's. As a context it takes SIGTERM and Ctrl-C, and counts them in place of ending the process."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.stops = 0

    def __enter__(self) -> SystemClock:
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._woken.setblocking(False)
        self._handlers = {number: signal.signal(number, self._stop) for number in self._SIGNALS}
        # Written to as soon as a signal comes, also just before `select` begins to wait.
        self._wakeup = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._woken.close()
        self._wakes.close()

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def sleep(self, seconds: float) -> None:
        if select.select([self._woken], [], [], seconds)[0]:
            self._woken.recv(4096)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stops += 1
