"""What people see of a run: our own lines on the terminal, everything else in a log file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import rich.console

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@contextlib.contextmanager
def quiet(log_file: Path) -> Iterator[Narrator]:
    """Sends what libraries print, from Python or C++, to a log file; what people should see goes to the terminal.

    Args:
      log_file: appended to.

    Yields:
      The narrator, whose `console` writes to the real terminal.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with _redirected(log_file) as terminal:
        narrator = Narrator(rich.console.Console(file=terminal, highlight=False, soft_wrap=True))
        to_file = logging.StreamHandler(sys.stderr)
        to_file.setFormatter(logging.Formatter(_FORMAT))
        root = logging.getLogger()
        logging.getLogger("albert").setLevel(logging.INFO)
        for handler in (narrator, to_file):
            root.addHandler(handler)
        try:
            yield narrator
        finally:
            for handler in (narrator, to_file):
                root.removeHandler(handler)


@contextlib.contextmanager
def _redirected(log_file: Path) -> Iterator[TextIO]:
    """Points file descriptors 1 and 2 at the file; gives the stream that standard output was."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        with os.fdopen(os.dup(saved[0]), "w", encoding="utf-8") as terminal:
            yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in enumerate(saved, start=1):
            os.dup2(original, descriptor)
            os.close(original)


class Narrator(logging.Handler):
    """Tells of components as they run, from the lines that TFX logs, and passes on the lines of `albert.*`.

    Attributes:
      console: writes to the terminal.
      errors: first lines of what others logged as errors.
    """

    def __init__(self, console: rich.console.Console):
        super().__init__(logging.INFO)
        self.console = console
        self.errors: list[str] = []
        self._started = 0.0
        self._cached = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("albert."):
            style = "yellow" if record.levelno >= logging.WARNING else "dim"
            text = record.getMessage() if record.levelno < logging.WARNING else f"warning: {record.getMessage()}"
            self.console.print(f"    {text}", style=style, markup=False)
        elif record.msg == "Component %s is running.":
            self._started, self._cached = time.monotonic(), False
            if component := _component(record):
                self.console.print(f"  {component} …", markup=False)
        elif str(record.msg).startswith("A cached execution"):
            self._cached = True
        elif record.msg == "Component %s is finished.":
            took = "cached" if self._cached else f"{time.monotonic() - self._started:.1f} s"
            if component := _component(record):
                self.console.print(f"  {component} ✓ {took}", style="green", markup=False)
        elif record.levelno >= logging.ERROR:
            self.errors.append(f"{record.name}: {record.getMessage().splitlines()[0]}")


def _component(record: logging.LogRecord) -> str | None:
    """The component that a line of TFX speaks of; None for resolvers, which only look things up."""
    name = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
    return name if name and not name.endswith("Resolver") else None
