"""`albert pipeline schedule` and `albert pipeline backfill`. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from pipeline import pipeline_options

if TYPE_CHECKING:
    import rich.table

    from pipeline.cloud.clients import Client, ScheduleState
    from pipeline.cloud.settings import Target
    from pipeline.schedule.backfill import StoppedError
    from pipeline.schedule.local import LocalSchedules, LocalState
    from pipeline.schedule.store import Schedule
    from pipeline.settings import PipelineSettings

_target = click.option(
    "--target",
    type=click.Choice(["local", "vertex", "kfp"]),
    default="local",
    show_default=True,
    help="This machine, Vertex AI, or Kubeflow Pipelines.",
)
_name = click.option("--name", metavar="NAME", help="Of the schedule. Default: the pipeline's name.")
_NONE = "–"


@click.group()
def schedule() -> None:
    """Runs the pipeline by the clock.

    When is said by the section `schedule` of the pipeline's file: a cron line, its time zone, and what becomes of
    missed times. On this machine `serve` has to be running; Vertex AI and Kubeflow run by themselves.

    \b
    Examples:
      albert pipeline schedule create --config my.yaml
      albert pipeline schedule serve --config my.yaml
      albert pipeline schedule list --config my.yaml
    """


# === Making, showing and changing schedules ===


@schedule.command()
@_target
@pipeline_options.config
@pipeline_options.overrides
@_name
@click.option("--replace", is_flag=True, help="Take the place of a schedule that exists.")
@pipeline_options.debug
def create(
    target: Target, config: str, overrides: dict[str, Any], name: str | None, replace: bool, debug: bool
) -> None:
    """Makes a schedule. It holds the settings as they are now: after a change to the file, --replace it.

    \b
    Examples:
      albert pipeline schedule create --config my.yaml
      albert pipeline schedule create --config my.yaml --set schedule.cron='0 3 * * 1' --replace
      albert pipeline schedule create --config configs/pipelines/vertex.yaml --target vertex
    """
    with _command(debug) as say:
        from albert_model.errors import InputError

        settings = _load(config, overrides)
        if settings.schedule is None:
            raise InputError(
                f"{config}: schedule: is missing. Say when the pipeline runs, such as\n"
                "schedule:\n  cron: 0 3 * * 1\n  timezone: Europe/Berlin"
            )
        if settings.corpus.span != "latest":
            raise InputError(
                f"corpus.span: is {settings.corpus.span}, so that each run would find nothing new. Leave it out, or "
                "say latest."
            )
        name = name or settings.name
        where = _client(settings, target).create_schedule(_job(settings, target), name, settings.schedule, replace)
        say(f"{name}: {settings.schedule.cron} ({settings.schedule.timezone})\n  {where}")
        if target == "local":
            command = shlex.join(["albert", "pipeline", "schedule", "serve", "--config", config])
            say(f"Its runs are made by a process that has to be running: {command}")


@schedule.command("list")
@_target
@pipeline_options.config
@pipeline_options.debug
def list_(target: Target, config: str, debug: bool) -> None:
    """Lists schedules: when they run next, and what the last run came to.

    \b
    Examples:
      albert pipeline schedule list --config my.yaml
    """
    from pipeline.console import errors_in_a_line, quietly

    with errors_in_a_line(debug), quietly() as console:
        from pipeline.schedule.local import LocalState

        settings = _load(config, {})
        found = _client(settings, target).schedules()
        if not found:
            console.print("There is no schedule. `albert pipeline schedule create` makes one.")
            return
        console.print(_table(found))
        for state in found:
            if isinstance(state, LocalState):
                for line in _remarks(state, settings, config):
                    console.print(line, markup=False)


@schedule.command()
@_target
@pipeline_options.config
@_name
@pipeline_options.debug
def pause(target: Target, config: str, name: str | None, debug: bool) -> None:
    """Makes no runs until `resume`. A run at work goes on.

    \b
    Examples:
      albert pipeline schedule pause --config my.yaml
    """
    _change("pause", "paused", target, config, name, debug)


@schedule.command()
@_target
@pipeline_options.config
@_name
@pipeline_options.debug
def resume(target: Target, config: str, name: str | None, debug: bool) -> None:
    """Makes runs again. The times that passed meanwhile are not made up for.

    \b
    Examples:
      albert pipeline schedule resume --config my.yaml
    """
    _change("resume", "resumed", target, config, name, debug)


@schedule.command()
@_target
@pipeline_options.config
@_name
@pipeline_options.debug
def delete(target: Target, config: str, name: str | None, debug: bool) -> None:
    """Deletes a schedule. A run at work goes on.

    \b
    Examples:
      albert pipeline schedule delete --config my.yaml
    """
    _change("delete", "deleted", target, config, name, debug)


def _change(method: str, done: str, target: Target, config: str, name: str | None, debug: bool) -> None:
    with _command(debug) as say:
        settings = _load(config, {})
        name = name or settings.name
        getattr(_client(settings, target), method)(name)
        say(f"{name}: {done}")


def _load(config: str, overrides: dict[str, Any]) -> PipelineSettings:
    from pipeline.settings import load_settings

    return load_settings(config, overrides)


def _client(settings: PipelineSettings, target: Target) -> Client | LocalSchedules:
    if target == "local":
        from pipeline.schedule.local import LocalSchedules

        return LocalSchedules(settings)
    from pipeline.cloud.clients import client_of

    return client_of(settings, target)


def _job(settings: PipelineSettings, target: Target) -> dict[str, Any]:
    if target == "local":
        return settings.model_dump(mode="json")
    from pipeline.cloud.clients import job_for_schedule

    return job_for_schedule(settings, target)


@contextlib.contextmanager
def _command(debug: bool) -> Iterator[Callable[[str], None]]:
    """Tells errors in a line; gives what prints a line."""
    from pipeline.console import errors_in_a_line, quietly

    with errors_in_a_line(debug), quietly() as console:
        yield lambda line: console.print(line, markup=False, highlight=False)


# === Tables ===


def _table(found: Sequence[ScheduleState]) -> rich.table.Table:
    import rich.table

    table = rich.table.Table("name", "cron", "time zone", "state", "next run", "last run", box=None)
    for each in found:
        cells = [each.name, each.cron, each.timezone, _state(each)]
        cells += [_moment(each, "next_run"), _moment(each, "last_run")]
        table.add_row(*map(_plain, cells))
    return table


def _state(state: ScheduleState) -> str:
    from pipeline.schedule.local import LocalState

    if isinstance(state, LocalState) and state.served_by and state.working:
        return "running"
    if state.paused:
        return "paused"
    return "not served" if isinstance(state, LocalState) and not state.served_by else "active"


def _moment(state: ScheduleState, key: str) -> str:
    from pipeline.schedule.server import shown

    moment = getattr(state, key)
    return shown(moment, state.timezone) if moment else _NONE


def _plain(text: str) -> str:
    import rich.markup

    return rich.markup.escape(text)


def _remarks(state: LocalState, settings: PipelineSettings, config: str) -> Iterator[str]:
    if state.runs:
        outcome = state.runs[-1].outcome
        yield "Last run: " + ": ".join(filter(None, (outcome.result, outcome.words)))
    if state.served_by:
        yield f"Served by {state.served_by}."
    else:
        yield "No process makes its runs: `albert pipeline schedule serve` does."
        if state.working:
            yield "The run that was cut off is made up for as soon as one does."
    if state.settings != settings:
        yield f"{config} says something else now. The schedule keeps to what it said; `create --replace` changes that."


# === Serving ===


@schedule.command()
@pipeline_options.config
@click.option("--once", is_flag=True, help="Run what is due now, if anything is, and leave: for system cron.")
@pipeline_options.debug
def serve(config: str, once: bool, debug: bool) -> None:
    """Waits for the times of the schedule on this machine and runs the pipeline then, until it is stopped.

    One process does so at a time, one run at a time. Stopped, it stops the run at work; that run is made up for when
    the schedule is served again, and a training goes on from its last checkpoint.

    \b
    Examples:
      albert pipeline schedule serve --config my.yaml
      albert pipeline schedule serve --config my.yaml --once
    """
    from pipeline.console import errors_in_a_line

    with errors_in_a_line(debug):
        status = _serve(_load(config, {}), once)
    if status:
        sys.exit(status)


def _serve(settings: PipelineSettings, once: bool) -> int:
    """The exit status: 130 where it was stopped, 1 where the one run failed."""
    from pipeline.schedule.child import ChildRuns
    from pipeline.schedule.clock import SystemClock
    from pipeline.schedule.server import AlreadyServedError, Server, serving
    from pipeline.schedule.store import Store

    store = Store(settings.root)
    outcome = None
    with SystemClock() as clock:
        try:
            with serving(store.root):
                server = Server(store, ChildRuns(clock, click.echo), clock, click.echo, _notify)
                if once:
                    outcome = server.serve_once()
                else:
                    server.serve()
        except AlreadyServedError as error:
            if not once:
                raise
            click.echo(str(error))
            return 0
        if clock.stops:
            click.echo("Stopped.")
            return 130
    return int(outcome is not None and outcome.result == "failed")


def _notify(schedule: Schedule, text: str) -> None:
    from albert_model.errors import InputError
    from pipeline.schedule.notice import tell

    cloud = schedule.settings.cloud
    if cloud and cloud.notify:
        try:
            tell(cloud.notify, text)
        except InputError as error:  # the schedule goes on
            click.echo(str(error), err=True)


# === Backfill ===


@click.command()
@_target
@pipeline_options.config
@click.option("--from", "first", type=int, required=True, metavar="N", help="The first span.")
@click.option("--to", "last", type=int, required=True, metavar="M", help="The last span.")
@click.option("--skip-missing", is_flag=True, help="Go on without spans that have no text.")
@pipeline_options.overrides
@pipeline_options.debug
def backfill(
    target: Target,
    config: str,
    first: int,
    last: int,
    skip_missing: bool,
    overrides: dict[str, Any],
    debug: bool,
) -> None:
    """Runs spans in order, oldest first, each from the model of the one before.

    It stops at the first that fails, and says how to go on. Spans that were done before are taken from the cache.

    \b
    Examples:
      albert pipeline backfill --config my.yaml --from 1 --to 6
      albert pipeline backfill --config my.yaml --from 1 --to 6 --skip-missing
    """
    from pipeline.console import errors_in_a_line

    # As Ctrl-C, so that the last words are said.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with errors_in_a_line(debug):
        from pipeline.schedule import backfill as backfills

        settings = _load(config, overrides)
        spans = backfills.spans_to_run(settings, first, last, skip_missing)
        try:
            with _teller(target) as say:
                backfills.backfill(settings, spans, target, say)
        except backfills.StoppedError as stopped:
            _say_how_to_go_on(stopped, len(spans))
            _end(stopped.__cause__, debug)


@contextlib.contextmanager
def _teller(target: Target) -> Iterator[Callable[[str], None]]:
    """The local runner keeps libraries quiet itself."""
    from pipeline.console import quietly

    if target == "local":
        yield click.echo
        return
    with quietly() as console:
        yield lambda line: console.print(line, markup=False)


def _say_how_to_go_on(stopped: StoppedError, count: int) -> None:
    words = sys.argv[1:]
    click.echo(f"Stopped at span {stopped.span}; {stopped.done} of {count} spans are done. To go on:", err=True)
    click.echo(f"  {shlex.join(['albert', *_from(words, stopped.span)])}", err=True)


def _from(words: list[str], span: int) -> list[str]:
    """The words of a command with another first span.

    >>> _from(["backfill", "--from", "1", "--to=6"], 3), _from(["backfill", "--from=1"], 3)
    (['backfill', '--from', '3', '--to=6'], ['backfill', '--from=3'])
    """
    changed = [f"--from={span}" if word.startswith("--from=") else word for word in words]
    if "--from" in changed:
        changed[changed.index("--from") + 1] = str(span)
    return changed


def _end(error: BaseException | None, debug: bool) -> NoReturn:
    """As the command `run` ends."""
    from albert_model.errors import InputError
    from pipeline.local_runner import last_line

    assert error is not None
    if debug or not isinstance(error, Exception) or isinstance(error, InputError):
        raise error
    raise click.ClickException(f"{last_line(error)}\nThe log (run.log in the pipeline's root) has the details.")


COMMANDS: list[click.Command] = [schedule, backfill]
