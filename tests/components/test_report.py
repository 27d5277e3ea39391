from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest
from tfx import v1 as tfx
from tfx.types import standard_artifacts

import tensorflow_data_validation as tfdv  # isort: skip  (not before tfx)
from tensorflow_metadata.proto.v0 import anomalies_pb2

from albert_model.errors import InputError
from albert_model.evaluation.scores import Interval
from albert_model.evaluation.verdict import NO_BASELINE, Rule, TextFigures, Verdict
from components import artifacts as own
from components import manifests
from components.model_layout import package_folder
from components.report import executor, training
from components.report.component import Report
from tests.components.local import run_components

HOSTILE = "<script>alert('x')</script>"
MATHS = "$\\frac{1}$"
_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _interval(value: float, width: float) -> dict:
    return {"value": value, "low": value - width, "high": value + width}


def _text(text: str, domain: str | None, gain: float, has_baseline: bool = True) -> dict:
    difference = {"mlm_accuracy": _interval(gain, 0.01), "sop_accuracy": None}
    return {
        "text": text,
        "domain": domain,
        "documents": 41,
        "examples": 315,
        "candidate": {"mlm_accuracy": _interval(0.18 + gain, 0.01), "perplexity": _interval(120, 5)},
        "baseline": {"mlm_accuracy": _interval(0.18, 0.01), "perplexity": None} if has_baseline else None,
        "difference": difference if has_baseline else None,
    }


def _verdict(blessed: bool = True, has_baseline: bool = True) -> dict:
    return {
        "format_version": 1,
        "blessed": blessed,
        "summary": "blessed or not",
        "rules": [
            {"name": "floor", "passed": True, "said": "18.00% is not below the floor"},
            {"name": "gain", "passed": blessed, "said": "MLM accuracy +2.13 points"},
            {"name": "forgetting", "passed": True, "said": "remembered"},
        ],
        "confidence": 0.95,
        "comparison": "same predictions" if has_baseline else "no baseline",
        "baseline": "/runs/model/10" if has_baseline else None,
        "texts": [
            _text("this text", None, 0.0213, has_baseline),
            _text("this text", HOSTILE, -0.02, has_baseline),
            _text("this text", MATHS, 0.001, has_baseline),
        ],
        "probe": None,
    }


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _statistics(folder: Path, domains: list[str], length: int) -> None:
    frame = pandas.DataFrame({"domain": domains, "segment_a_length": range(length, length + len(domains))})
    for split in ("train", "eval"):
        path = folder / f"Split-{split}" / "FeatureStats.pb"
        path.parent.mkdir(parents=True)
        path.write_bytes(tfdv.generate_statistics_from_dataframe(frame).SerializeToString())


@pytest.fixture
def run(tmp_path) -> dict:
    """The artifacts of a run, each with its files."""
    types = {
        "documents": standard_artifacts.Examples,
        "examples": standard_artifacts.Examples,
        "statistics": standard_artifacts.ExampleStatistics,
        "previous_statistics": standard_artifacts.ExampleStatistics,
        "schema": standard_artifacts.Schema,
        "anomalies": standard_artifacts.ExampleAnomalies,
        "model": standard_artifacts.Model,
        "model_run": standard_artifacts.ModelRun,
        "evaluation": standard_artifacts.ModelEvaluation,
        "blessing": standard_artifacts.ModelBlessing,
        "probe": own.ProbeResult,
        "infra_blessing": standard_artifacts.InfraBlessing,
        "pushed_model": standard_artifacts.PushedModel,
    }
    made = {name: kind() for name, kind in types.items()}
    for name, artifact in made.items():
        artifact.uri = str(tmp_path / name)
        Path(artifact.uri).mkdir()
    made["examples"].mlmd_artifact.create_time_since_epoch = 1_700_000_000_000
    made["model"].mlmd_artifact.create_time_since_epoch = 1_700_000_090_000
    _write_data(tmp_path, made)
    _write_model(tmp_path, made)
    made["pushed_model"].set_int_custom_property("pushed", 1)
    made["pushed_model"].set_string_custom_property("pushed_version", "7")
    made["pushed_model"].set_string_custom_property("pushed_destination", "/encoders/7")
    return made


