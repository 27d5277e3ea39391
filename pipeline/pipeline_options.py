"""Options that several commands on a pipeline share. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

import click


def _overrides(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    overrides = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{value!r} should be KEY=VALUE, such as training.max_steps=100")
        try:
            overrides[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"{text!r}, the value of {key}, is not YAML") from error
    return overrides


config = click.option("--config", required=True, metavar="FILE", help="The pipeline's YAML file.")
overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_overrides,
    help="Goes before the file's value; the key is dotted.",
)
span = click.option("--span", type=int, metavar="N", help="Span to train on, in place of the settings'.")
cloud_target = click.option(
    "--target",
    type=click.Choice(["vertex", "kfp"]),
    required=True,
    help="Vertex AI, or open-source Kubeflow Pipelines.",
)
debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")
