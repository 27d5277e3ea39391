"""Calls to a service that may not answer for a while."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import TypeVar

import tenacity

_log = logging.getLogger("albert.cloud")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Patience:
    """How often a call is tried; the waits between double, and have jitter so that clients do not come in step.

    Attributes:
      attempts: of a call, at most.
      first_seconds: the first wait.
      most_seconds: the longest one.
      tells_once: of the first attempt that failed alone, where there may be many.
    """

    attempts: int = 6
    first_seconds: float = 1.0
    most_seconds: float = 16.0
    tells_once: bool = False


PATIENT = Patience()
# With looks at a run that goes on by itself: some four hours, as a failure is told to people.
LASTING = Patience(attempts=60, most_seconds=300.0, tells_once=True)


def patiently(
    call: Callable[[], Result],
    service: str,
    is_transient: Callable[[BaseException], bool],
    words: Callable[[BaseException], str],
    patience: Patience,
) -> Result:
    """Calls until it works; a line for each attempt that did not, or for the first one.

    Args:
      call: what is tried. It must bear being repeated after an attempt that was done and whose answer was lost.
      service: its name, for the lines.
      is_transient: whether an error may pass by itself.
      words: what an error says, in a line.
      patience: how long.

    Returns:
      What the call gives. The error of the last attempt is raised as it is.
    """

    def tell(state: tenacity.RetryCallState) -> None:
        error = (state.outcome and state.outcome.exception()) or RuntimeError("no reason given")
        seconds = state.next_action.sleep if state.next_action else 0.0
        if patience.tells_once:
            if state.attempt_number == 1:
                _log.info("%s does not answer (%s); it is asked again until it does", service, words(error))
            return
        _log.info(
            "%s does not answer (%s); attempt %d of %d in %.1f s",
            *(service, words(error), state.attempt_number + 1, patience.attempts, seconds),
        )

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(patience.attempts),
        wait=tenacity.wait_exponential_jitter(
            initial=patience.first_seconds, max=patience.most_seconds, jitter=patience.first_seconds
        ),
        retry=tenacity.retry_if_exception(is_transient),
        before_sleep=tell,
        reraise=True,
    )(call)


def reason(said: object, length: int = 200) -> str:
    """What an error or a server says, in a line, cut where it is long."""
    words = " ".join(str(said).split()) or type(said).__name__
    return words if len(words) <= length else f"{words[: length - 1]}…"
