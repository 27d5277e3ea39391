"""Runs the pipeline on this machine: LocalDagRunner, SQLite metadata."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import filelock

from albert_model.errors import InputError
from pipeline.checks import check
from pipeline.console import Narrator, quiet
from pipeline.settings import PipelineSettings

if TYPE_CHECKING:
    from pipeline.report import RunSummary

_log = logging.getLogger("pipeline")
# How an InputError raised in a Beam worker stands in the text of the error that the runner raises.
_IN_TRACEBACK = re.compile(r"albert_model\.errors\.InputError: (.+?)(?: \[while running|\n|$)")
_POLL_SECONDS = 1.0
# What libraries say of a full disk.
_GONE = "Cannot find matching for split"  # TFX's driver, of a pattern without files
_FULL_DISK = (os.strerror(errno.ENOSPC), f"errno = {errno.ENOSPC}")


def run(
    settings: list[PipelineSettings],
    patience: float = 0.0,
    numbered: bool = False,
    on_done: Callable[[RunSummary], None] | None = None,
) -> list[RunSummary]:
    """Runs the pipeline once with each settings, one after the other, and prints a table of what came of it.

    Args:
      settings: they share a root; usually they differ in the span.
      patience: seconds to wait for another run in the same root.
      numbered: say which one of how many each run is.
      on_done: is told of each run that ended well.

    Returns:
      What each run came to.

    Raises:
      InputError: something that the user can mend is wrong; the message says what.
    """
    checked = [check(each) for each in settings]
    root = checked[0].root
    with _only_one_run(root, patience) as waited, quiet(Path(root, "run.log")) as narrator:
        if waited:  # other spans may be there by now
            checked = [check(each) for each in settings]
        _say_what_comes(narrator, root)
        summaries: list[RunSummary] = []
        try:
            for number, each in enumerate(checked, start=1):
                place = f" ({number} of {len(checked)})" if numbered else ""
                summaries.append(_run_and_tell(each, place, narrator))
                if on_done:
                    on_done(summaries[-1])
            _say_what_was_logged(narrator, root)
        finally:
            if numbered or not all(summary.all_cached for summary in summaries):
                _print_table(narrator, summaries)
    return summaries


def _run_and_tell(settings: PipelineSettings, place: str, narrator: Narrator) -> RunSummary:
    title = f"{settings.name}, span {settings.corpus.span}{place}"
    narrator.begin(title, at_once=bool(place))
    try:
        summary = _run_once(settings)
    except BaseException as error:
        narrator.end(was_cached=False)
        if not isinstance(error, Exception):
            raise
        if known := user_error(error):
            raise known from error
        _log.exception("the run failed")
        raise
    was_held = narrator.end(summary.all_cached)
    nothing = "nothing new: everything was cached, nothing pushed"
    line = f"  {nothing if summary.all_cached else summary.verdict}"
    narrator.console.print(f"\n{title}: {nothing}" if was_held else line, markup=False)
    if summary.gone:
        text = f"{summary.gone} was pushed before and is gone. Another push.destination pushes it again."
        narrator.console.print(f"  warning: {text}", style="yellow", markup=False)
    return summary


def _run_once(settings: PipelineSettings) -> RunSummary:
    # Imported here: TFX takes seconds to import, and prints.
    from absl import logging as absl_logging
    from tfx import v1 as tfx

    from pipeline.lineage import Lineage
    from pipeline.pipeline import create_pipeline
    from pipeline.report import summarize_run

    absl_logging.set_verbosity(absl_logging.INFO)
    tfx.orchestration.LocalDagRunner().run(create_pipeline(settings))
    lineage = Lineage(settings.metadata.connection(settings.root, read_only=True))
    return summarize_run(lineage, lineage.run_ids[-1])


def _print_table(narrator: Narrator, summaries: list[RunSummary]) -> None:
    from pipeline.report import places, table

    narrator.console.print()
    narrator.console.print(table(summaries))
    for line in places(summaries):
        narrator.console.print(line, markup=False)


@contextlib.contextmanager
def _only_one_run(root: str, patience: float) -> Iterator[bool]:
    """Gives whether another run was waited for."""
    lock = filelock.FileLock(os.path.join(root, ".lock"))
    waited = False
    try:
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            if patience <= 0:
                raise
            waited = True
            click.echo(f"waiting for another run in {os.path.abspath(root)}")
            lock.acquire(timeout=patience, poll_interval=_POLL_SECONDS)
    except filelock.Timeout as error:
        raise InputError(
            f"root: another run is at work in {os.path.abspath(root)}. Wait for it, or choose another root."
        ) from error
    try:
        yield waited
    finally:
        lock.release()


def _say_what_comes(narrator: Narrator, root: str) -> None:
    log = os.path.join(root, "run.log")
    narrator.console.print(f"Starting TensorFlow and TFX (some seconds). Their own messages go to {log}", markup=False)


def _say_what_was_logged(narrator: Narrator, root: str) -> None:
    if narrator.errors:
        narrator.console.print(f"\n{len(narrator.errors)} errors were logged, see {os.path.join(root, 'run.log')}:")
        for line in dict.fromkeys(narrator.errors):
            narrator.console.print(f"  {line}", style="red", markup=False)


def user_error(error: BaseException) -> InputError | None:
    """The InputError behind an error of the runner, if there is one: as its cause, or as text from a Beam worker.

    A full disk is one as well, whatever the library that met it first made of it.
    """
    for cause in _causes(error):
        if isinstance(cause, InputError):
            return cause if " [while running" not in str(cause) else InputError(str(cause).split(" [while running")[0])
        if match := _IN_TRACEBACK.search(str(cause)):
            return InputError(match[1])
        if _GONE in str(cause):
            return InputError(
                "corpus.pattern: the span's files are gone since the run was checked. Put them back, or run again."
            )
        if any(words in str(cause) for words in _FULL_DISK):
            return InputError(
                "No space left on the disk of root or of push.destination. Make room; the same command goes on then."
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def last_line(error: Exception) -> str:
    """What went wrong: of errors whose message is a worker's traceback, the line that says so."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Traceback"):
        return next(line for line in reversed(lines) if line[0] not in " [")
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