def _write_data(folder: Path, made: dict) -> None:
    read = {"files": 2, "sentences": 5000, "text_bytes": 2_000_000}
    counts = {"documents": 300, "train_documents": 250, "eval_documents": 50, "read": read}
    manifests.write(
        made["documents"], counts | {"dropped": {"duplicate_documents": 3}, "settings": {"pattern": "*.txt"}}
    )
    counts = {"examples": 900, "train_examples": 800, "documents": 300, "tokens": 50_000, "padding_share": 0.2}
    manifests.write(made["examples"], counts | {"lengths": {"64": 700, "32": 200}, "dropped": {"empty_documents": 1}})
    _statistics(folder / "statistics", [HOSTILE] * 3 + ["law"], 20)
    _statistics(folder / "previous_statistics", ["law"] * 4, 20)
    schema = tfdv.infer_schema(tfdv.load_stats_binary(str(folder / "statistics" / "Split-train" / "FeatureStats.pb")))
    tfdv.write_schema_text(schema, str(folder / "schema" / "schema.pbtxt"))
    for split in ("train", "eval"):
        found = anomalies_pb2.Anomalies()
        if split == "train":
            found.anomaly_info["domain"].description = f"Unexpected value: {HOSTILE}"
        (folder / "anomalies" / f"Split-{split}").mkdir()
        (folder / "anomalies" / f"Split-{split}" / "SchemaDiff.pb").write_bytes(found.SerializeToString())


def _write_model(folder: Path, made: dict) -> None:
    package = Path(package_folder(made["model"].uri))
    start = {"source": "blessed model", "model_uri": "/runs/model/10"}
    trained = {"start": start, "steps": 1200, "tokenizer_fingerprint": "abc", "training": {"batch_size": 32}}
    _write_json(package / manifests.TRAINING, trained | {"last_interval": {"tokens_per_second": 20000.0}})
    _write_json(package / "config.json", {"hidden_size": 128})
    lines = [
        {"split": split, "step": step, "mlm_loss": 6 - step / 400, "mlm_accuracy": step / 4000, "sop_loss": None}
        for step in (0, 200, 400)
        for split in ("train", "eval")
    ]
    written = "\n".join(map(json.dumps, [*lines, lines[-1] | {"mlm_loss": 4.5}])) + '\n{"split": "tr'
    (folder / "model_run" / "metrics.jsonl").write_text(written)
    _write_json(folder / "evaluation" / "verdict.json", _verdict())
    side = {"accuracies": [0.8, 0.82], "mean": 0.81, "spread": 0.014}
    probe = {"settings": {"epochs": 3}, "labels": ["a", "b"], "train_examples": 80, "test_examples": 20}
    _write_json(folder / "probe" / "probe.json", probe | {"candidate": side, "baseline": None})
    checks = [
        {"name": "saved_model", "passed": True, "said": "computes the same", "seconds": 3.5},
        {"name": "huggingface", "passed": None, "said": "transformers is not installed", "seconds": None},
    ]
    _write_json(folder / "infra_blessing" / "export_check.json", {"passed": True, "checks": checks})


