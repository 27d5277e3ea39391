"""`albert pipeline compile`. Imports nothing heavy until it runs."""

from __future__ import annotations

from typing import Any

import click

from pipeline import pipeline_options
from pipeline.cloud.settings import Target


@click.command("compile")
@pipeline_options.cloud_target
@pipeline_options.config
@click.option(
    "--output", required=True, metavar="FILE", help=".json: the whole job (Vertex AI); .yaml: for Kubeflow's upload."
)
@pipeline_options.span
@pipeline_options.overrides
@pipeline_options.debug
def compile_(
    target: Target, config: str, output: str, span: int | None, overrides: dict[str, Any], debug: bool
) -> None:
    """Compiles a pipeline for Vertex AI or Kubeflow, without running anything.

    Vertex AI finds the newest span when it runs. Kubeflow can't: its span is the newest one now.

    \b
    Examples:
      albert pipeline compile --target vertex --config configs/pipelines/vertex.yaml --output pipeline.json
      albert pipeline compile --target kfp --config configs/pipelines/kfp.yaml --span 7 --output pipeline.yaml
    """
    from pipeline.cloud import compiler
    from pipeline.console import errors_in_a_line, quietly
    from pipeline.settings import load_settings
    from pipeline.spans import for_target

    with errors_in_a_line(debug), quietly() as console:
        settings = load_settings(config, overrides)
        if span is not None:
            settings = settings.with_span(span)
        job = compiler.compile_pipeline(for_target(settings, target), target)
        compiler.write(job, output)
        tasks = compiler.task_count(job)
        console.print(f"{output}: {settings.name} for {target}, {tasks} components", markup=False)


COMMANDS = [compile_]
