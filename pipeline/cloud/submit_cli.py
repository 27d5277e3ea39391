"""`albert pipeline submit`. Imports nothing heavy until it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline import pipeline_options
from pipeline.cloud.settings import Target

if TYPE_CHECKING:
    from pipeline.settings import PipelineSettings


@click.command()
@pipeline_options.cloud_target
@click.option("--config", metavar="FILE", help="The pipeline's YAML file.")
@click.option("--config-text", metavar="JSON", hidden=True, help="Settings, as a schedule on Kubeflow hands them over.")
@pipeline_options.span
@pipeline_options.overrides
@click.option("--wait", is_flag=True, help="Wait for the end; exit status 1 if the run failed.")
@click.option("--name", "run_name", metavar="RUN", help="Of the run; there must be none of it yet. Default: a new one.")
@click.option("--force", is_flag=True, help="Also if a run is at work. Kubeflow: also if the span was pushed already.")
@pipeline_options.debug
def submit(
    target: Target,
    config: str | None,
    config_text: str | None,
    span: int | None,
    overrides: dict[str, Any],
    debug: bool,
    **said: Any,
) -> None:
    """Runs a pipeline on Vertex AI or Kubeflow, and prints the address of the run.

    Vertex AI finds the newest span inside the run. For Kubeflow span and model are looked up before, and a span that
    was pushed already is nothing new: one line, exit status 0.

    \b
    Examples:
      albert pipeline submit --target vertex --config configs/pipelines/vertex.yaml
      albert pipeline submit --target kfp --config configs/pipelines/kfp.yaml --span 7 --wait
    """
    from pipeline.console import errors_in_a_line, quietly

    with errors_in_a_line(debug), quietly() as console:
        from pipeline.cloud import submission

        settings = _settings(config, config_text, overrides)
        if span is not None:
            settings = settings.with_span(span)
        submission.submit(settings, target, **said, say=lambda line: console.print(line, markup=False))


def _settings(config: str | None, text: str | None, overrides: dict[str, Any]) -> PipelineSettings:
    import pydantic

    from albert_model.config import describe
    from albert_model.errors import InputError
    from pipeline.settings import PipelineSettings, load_settings

    if (config is None) == (text is None):
        raise InputError("Give the settings: --config FILE.")
    if config is not None:
        return load_settings(config, overrides)
    try:
        return PipelineSettings.model_validate_json(text or "")
    except pydantic.ValidationError as error:
        raise InputError(f"--config-text: {describe(error)}") from error


COMMANDS = [submit]
