"""What people see of a run: our own lines on the terminal, everything else in a log file."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click
import rich.console

from albert_model.errors import InputError

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
        narrator = Narrator(_Console(file=terminal, highlight=False, soft_wrap=True))
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
                handler.close()


@contextlib.contextmanager
def quietly() -> Iterator[rich.console.Console]:
    """The same for commands that leave no log: it is shown only where something unforeseen happens.

    Yields:
      A console on the real terminal.
    """
    with tempfile.TemporaryDirectory(prefix="albert-") as folder:
        log_file = Path(folder, "log")
        try:
            with _redirected(log_file) as terminal:
                console = _Console(file=terminal, highlight=False, soft_wrap=True)
                teller = _Teller(console)
                logger = logging.getLogger("albert")
                logger.setLevel(logging.DEBUG)
                logger.addHandler(teller)
                try:
                    yield console
                finally:
                    logger.removeHandler(teller)
                    teller.close()
        except (InputError, OSError, KeyboardInterrupt, click.ClickException):
            raise
        except Exception:
            sys.stderr.write(log_file.read_text(errors="replace"))
            raise


@contextlib.contextmanager
def errors_in_a_line(debug: bool) -> Iterator[None]:
    """Ends the program with one line for what a user can mend, and for Ctrl-C.

    Args:
      debug: let the error through, with its traceback.
    """
    try:
        yield
    except (InputError, OSError) as error:
        if debug:
            raise
        raise click.ClickException(words_of(error)) from None
    except KeyboardInterrupt:
        click.echo("Interrupted. What was not finished was not written.", err=True)
        sys.exit(130)


def words_of(error: Exception) -> str:
    """What an error says, without numbers and class names."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error)


class _Teller(logging.Handler):
    """Passes on the lines of `albert.*`; of level DEBUG, what is being done."""

    def __init__(self, console: rich.console.Console):
        super().__init__(logging.DEBUG)
        self._console = console
        self._spinner = console.status("")

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.DEBUG:
            self._spinner.update(record.getMessage())
            self._spinner.start()
        else:
            self._spinner.stop()
            self._console.print(f"  {record.getMessage()}", markup=False, style="dim")

    def close(self) -> None:
        self._spinner.stop()
        super().close()


@contextlib.contextmanager
def _redirected(log_file: Path) -> Iterator[TextIO]:
    """Points file descriptors 1 and 2 at the file; gives the stream that standard output was."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    terminal = os.fdopen(os.dup(saved[0]), "w", encoding="utf-8")
    try:
        yield terminal
    finally:
        with contextlib.suppress(BrokenPipeError):
            terminal.close()
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in enumerate(saved, start=1):
            os.dup2(original, descriptor)
            os.close(original)


class _Console(rich.console.Console):
    """Falls silent when its reader leaves (`| head`); the run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


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
        self._held: list[tuple[str, str]] | None = None  # lines and styles, until there is something new to tell
        self._component = _Component("")
        self._spinner = console.status("")

    def begin(self, title: str, at_once: bool) -> None:
        """Of a run. Nothing is shown before a component has something to do, so that nothing new takes one line.

        Args:
          at_once: it is shown, as one of several runs that are counted.
        """
        self._held = [(f"\n{title}", "bold")]
        if at_once:
            self._show_held()

    def end(self, was_cached: bool) -> bool:
        """Of a run. Gives whether nothing of it was shown, nor will be."""
        was_held = was_cached and self._held is not None
        if was_held:
            self._held = None
        self._show_held()
        return was_held

    def _show_held(self) -> None:
        held, self._held = self._held or [], None
        for line, style in held:
            self.console.print(line, style=style, markup=False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell(record)
        except Exception:
            self.handleError(record)

    def _tell(self, record: logging.LogRecord) -> None:
        if record.name.startswith("albert."):
            self._pass_on(record)
        elif record.msg == "Component %s is running.":
            self._component = _Component(_only_argument(record))
            self._spinner.update(self._component.name)
            self._spinner.start()
        elif str(record.msg).startswith("A cached execution"):
            self._component.cached = True
        elif record.msg == "Component %s is finished.":
            self._spinner.stop()
            if not self._component.is_resolver:
                self._tell_end(f"  {self._component.name} ✓ {self._component.took()}", "green")
        elif record.levelno >= logging.ERROR:
            self.errors.append(f"{record.name}: {record.getMessage().partition(chr(10))[0]}")

    def close(self) -> None:
        self._spinner.stop()
        super().close()

    def _tell_end(self, line: str, style: str) -> None:
        if self._component.cached and self._held is not None:
            self._held.append((line, style))
            return
        self._show_held()
        self.console.print(line, style=style, markup=False)

    def _pass_on(self, record: logging.LogRecord) -> None:
        self._show_held()
        if not self._component.is_announced:
            self._component.is_announced = True
            self.console.print(f"  {self._component.name}", markup=False)
        if record.levelno >= logging.WARNING:
            self.console.print(f"    warning: {record.getMessage()}", style="yellow", markup=False)
        else:
            self.console.print(f"    {record.getMessage()}", style="dim", markup=False)


@dataclasses.dataclass
class _Component:
    """The component at work. Resolvers only look things up and are not told of."""

    name: str
    started: float = dataclasses.field(default_factory=time.monotonic)
    cached: bool = False
    is_announced: bool = False

    @property
    def is_resolver(self) -> bool:
        return self.name.endswith("Resolver")

    def took(self) -> str:
        return "cached" if self.cached else f"{time.monotonic() - self.started:.1f} s"


def _only_argument(record: logging.LogRecord) -> str:
    return str(record.args[0]) if isinstance(record.args, tuple) else ""
