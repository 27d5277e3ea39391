"""The command line. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import signal
import sys
from importlib import metadata
from typing import Any

import click

from pipeline import examples_cli, lineage_cli, pipeline_options, pretraining_cli, versions_cli, weights_cli
from pipeline.cloud import check_cli, submit_cli
from pipeline.cloud import cli as cloud_cli
from pipeline.schedule import cli as schedule_cli


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(metadata.version("albert-pipeline"), prog_name="albert")
def main() -> None:
    """Pre-trains an ALBERT encoder on your text, keeps it fresh, and pushes it when it got better.

    \b
    Examples:
      albert pipeline run --config configs/pipelines/demo.yaml
      albert pipeline settings
      albert pipeline lineage latest --config configs/pipelines/demo.yaml
      albert pipeline submit --target vertex --config configs/pipelines/vertex.yaml
      albert pipeline schedule create --config my.yaml
      albert create-pretraining-data --input_file='data/*.txt' --output_file=train.tf_record --vocab_file=vocab.txt
      albert run-pretraining --albert_config_file=config.json --input_files=train.tf_record --output_dir=pretrained
      albert convert albert_base_v2.tar.gz --to huggingface --output albert-base-v2
      albert inspect runs/demo/encoders/2
      albert parity albert_base_v2.tar.gz albert-base-v2
      albert versions runs/demo/encoders
    """


for _command in (
    *(examples_cli.create_pretraining_data, pretraining_cli.run_pretraining),
    *(weights_cli.convert, weights_cli.inspect, weights_cli.parity),
    *(versions_cli.versions, versions_cli.rollback, versions_cli.verify),
):
    main.add_command(_command)


@main.group()
def pipeline() -> None:
    """Runs pipelines, here and elsewhere, and tells of their runs, of what versions were made from, of settings."""


for _command in (
    *lineage_cli.COMMANDS,
    *cloud_cli.COMMANDS,
    *check_cli.COMMANDS,
    *submit_cli.COMMANDS,
    *schedule_cli.COMMANDS,
):
    pipeline.add_command(_command)


@pipeline.command()
@pipeline_options.config
@click.option("--span", "spans", type=int, multiple=True, metavar="N", help="Span to train on; several: one run each.")
@pipeline_options.overrides
@pipeline_options.debug
def run(config: str, spans: tuple[int, ...], overrides: dict[str, Any], debug: bool) -> None:
    """Runs a pipeline on this machine.

    What was done before with the same inputs and settings is taken from the cache; a training that was
    interrupted goes on from its last checkpoint.

    \b
    Examples:
      albert pipeline run --config configs/pipelines/demo.yaml
      albert pipeline run --config my.yaml --span 1 --span 2
      albert pipeline run --config my.yaml --set training.max_steps=100
    """
    from albert_model.errors import InputError
    from pipeline import local_runner
    from pipeline.settings import load_settings

    # As Ctrl-C, so that the terminal is put right and the last words are said.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = load_settings(config, overrides)
        local_runner.run([settings.with_span(span) for span in spans] or [settings])
    except InputError as error:
        if debug:
            raise
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on where this one stopped.", err=True)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        raise click.ClickException(
            f"{local_runner.last_line(error)}\n"
            "This should not happen. The log (run.log in the pipeline's root) has the details; --debug shows them here."
        ) from None


@pipeline.command("settings")
def show_settings() -> None:
    """Lists every key of a pipeline's YAML file: type, default, meaning (Markdown)."""
    from pipeline.settings import PipelineSettings
    from pipeline.settings_reference import reference

    click.echo(reference(PipelineSettings))


if __name__ == "__main__":
    main()
