# No `from __future__ import annotations`: TFX reads the annotations of components.
from pathlib import Path

import pytest
from tfx import v1 as tfx
from tfx.types.standard_artifacts import Examples, ExampleStatistics

from components.statistics_before import StatisticsBefore
from tests.components.local import run_components


@tfx.dsl.components.component
def MakeExamples(examples: tfx.dsl.components.OutputArtifact[Examples], text: tfx.dsl.components.Parameter[str]):
    examples.set_string_custom_property("documents_fingerprint", text)


@tfx.dsl.components.component
def MakeStatistics(
    examples: tfx.dsl.components.InputArtifact[Examples],
    statistics: tfx.dsl.components.OutputArtifact[ExampleStatistics],
    of_transform: tfx.dsl.components.OutputArtifact[ExampleStatistics],
):
    statistics.split_names = '["train", "eval"]'
    for made in (statistics, of_transform):
        folder = Path(made.uri, "Split-train")
        folder.mkdir(parents=True)
        (folder / "FeatureStats.pb").write_bytes(b"")


@tfx.dsl.components.component
def Look(
    looked: tfx.dsl.components.OutputArtifact[Examples],
    previous: tfx.dsl.components.InputArtifact[ExampleStatistics] = None,
):
    """Takes what was found, if there is something."""


@pytest.fixture
def run(tmp_path):
    """Runs a pipeline on a text; gives the statistics that it made, and those that it found."""

    def run(text: str) -> tuple:
        examples = MakeExamples(text=text)
        made = MakeStatistics(examples=examples.outputs["examples"])
        resolver = tfx.dsl.Resolver(
            strategy_class=StatisticsBefore,
            statistics=tfx.dsl.Channel(type=ExampleStatistics),
            reference=made.outputs["statistics"],
        ).with_id("StatisticsResolver")
        look = Look(previous=resolver.outputs["statistics"])
        nodes = run_components(tmp_path, [examples, made, resolver, look])
        return nodes["MakeStatistics"].outputs["statistics"], nodes["Look"].inputs.get("previous")

    return run


def test_newest_statistics_of_another_text(run):
    first, before_first = run("a")
    assert before_first is None
    second, before_second = run("b")
    assert before_second.id == first.id
    _, before_repeated = run("b")
    assert before_repeated.id == first.id
    _, before_third = run("c")
    assert before_third.id > second.id  # the repeated ones of b


def test_statistics_that_are_gone_are_left_out(run):
    first, _ = run("a")
    second, _ = run("b")
    Path(second.uri, "Split-train", "FeatureStats.pb").unlink()
    assert run("c")[1].id == first.id
