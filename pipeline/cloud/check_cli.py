"""`albert pipeline check`. Imports nothing heavy until it runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pipeline import pipeline_options
from pipeline.cloud.settings import Target

if TYPE_CHECKING:
    import rich.console

    from pipeline.cloud.checks import CheckResult

_MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "not checked": ("–", "dim")}


@click.command()
@pipeline_options.cloud_target
@click.option("--config", metavar="FILE", help="The pipeline's YAML file.")
@click.option("--spec", metavar="FILE", help="What `pipeline compile` wrote, in place of --config.")
@pipeline_options.span
@pipeline_options.overrides
@pipeline_options.debug
def check(
    target: Target, config: str | None, spec: str | None, span: int | None, overrides: dict[str, Any], debug: bool
) -> None:
    """Checks a pipeline for Vertex AI or Kubeflow before it is submitted. Half a minute; sends nothing.

    Ends with 1 if anything is wrong.

    \b
    Examples:
      albert pipeline check --target vertex --config configs/pipelines/vertex.yaml
      albert pipeline check --target kfp --spec pipeline.yaml
    """
    if (config is None) == (spec is None):
        raise click.UsageError("Give one of --config and --spec.")
    if spec is not None and (overrides or span is not None):
        raise click.UsageError("--set and --span go with --config: what is compiled has its settings already.")
    from pipeline.cloud import checks
    from pipeline.console import errors_in_a_line, quietly

    with errors_in_a_line(debug), quietly() as console:
        if config is not None:
            results = checks.check_before_submission(_settings(config, target, span, overrides), target)
        else:
            from pipeline.cloud import compiled

            results = checks.check_job(compiled.read(spec or ""), target)
        show(results, console)
        wrong = len(checks.failures(results))
    if wrong:
        sys.exit(1)


def show(results: list[CheckResult], console: rich.console.Console) -> None:
    """A line for each: its mark, its name, what was found."""
    width = max(len(result.name) for result in results)
    for result in results:
        mark, style = _MARKS[result.outcome]
        console.print(f"{mark} {result.name:{width}}  {result.found}", style=style, markup=False)


def _settings(config: str, target: Target, span: int | None, overrides: dict[str, Any]) -> Any:
    from pipeline.settings import load_settings
    from pipeline.spans import for_target

    settings = load_settings(config, overrides)
    if span is not None:
        settings = settings.with_span(span)
    return for_target(settings, target)


COMMANDS = [check]
