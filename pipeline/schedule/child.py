"""Runs a pipeline in a process of its own, as TensorFlow's memory does not come back before its process ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pydantic

from pipeline.schedule.clock import Clock
from pipeline.schedule.store import Outcome, Schedule

_POLL_SECONDS = 1.0
_MOST = 65536  # bytes of an outcome; what a pipe holds


class ChildRuns:
    """See `pipeline.schedule.worker` for what the other process does.

    It ends with this one, however this one ends. Asked to stop, this one asks it to stop and waits; asked twice, it
    kills it.

    Args:
      clock: counts how often the process was asked to stop.
      say: tells people a line.
    """

    def __init__(self, clock: Clock, say: Callable[[str], None]):
        self._clock, self._say = clock, say

    def run(self, schedule: Schedule, patience: float) -> Outcome:
        read, write = os.pipe()
        # Ctrl-C goes to this process only, which passes it on: a session of its own. -P: nothing is imported from the
        # folder that the command is run in.
        command = [sys.executable, "-P", "-m", "pipeline.schedule.worker", str(write)]
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[write], start_new_session=True)
        except OSError as error:
            os.close(read)
            return Outcome(result="failed", words=f"no process could be started: {error.strerror}")
        finally:
            os.close(write)
        with process, os.fdopen(read, "rb") as reader:
            _hand_over(process, schedule, patience)
            self._wait(process)
            os.set_blocking(read, False)  # a process of the child's may still hold the other end
            return self._outcome(process.returncode, reader.read(_MOST) or b"")

    def _wait(self, process: subprocess.Popen) -> None:
        seen = 0
        while process.poll() is None:
            if self._clock.stops > seen:
                seen = self._clock.stops
                process.send_signal(signal.SIGTERM if seen == 1 else signal.SIGKILL)
                self._say("Stopping the run at work; it goes on when the schedule is served again.")
            self._clock.sleep(_POLL_SECONDS)

    def _outcome(self, code: int, said: bytes) -> Outcome:
        try:
            return Outcome.model_validate_json(said)
        except pydantic.ValidationError:
            pass
        if self._clock.stops:
            return Outcome(result="interrupted", words="the scheduler was stopped")
        if code < 0:
            why = f"its process was ended by {signal.Signals(-code).name}"
            return Outcome(result="failed", words=why + (": out of memory?" if code == -signal.SIGKILL else ""))
        return Outcome(result="failed", words=f"its process ended with status {code} and said nothing")


def _hand_over(process: subprocess.Popen, schedule: Schedule, patience: float) -> None:
    """One line; the pipe stays open for as long as this process lives."""
    job = {"settings": schedule.settings.model_dump(mode="json"), "patience": patience}
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # how it ended tells why
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