class _Words(HTMLParser):
    """The text of a page, its tags, and whether tags are closed in order."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.said.append(data)


def test_page_of_a_whole_run(run):
    page = executor.page(run, json.dumps({"name": "manual", "training": {"batch_size": 32, "more": {"deep": True}}}))
    words = _Words(page)
    assert words.open == []
    for said in (
        "manual",
        "Blessed, pushed as version 7",
        "gain: MLM accuracy +2.13 points",
        "/encoders/7",
        "18.00%",
        "300 documents: 250 to train on, 50 held out; 5,000 sentences, 2.0 MB of text in 2 files",
        "duplicate documents 3",
        "share of a domain, largest change 0.7500",
        "saved_model · 3.5 s computes the same",
        "81.0%",
        "blessed model",
        "more.deep true",
        "Trainer 1 min 30 s 2023-11-14 22:14:50",
        "1 line(s) of the file could not be read",
    ):
        assert said in words.text, said
    assert words.text.index("Blessed") < words.text.index("Figures on held-out") < words.text.index("decided")
    assert words.tags.count("svg") >= 5
    assert "left out" not in words.text
    assert executor.page(run, "") == executor.page(run, "")


def test_page_needs_nothing_else_and_runs_nothing(run):
    page = executor.page(run, "")
    words = _Words(page)
    assert not {"script", "link", "img", "iframe", "object", "image", "foreignobject"} & set(words.tags)
    assert "http" not in page.replace("http-equiv", "")
    assert HOSTILE not in page
    assert words.text.count(HOSTILE) >= 3  # domain tables, anomaly, figures
    assert MATHS in words.text
    assert not re.search(r'(href|src)="(?!#)', page)


def test_page_of_an_evaluation_alone(run):
    path = Path(run["evaluation"].uri, "verdict.json")
    path.write_text(json.dumps(_verdict(blessed=False, has_baseline=False)))
    words = _Words(executor.page({"evaluation": run["evaluation"]}, ""))
    assert "Not blessed" in words.text
    assert "Nothing was pushed" in words.text
    assert "There is no model before this one" in words.text
    for part in ("Learning curves", "Documents", "Examples", "Domains", "Drift", "Validation", "Schema", "Probe"):
        assert re.search(rf"{part}[^.]*: left out, as the run has no", words.text), part
    assert "No artifact of the run names settings" in words.text


def test_first_rule_that_failed_decided(run):
    verdict = _verdict(blessed=False)
    verdict["rules"].insert(1, {"name": "floor of SOP", "passed": False, "said": "40.00% is below the floor"})
    Path(run["evaluation"].uri, "verdict.json").write_text(json.dumps(verdict))
    assert "Not blessed floor of SOP: 40.00% is below" in _Words(executor.page(run, "")).text


def test_blessed_model_whose_export_failed_is_told_of(run):
    checks = [{"name": "saved_model", "passed": False, "said": "differs by 0.3", "seconds": 1.0}]
    _write_json(Path(run["infra_blessing"].uri, "export_check.json"), {"passed": False, "checks": checks})
    words = _Words(executor.page(run, ""))
    assert "Blessed, not pushed" in words.text
    assert "differs by 0.3" in words.text


@pytest.mark.parametrize(
    "file",
    [
        "documents/manifest.json",
        "examples/manifest.json",
        "statistics/Split-train/FeatureStats.pb",
        "previous_statistics/Split-train/FeatureStats.pb",
        "anomalies/Split-train/SchemaDiff.pb",
        "schema/schema.pbtxt",
        "model_run/metrics.jsonl",
        "infra_blessing/export_check.json",
        "probe/probe.json",
    ],
)
@pytest.mark.parametrize("content", [b'{"documents": [', b"\xff\xfe\x00", None])
def test_broken_file_leaves_a_gap_with_a_word(run, tmp_path, file, content):
    path = tmp_path / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    text = _Words(executor.page(run, "")).text
    assert "left out, as it cannot be read" in text
    assert "pushed as version 7" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "verdict.json is not there"),
        ("{", "is not JSON"),
        ("{}", "format_version"),
        (json.dumps(_verdict() | {"format_version": 2}), "format_version"),
        (json.dumps(_verdict() | {"texts": [1]}), r"texts\.0"),
    ],
)
def test_broken_verdict_is_an_error_and_writes_nothing(run, tmp_path, content, message):
    path = Path(run["evaluation"].uri, "verdict.json")
    path.unlink()
    if content is not None:
        path.write_text(content)
    report = own.Report()
    report.uri = str(tmp_path / "report")
    with pytest.raises(InputError, match=message):
        executor.write(report, run, "")
    assert not (tmp_path / "report").exists()


def test_reads_what_the_evaluator_writes(run):
    interval = Interval(0.18, 0.17, 0.19)
    figures = {"mlm_accuracy": interval, "sop_accuracy": None}
    texts = (TextFigures("this text", None, 41, 315, figures, None, None),)
    rules = (Rule("floor of MLM accuracy", True, "18.00% is not below the floor"),)
    verdict = Verdict(True, "blessed: above the floors", rules, 0.95, NO_BASELINE, None, texts, None)
    Path(run["evaluation"].uri, "verdict.json").write_text(verdict.to_json())
    text = _Words(executor.page(run, "")).text
    assert "floor of MLM accuracy: 18.00% is not below the floor" in text
    assert "18.00% 17.00 to 19.00%" in text


def test_figures_that_are_no_numbers_are_left_out(run):
    verdict = _verdict()
    verdict["texts"][0]["candidate"]["mlm_loss"] = {"value": float("nan"), "low": None, "high": float("inf")}
    verdict["texts"][0]["candidate"]["sop_accuracy"] = {"value": 0.5, "low": None, "high": None}
    Path(run["evaluation"].uri, "verdict.json").write_text(json.dumps(verdict))
    text = _Words(executor.page(run, "")).text
    assert "nan" not in text.lower().split()
    assert "50.00%" in text


def test_curves_of_a_training_that_was_resumed(run):
    lines = [("train", 1, 9.0), ("eval", 0, 7.0), ("train", 100, 6.0), ("train", 200, 5.5), ("train", 100, 6.1)]
    written = [json.dumps({"split": split, "step": step, "mlm_loss": loss}) for split, step, loss in lines]
    path = Path(run["model_run"].uri, "metrics.jsonl")
    path.write_text("\n".join([*written, '{"split": "other", "step": 1}', "7", '{"split"']))
    curves = training.curves(run)
    assert curves.of == {"mlm_loss": {"held out": [(0, 7.0)], "training": [(100, 6.1), (200, 5.5)]}}
    assert curves.unreadable == 3
    path.write_text(written[0])
    assert training.curves(run).of == {"mlm_loss": {"training": [(1, 9.0)]}}


def test_plot_of_many_domains_has_the_largest(run):
    verdict = _verdict()
    more = [_text("this text", f"domain {n}", 0.01) | {"examples": n} for n in range(1000)]
    Path(run["evaluation"].uri, "verdict.json").write_text(json.dumps(verdict | {"texts": [*verdict["texts"], *more]}))
    page = executor.page(run, "")
    plots = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "domain 999<" in plots
    assert "domain 900<" not in plots
    assert "domain 900<" in page
    assert "domain 500<" not in page
    assert "803 smaller domains are left out" in page


def test_component_writes_the_page(run, tmp_path):
    """Through LocalDagRunner, with the optional inputs that are there."""
    imported = {
        name: tfx.dsl.Importer(source_uri=run[name].uri, artifact_type=type(run[name])).with_id(name)
        for name in ("evaluation", "model_run", "probe")
    }
    report = Report(**{name: importer.outputs["result"] for name, importer in imported.items()}, settings="")
    nodes = run_components(tmp_path / "root", [*imported.values(), report])
    written = Path(nodes["Report"].outputs["report"].uri)
    assert [path.name for path in written.iterdir()] == ["report.html"]
    text = _Words((written / "report.html").read_text()).text
    assert "Learning curves" in text
    assert "Documents: left out, as the run has no documents." in text


# === In a browser ===

# A window of the browser is wider than a phone, a frame need not be.
_FRAME = '<!doctype html><title></title><iframe style="border:0" width="{width}" height="844" srcdoc="{page}"></iframe>'
_MEASURE = """<script>addEventListener("load", () => parent.document.title = JSON.stringify({
  page: document.documentElement.scrollWidth, window: innerWidth,
  cut: [...document.querySelectorAll("main *")].filter(e => !e.closest(".box,svg")
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80)),
}))</script>"""


@pytest.mark.skipif(_CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_the_window(run, tmp_path, width):
    verdict = _verdict()
    verdict["texts"].append(_text("this text", "a-domain-with-a-name-that-has-no-end-" * 5, 0.01))
    Path(run["evaluation"].uri, "verdict.json").write_text(json.dumps(verdict))
    page = executor.page(run, json.dumps({"name": "n" * 60, "corpus": {"path": "/a" * 200}}))
    # What measures is a script, which the page itself forbids.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    page = page.replace("<details>", "<details open>").replace("</body>", f"{_MEASURE}</body>")
    measured = tmp_path / "measured.html"
    measured.write_text(_FRAME.format(width=width, page=html.escape(page)))
    figures = json.loads(_title_in_browser(tmp_path, measured))
    assert figures["window"] == width
    assert figures["page"] <= width, figures
    assert figures["cut"] == []


def _title_in_browser(folder: Path, page: Path) -> str:
    command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'browser'}", "--window-size=1400,900", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return html.unescape(re.findall("<title>(.*?)</title>", done.stdout)[0])
