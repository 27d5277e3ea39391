"""The commands on runs: runs, show, lineage. They read metadata only, and import nothing heavy until they run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pipeline import pipeline_options

if TYPE_CHECKING:
    import rich.console
    import rich.table
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from pipeline.lineage import Lineage, Run

FORMATS = ("tree", "mermaid", "html", "json")
_UNKNOWN = "–"
_WIDE = 5000  # more than a line needs: a narrow terminal breaks lines, which others can then copy whole


def _on_lineage(command: Callable) -> Callable:
    """Gives a command the metadata that its options name, and a console; tells errors in a line."""

    @functools.wraps(command)
    def wrapped(config: str | None, root: str | None, debug: bool, **said: Any) -> None:
        from pipeline.console import errors_in_a_line, quietly

        if (config is None) == (root is None):
            raise click.UsageError("Give one of --config and --root.")
        with errors_in_a_line(debug), quietly() as console:
            console.width = _WIDE
            command(console, _lineage(config, root), **said)

    for option in (
        pipeline_options.debug,
        click.option("--root", metavar="FOLDER", help="The pipeline's root, in place of --config."),
        click.option("--config", metavar="FILE", help="The pipeline's YAML file."),
    ):
        wrapped = option(wrapped)
    return wrapped


def _lineage(config: str | None, root: str | None) -> Lineage:
    from pipeline.lineage import Lineage
    from pipeline.metadata_settings import MetadataSettings

    if config is None:
        return Lineage(MetadataSettings().connection(root or "", read_only=True))
    from pipeline.settings import load_settings

    settings = load_settings(config)
    return Lineage(settings.metadata.connection(settings.root, read_only=True))


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Only the newest ones.")
@_on_lineage
def runs(console: rich.console.Console, lineage: Lineage, limit: int) -> None:
    """Lists runs: when, of which span, how they ended, and what they pushed.

    \b
    Examples:
      albert pipeline runs --config configs/pipelines/demo.yaml
      albert pipeline runs --root runs/demo
    """
    found = lineage.runs(limit)
    if not found:
        console.print("There is no run yet.")
        return
    console.print(_runs_table(found), soft_wrap=True)
    if len(lineage.run_ids) > limit:
        console.print(f"The newest {limit} of {len(lineage.run_ids):,}; --limit shows more.")


def _runs_table(found: list[Run]) -> rich.table.Table:
    import rich.table

    from pipeline.lineage_story import printable

    table = rich.table.Table(
        rich.table.Column("run", no_wrap=True), "started, UTC", "span", "state", "verdict", "pushed", box=None
    )
    for run in found:
        verdict = {None: _UNKNOWN, True: "blessed", False: "not blessed"}[run.blessed]
        pushed = f"version {run.pushed}" if run.pushed else _UNKNOWN
        cells = (run.id, f"{run.started:%Y-%m-%d %H:%M}", run.span or _UNKNOWN, run.state, verdict, pushed)
        table.add_row(*(_text(printable(cell)) for cell in cells))
    return table


def _text(said: str, style: str = "") -> Any:
    """Not markup: names of runs and folders are other people's."""
    import rich.text

    return rich.text.Text(said, style=style, overflow="fold")


@click.command()
@click.argument("run")
@_on_lineage
def show(console: rich.console.Console, lineage: Lineage, run: str) -> None:
    """Shows what each node of a run did, with its inputs and outputs.

    RUN is the beginning of a run's id, or latest.

    \b
    Examples:
      albert pipeline show latest --config configs/pipelines/demo.yaml
    """
    from pipeline.lineage_story import printable

    run_id = lineage.run_id(run)
    console.print(_text(f"run {printable(run_id)}", "bold"))
    styles = {"FAILED": "bold red", "RUNNING": "yellow", "CACHED": "dim"}
    for node in lineage.nodes(run_id).values():
        head = f"{printable(node.name)}  {node.state.lower()}, {node.seconds:.1f} s"
        console.print(_text(head, styles.get(node.state, "green")))
        for arrow, artifacts in (("←", node.inputs), ("→", node.outputs)):
            for channel, artifact in sorted(artifacts.items()):
                console.print(_text(f"  {arrow} {printable(channel)}: {_artifact(artifact)}"))


def _artifact(artifact: mlmd.Artifact) -> str:
    from pipeline.lineage_story import printable

    return printable(f"{artifact.type} {artifact.id}  {artifact.uri}")


@click.command("lineage")
@click.argument("version")
@click.option("--format", "form", type=click.Choice(FORMATS), default="tree", show_default=True)
@click.option(
    "--settings", "with_settings", is_flag=True, help="In the tree: every setting. (html and json have them.)"
)
@_on_lineage
def lineage_of(console: rich.console.Console, lineage: Lineage, version: str, form: str, with_settings: bool) -> None:
    """Shows what a pushed version was made from: model, examples, documents, files, and the models before it.

    VERSION is a number, or latest.

    \b
    Examples:
      albert pipeline lineage latest --config configs/pipelines/demo.yaml
      albert pipeline lineage 2 --root runs/demo --format html > lineage.html
    """
    from pipeline import lineage_story

    told = lineage_story.story(lineage, version)
    if form == "tree":
        console.print(lineage_story.tree(told, with_settings), soft_wrap=True)
        return
    made = {"mermaid": lineage_story.mermaid, "html": lineage_story.page, "json": lineage_story.as_json}[form](told)
    console.print(made, markup=False, emoji=False, soft_wrap=True)


COMMANDS = (runs, show, lineage_of)
