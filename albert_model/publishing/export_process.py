"""Runs the checks of an encoder package in a process of their own, so that whatever happens there is a result."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from albert_model.publishing.export_check import CHECKS, Check
from albert_model.publishing.export_expected import expected_of
from albert_model.weights.fresh_process import environment
from albert_model.weights.model import Model

TIME_LIMIT = 3600.0  # seconds, for all checks
PROCESS = "process"  # the check that fails where the process died
_KEPT = 300  # characters of what it wrote last


def check_export(folder: str | Path, model: Model, time_limit: float = TIME_LIMIT) -> list[Check]:
    """Checks a package against the model that it was written of.

    Args:
      folder: of `package.write_encoder`.
      model: with all heads and a vocabulary.
      time_limit: seconds until the process is ended.

    Returns:
      A result for every check. Where the process died or took too long, one named "process" that failed, and the
      checks that were not reached have no result.
    """
    with tempfile.TemporaryDirectory(prefix="albert-export-") as work:
        expected, results = Path(work, "expected.npz"), Path(work, "results.json")
        expected_of(model).write(expected)
        command = [sys.executable, "-m", "albert_model.publishing.export_check"]
        started = time.monotonic()
        how, stderr = _run([*command, str(Path(folder).resolve()), str(expected), str(results)], work, time_limit)
        return _judge(results, how, stderr, round(time.monotonic() - started, 2))


def passed(checks: Sequence[Check]) -> bool:
    """Whether there are checks that passed, and none that failed."""
    return any(check.passed for check in checks) and not any(check.passed is False for check in checks)


def _run(command: Sequence[str], work: str, time_limit: float) -> tuple[str, str]:
    """Runs a command in a session of its own, and ends whatever it started there.

    Returns:
      How it ended, in words; and what it wrote to stderr.
    """
    log = Path(work, "stderr")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=environment(HF_HUB_OFFLINE="1", TF_CPP_MIN_LOG_LEVEL="2"),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        how = _words(process.wait(time_limit))
    except subprocess.TimeoutExpired:
        how = f"did not end within {time_limit:g} seconds"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return how, log.read_text("utf-8", "replace")


def _words(returncode: int) -> str:
    if returncode < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}"


def _judge(results: Path, how: str, stderr: str, seconds: float) -> list[Check]:
    done, running = _read_results(results)
    names = {check.name for check in done}
    if set(CHECKS) <= names:
        return done
    where = f"in the check {running!r}" if running else "before the first check"
    last = stderr.strip()[-_KEPT:].replace("\n", " | ")
    died = Check(PROCESS, False, f"the process that checks {how}, {where}; it wrote last: {last or 'nothing'}", seconds)
    rest = [Check(name, None, "not reached: the process that checks is gone") for name in CHECKS if name not in names]
    return [*done, died, *rest]


def _read_results(path: Path) -> tuple[list[Check], str | None]:
    if not path.is_file():
        return [], None
    found = json.loads(path.read_text())
    return [Check(**check) for check in found["checks"]], found["running"]
