"""A pipeline becomes a run on Vertex AI or Kubeflow."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from albert_model.errors import InputError
from albert_model.publishing.versions import Version, Versions
from pipeline.cloud.clients import CACHED, Client, NoNewsError, Run, checked_job, client_of, new_run_name
from pipeline.cloud.compiler import BASE_MODEL
from pipeline.cloud.settings import Target
from pipeline.settings import PipelineSettings
from pipeline.spans import for_target

_log = logging.getLogger("albert.cloud")
# Of a run on Vertex AI; Kubeflow takes any.
_RUN_NAME = re.compile(r"[a-z][-a-z0-9]{0,127}")


def submit(
    settings: PipelineSettings,
    target: Target,
    *,
    run_name: str | None = None,
    wait: bool = False,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Submits a run, and says what became of it.

    Args:
      settings: of the pipeline. For Kubeflow the newest span and model are looked up here.
      target: where it runs.
      run_name: of the run; None: one that is new.
      wait: until it ended.
      force: also where a run is at work, or, on Kubeflow, the span was pushed already, or may have been.
      say: prints a line.

    Raises:
      InputError: the settings, the service, or the run that failed; says what to do.
    """
    if run_name and not _RUN_NAME.fullmatch(run_name):
        raise InputError(f"--name {run_name}: lower-case letters, digits and hyphens, with a letter first, please.")
    client = client_of(settings, target)
    if not force:
        _wait_for_others(client, settings, wait, say)
    settings = for_target(settings, target)
    if target == "kfp" and not force:
        if number := pushed_version(settings):
            say(f"nothing new: span {settings.corpus.span} was pushed as version {number} already")
            return
        _check_not_removed(settings)
    job = checked_job(settings, target, parameters(settings, target))
    run = client.submit(job, run_name or new_run_name(settings))
    say(f"{settings.name}: submitted, {_of_span(settings)}\n  {run.url}")
    if wait:
        follow(client, run, settings, target, say)


def follow(client: Client, run: Run, settings: PipelineSettings, target: Target, say: Callable[[str], None]) -> None:
    """Waits for the end of a run, and says how it ended.

    Raises:
      NoNewsError: nobody knows; people are told nothing.
      InputError: it failed. On Kubeflow people are told by `cloud.notify`.
    """
    try:
        state = client.wait(run)
    except NoNewsError:
        raise
    except InputError as error:
        # On Vertex AI the pipeline's exit handler does it.
        if target == "kfp":
            _notify(settings, str(error))
        raise
    except KeyboardInterrupt:
        say("The run goes on.")
        raise
    say("nothing new: everything was cached, nothing pushed" if state == CACHED else f"{settings.name}: succeeded")


def parameters(settings: PipelineSettings, target: Target) -> dict[str, Any]:
    """Values of parameters that only Kubeflow's specification has.

    Args:
      settings: of `pipeline.spans.for_target`.
    """
    span = settings.corpus.span
    # Text without spans is told apart inside the run, by its documents.
    if target != "kfp" or settings.start != "latest" or span == "latest":
        return {}
    return {BASE_MODEL: base_model(settings.push.destination, span)}


def base_model(destination: str, span: int) -> str:
    """URI of the published model that a run of a span starts from; empty where there is none.

    It is that of the version that is served; where versions of this span are among those, of the one before them, so
    that a repeated run starts from the same model, and is found in the cache.
    """
    from components.published_model.executor import newest_model

    before = []
    for version in Versions(destination).served():
        if _span(version) == span:
            break
        before.append(version)
    return newest_model(before) or ""


def pushed_version(settings: PipelineSettings) -> int | None:
    """The newest version, of those up to the served one, that was made of the settings' span."""
    span = settings.corpus.span
    if span == "latest":
        return None
    numbers = [version.number for version in Versions(settings.push.destination).served() if _span(version) == span]
    return max(numbers, default=None)


def _check_not_removed(settings: PipelineSettings) -> None:
    """Raises InputError where a version of the settings' span may have been pushed, and removed to make room."""
    span, destination = settings.corpus.span, settings.push.destination
    versions = Versions(destination)
    if span == "latest" or min(versions.numbers(), default=1) == 1:
        return
    kept = [made_of for version in versions.all() if (made_of := _span(version)) is not None]
    if kept and span < min(kept):
        raise InputError(
            f"corpus.span: {span} is older than all that {destination} keeps, which begins with span {min(kept)}. "
            "Older versions were removed there, so this span may have been pushed already. If it was not, or is wanted "
            "again: albert pipeline submit --force."
        )


def _span(version: Version) -> int | None:
    """The newest span of its text."""
    return max((version.manifest or {}).get("spans") or [None])


def _wait_for_others(client: Client, settings: PipelineSettings, wait: bool, say: Callable[[str], None]) -> None:
    """One run at a time, also where what watched over the one before was killed."""
    while run := client.running():
        if not wait:
            raise InputError(
                f"{settings.name}: a run is at work: {run.url} Wait for its end (--wait does), or add --force."
            )
        say(f"{settings.name}: a run is at work; waiting for its end\n  {run.url}")
        try:
            client.wait(run)
        except NoNewsError:  # it may still be at work
            raise
        except InputError as error:
            _log.warning("%s", error)


def _notify(settings: PipelineSettings, text: str) -> None:
    from pipeline.notification import notify

    if settings.cloud and settings.cloud.notify:
        try:
            notify(settings.cloud.notify, text)
        except InputError as error:  # the failure itself is what counts
            _log.warning("%s", error)


def _of_span(settings: PipelineSettings) -> str:
    return "of the newest span" if settings.corpus.span == "latest" else f"of span {settings.corpus.span}"
