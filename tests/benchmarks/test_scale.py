import argparse
import re

import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks import scale, scale_rates
from components import beam_options
from pipeline.cloud.settings import CloudSettings
from tests.demo import ROOT


def plans(*words):
    arguments = scale.parse(words)
    return [scale.plan(case, arguments) for case in scale.cases_of(arguments)]


def test_hours_are_bytes_by_rates():
    (plan,) = plans(
        *("--text", "36GB", "--held-out", "4MB", "--cores", "8", "--copies", "3", "--near-duplicates", "--models", "1"),
        *("--documents", "10", "--near-duplicates-rate", "5", "--first-copy", "20", "--next-copy", "40"),
        *("--statistics", "30", "--transform", "15", "--bytes-per-token", "4", "--evaluation", "1000"),
    )
    assert {name: round(hours, 6) for name, hours in plan.core_hours.items()} == {
        "DocumentGen": 1.0,
        "near duplicates": 2.0,
        "PretrainingExampleGen": 0.5 + 2 * 0.25,
        "StatisticsGen": 1.0,
        "Transform": 2.0,
        "Evaluator": round(1e6 / 1000 / 3600, 6),
    }


def test_training_is_the_known_arithmetic_of_base():
    """568 MFLOP a token; half of it is padding."""
    (plan,) = plans("--text", "4GB", "--held-out", "1MB", "--cores", "8", "--bytes-per-token", "4", "--padding", "0.5")
    assert plan.gpu_hours == pytest.approx(2e9 * 568e6 / (989e12 * 0.4) / 3600, rel=1e-3)
    assert plan.hours_on_eight == pytest.approx(plan.gpu_hours / 7.6)
    assert plan.numbers["steps of 4096 examples"] == pytest.approx(2e9 / 512 / 4096)


def test_shuffle_grows_with_the_text_not_with_its_square():
    small, large = (plan.numbers["rows through the shuffle"] for plan in plans("--text", "1TB", "10TB", "--cores", "9"))
    assert 10 < large / small < 12


def test_what_is_given_once_counts_for_all_and_other_numbers_of_values_are_refused():
    arguments = scale.parse(["--text", "1GB", "2GB", "--held-out", "1MB", "--cores", "4", "8"])
    assert scale.cases_of(arguments) == [scale.Case(1e9, 1e6, 4), scale.Case(2e9, 1e6, 8)]
    arguments.cores = [1, 2, 3]
    with pytest.raises(SystemExit, match="as many as --text has"):
        scale.cases_of(arguments)


@pytest.mark.parametrize("text", ["1", "GB", "1.2.3GB", "5 XB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        scale.size(text)


def test_prices_add_rows(capsys):
    words = ["--text", "1GB", "--held-out", "1MB", "--cores", "8"]
    scale.main(words)
    plain = capsys.readouterr().out
    scale.main([*words, "--core-hour-price", "100", "--gpu-hour-price", "1000"])
    priced = capsys.readouterr().out
    assert "at 100 a core and hour" in priced
    assert "at 1000 a GPU and hour" in priced
    total = next(float(re.findall(r"[\d.]+", line)[-1]) for line in plain.splitlines() if "│ all " in line)
    price = next(float(re.findall(r"[\d.]+", line)[-1]) for line in priced.splitlines() if "at 100" in line)
    assert price == pytest.approx(100 * total, rel=0.01)


def test_rates_are_slopes_between_two_sizes():
    """What a job does once drops out."""
    small = {"text": 1e6, "tokens": 2.5e5, "padding": 0.1, "document_bytes": 1e6, "example_bytes": 5e5, **_seconds(1)}
    large = {"text": 3e6, "tokens": 7.5e5, "padding": 0.2, "document_bytes": 3e6, "example_bytes": 1.5e6, **_seconds(3)}
    rates = scale_rates.rates(small, large)
    assert rates["documents"] == pytest.approx(2.0)
    assert rates["near-duplicates-rate"] == pytest.approx(4.0)
    assert rates["first-copy"] == pytest.approx(1.0)
    assert rates["next-copy"] == pytest.approx(4.0)
    assert (rates["bytes-per-token"], rates["padding"], rates["example-bytes"]) == (4.0, 0.2, 0.5)
    named = {name for name, _, _ in scale._RATES}
    assert rates.keys() == named - {"evaluation", "document-size"}


def _seconds(megabytes):
    by_megabyte = {"DocumentGen": 0.5, "NearDuplicates": 0.75, "ExamplesOnce": 1.0, "ExamplesTwice": 1.25}
    by_megabyte |= {"StatisticsGen": 0.1, "Transform": 0.2}
    return {name: 7 + megabytes * seconds for name, seconds in by_megabyte.items()}


def test_the_page_shows_what_the_program_prints(capsys):
    scale.main([])
    printed = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    page = " ".join((ROOT / "docs" / "scale.md").read_text().split())
    assert [line for line in printed if line not in page] == []


def test_the_options_on_the_page_are_settings_and_options():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scale.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    runners = []
    for block in blocks:
        settings = CloudSettings.model_validate(yaml.safe_load(block)["cloud"] | {"image": "albert-pipeline:0.1.0"})
        assert settings.beam_args is not None
        options = PipelineOptions(beam_options.for_components(settings.beam_args)).get_all_options()
        assert options["sdk_container_image"]
        runners.append(options["runner"])
    assert runners == ["DataflowRunner", "PortableRunner"]
