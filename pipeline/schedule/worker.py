"""The process of one scheduled run: `python -m pipeline.schedule.worker DESCRIPTOR`.

Standard input holds a line of JSON: the settings, and how long to wait for another run. The outcome is written to the
descriptor. When standard input ends, so does the run, as Ctrl-C ends it: whoever started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

from albert_model.errors import InputError
from pipeline.schedule.store import Outcome

_SECONDS_TO_END = 120


def main(descriptor: int) -> int:
    """Runs the pipeline; gives the exit status of the process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    job = json.loads(_first_line())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        outcome = _run(job)
    except KeyboardInterrupt:
        return 130
    if outcome.result == "failed":
        print(f"Error: {outcome.words}", file=sys.stderr)
    os.write(descriptor, outcome.model_dump_json().encode())
    return int(outcome.result == "failed")


def _run(job: dict[str, Any]) -> Outcome:
    from pipeline import local_runner
    from pipeline.settings import PipelineSettings

    try:
        settings = PipelineSettings.model_validate(job["settings"])
        (summary,) = local_runner.run([settings], patience=job["patience"])
    except InputError as error:
        return Outcome(result="failed", words=str(error))
    except Exception as error:
        words = f"{local_runner.last_line(error)} (run.log in the pipeline's root has the details)"
        return Outcome(result="failed", words=words)
    if summary.all_cached:
        return Outcome(result="nothing new", words=f"span {summary.span}: everything was cached, nothing pushed")
    if summary.pushed_to:
        return Outcome(result="pushed", words=f"span {summary.span}: {summary.pushed_to}")
    return Outcome(result="not pushed", words=f"span {summary.span}: {summary.verdict}")


def _first_line() -> bytes:
    """Without a buffer, whose lock a thread that waits for more would hold when the process ends."""
    said = b""
    while not said.endswith(b"\n") and (more := os.read(0, 65536)):
        said += more
    return said


def _end_with_parent() -> None:
    while os.read(0, 65536):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SECONDS_TO_END)
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
