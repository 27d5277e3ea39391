"""Tells people of a failed run: `python -m pipeline.schedule.notice`, with JSON on standard input.

In a process of its own: what posts it imports TFX, which a process that lives for months does not need in memory.
"""

from __future__ import annotations

import json
import subprocess
import sys

from albert_model.errors import InputError
from pipeline.cloud.settings import NotificationSettings

_SECONDS = 300


def tell(settings: NotificationSettings, text: str) -> None:
    """Posts a text.

    Raises:
      InputError: nobody was told; says why, without the address.
    """
    said = json.dumps({"settings": settings.model_dump(), "text": text})  # the address is no word of the command line
    command = [sys.executable, "-P", "-m", "pipeline.schedule.notice"]
    try:
        done = subprocess.run(
            command, input=said, capture_output=True, text=True, timeout=_SECONDS, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"cloud.notify: nobody was told of the failure: {type(error).__name__}.") from None
    if done.returncode:
        why = done.stdout.strip() or f"status {done.returncode}"
        raise InputError(f"cloud.notify: nobody was told of the failure: {why}")


def main() -> int:
    """Gives the exit status; prints what is wrong."""
    from pipeline.notification import notify

    job = json.loads(sys.stdin.read())
    try:
        notify(NotificationSettings.model_validate(job["settings"]), job["text"])
    except InputError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
