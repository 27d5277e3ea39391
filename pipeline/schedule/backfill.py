"""Spans that are there already, run in order, each from the model of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from albert_model.errors import InputError
from pipeline.cloud.settings import Target
from pipeline.settings import PipelineSettings
from pipeline.spans import spans_between

_SHOWN = 8


class StoppedError(Exception):
    """A run failed, or was interrupted: its cause is why.

    Args:
      span: of that run.
      done: how many runs ended well before it.
    """

    def __init__(self, span: int, done: int):
        super().__init__(f"span {span}")
        self.span, self.done = span, done


def spans_to_run(settings: PipelineSettings, first: int, last: int, skip_missing: bool) -> list[int]:
    """The spans from `first` to `last`, oldest first.

    Raises:
      InputError: one has no text, and `skip_missing` is not set; names them. Or no span has any.
    """
    spans = spans_between(settings, first, last)
    count = last - first + 1 - len(spans)
    if count and not skip_missing:
        there = set(spans)
        missing = [span for span in range(first, min(last, first + len(spans) + _SHOWN) + 1) if span not in there]
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        raise InputError(
            f"No text of span {', '.join(map(str, missing[:_SHOWN]))}{more}. --skip-missing runs the {len(spans)} "
            "others in order."
        )
    return spans


def backfill(settings: PipelineSettings, spans: Sequence[int], target: Target, say: Callable[[str], None]) -> None:
    """Runs the spans one after the other, and stops where one fails.

    Raises:
      StoppedError: one failed.
    """
    every = [settings.with_span(span) for span in spans]
    done: list[object] = []
    try:
        if target == "local":
            from pipeline import local_runner

            local_runner.run(every, numbered=True, on_done=done.append)
        else:
            from pipeline.cloud import submission

            for number, each in enumerate(every, start=1):
                say(f"\nspan {each.corpus.span} ({number} of {len(every)})")
                submission.submit(each, target, wait=True, say=say)
                done.append(each)
    except (Exception, KeyboardInterrupt) as error:
        if len(done) == len(spans):  # all that was to be done is
            raise
        raise StoppedError(spans[len(done)], len(done)) from error
