"""The commands on published encoders: versions, rollback, verify. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from pipeline import pipeline_options

if TYPE_CHECKING:
    import rich.table

    from albert_model.publishing.versions import Version

_UNKNOWN = "–"


@click.command()
@click.argument("destination")
@pipeline_options.debug
def versions(destination: str, debug: bool) -> None:
    """Lists the versions of an encoder: when each was pushed, of which text, how good it is, and which one is served.

    DESTINATION is what push.destination says: a folder, or a path such as gs://bucket/encoders.

    \b
    Examples:
      albert versions runs/demo/encoders
    """
    from pipeline.console import errors_in_a_line, quietly

    with errors_in_a_line(debug), quietly() as console:
        from albert_model.errors import InputError
        from albert_model.publishing.versions import Versions

        there = Versions(destination)
        found = there.all()
        if not found:
            raise InputError(
                f"{destination}: has no version. Give the folder that push.destination names, which holds the versions."
            )
        console.print(_table(found))
        if (latest := there.latest()) is None:
            console.print("No version is served yet (latest is missing): the next push or rollback makes it.")
        elif latest not in [version.number for version in found]:
            console.print(f"latest names version {latest}, which is not there. Choose one: albert rollback --help")


def _table(found: list[Version]) -> rich.table.Table:
    import rich.markup
    import rich.table

    table = rich.table.Table("version", "pushed", "span", "documents", "MLM accuracy", "SOP accuracy", "", box=None)
    for version in found:
        cells = _cells(version.manifest) if version.manifest else ["damaged manifest", *[_UNKNOWN] * 4]
        served = "latest" if version.is_latest else ""
        table.add_row(str(version.number), *map(rich.markup.escape, cells), served)
    return table


def _cells(manifest: Mapping[str, Any]) -> list[str]:
    """What a manifest says; other manifests may say less."""
    spans = ", ".join(map(str, _list(manifest.get("spans"))))
    documents = _mapping(manifest.get("documents")).get("documents")
    texts = [_mapping(text) for text in _list(_mapping(manifest.get("metrics")).get("texts"))]
    whole = [text for text in texts if text.get("text") == "this text" and text.get("domain") is None]
    figures = _mapping(whole[0].get("candidate")) if whole else {}
    shares = [_mapping(figures.get(name)).get("value") for name in ("mlm_accuracy", "sop_accuracy")]
    return [
        str(manifest.get("created", _UNKNOWN))[:16].replace("T", " "),
        spans or _UNKNOWN,
        f"{documents:,}" if isinstance(documents, int) else _UNKNOWN,
        *(f"{100 * share:.1f} %" if isinstance(share, int | float) else _UNKNOWN for share in shares),
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@click.command()
@click.argument("version", type=click.IntRange(1))
@click.option("--destination", required=True, metavar="DIR", help="What push.destination says.")
@pipeline_options.debug
def rollback(version: int, destination: str, debug: bool) -> None:
    """Makes an older (or newer) version the one that is served.

    Its files are verified first. Nothing is removed, and the next push counts on and is served again.

    \b
    Examples:
      albert rollback 1 --destination runs/demo/encoders
    """
    from pipeline.console import errors_in_a_line, quietly

    with errors_in_a_line(debug), quietly() as console:
        from albert_model.publishing.versions import Versions

        Versions(destination).rollback(version)
        console.print(f"{destination}: latest is version {version} now.", markup=False)


@click.command()
@click.argument("package")
@pipeline_options.debug
def verify(package: str, debug: bool) -> None:
    """Compares the files of an encoder package with its manifest; names each that is changed, missing or extra.

    PACKAGE is the folder of a version, or of all versions: then the one that is served is verified. Ends with code 1 if
    anything is wrong.

    \b
    Examples:
      albert verify runs/demo/encoders
      albert verify runs/demo/encoders/1
    """
    from pipeline.console import errors_in_a_line, quietly

    with errors_in_a_line(debug), quietly() as console:
        from albert_model.publishing.versions import verify as verified

        folder, problems = verified(package)
        for problem in problems:
            console.print(f"{folder}: {problem}", markup=False)
        if not problems:
            console.print(f"{folder}: every file is as its manifest says.", markup=False)
    if problems:
        sys.exit(1)
