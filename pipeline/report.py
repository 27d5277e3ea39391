"""What a run came to, and the table of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import rich.markup
import rich.table
import tensorflow as tf

from albert_model.evaluation import verdict
from albert_model.evaluation.verdict import THE_MODEL_BEFORE
from components import manifests
from pipeline.lineage import Lineage, NodeRun


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes:
      start: "scratch", the version that training started from, or the weights that were converted for it.
      before, after: figures on the held-out text, of the model compared with and of the new one.
      verdict: why the model was blessed, or why not.
      pushed_to: the folder of the version that this run pushed; None if it pushed nothing.
      gone: the folder of a version that an earlier run pushed and that is there no more.
      report: the page about the run.
      all_cached: every component found its result in the cache, so that nothing was trained or pushed.
    """

    span: int
    start: str
    documents: int
    train_examples: int
    eval_examples: int
    tokens_per_second: float
    before: dict[str, float | None] | None
    after: dict[str, float | None]
    verdict: str
    pushed_to: str | None
    gone: str | None
    report: str
    all_cached: bool


def summarize_run(lineage: Lineage, run_id: str) -> RunSummary:
    """Reads the summary of a complete run from its artifacts."""
    nodes = lineage.nodes(run_id)
    trainer, evaluator = nodes["Trainer"], nodes["Evaluator"]
    training = manifests.read_training(trainer.outputs["model"].uri)
    examples = manifests.read(nodes["PretrainingExampleGen"].outputs["examples"].uri)
    judged = _verdict(evaluator)
    on_this_text = judged["texts"][0]
    pusher = nodes["EncoderPusher"]
    pushed = pusher.outputs["pushed_model"].custom_properties
    version = pushed["pushed_destination"].string_value if pushed["pushed"].int_value else None
    versions = lineage.pushed_versions()
    return RunSummary(
        span=nodes["DocumentGen"].outputs["examples"].custom_properties["span"].int_value,
        start=_start(nodes, versions),
        documents=examples["documents"],
        train_examples=examples["train_examples"],
        eval_examples=examples["eval_examples"],
        tokens_per_second=training["last_interval"]["tokens_per_second"],
        before=_values(on_this_text["baseline"]) if on_this_text["baseline"] else None,
        after=_values(on_this_text["candidate"]),
        verdict=_with_version(judged["summary"], evaluator, versions),
        pushed_to=version if pusher.state != "CACHED" and pushed["is_new"].int_value else None,
        gone=version if version and not tf.io.gfile.isdir(version) else None,
        report=os.path.join(nodes["Report"].outputs["report"].uri, "report.html"),
        all_cached=all(node.state == "CACHED" for node in nodes.values() if not node.is_resolver),
    )


def _start(nodes: dict[str, NodeRun], versions: dict[int, str]) -> str:
    inputs = nodes["InitialModel"].inputs
    if blessed := inputs.get("blessed_model"):
        return f"version {versions.get(blessed.id, '?')}"
    if converted := inputs.get("converted_model"):
        return manifests.read(converted.uri)["source"]
    return "scratch"


def _verdict(evaluator: NodeRun) -> dict[str, Any]:
    return manifests.read_json(evaluator.outputs["evaluation"].uri, verdict.FILE_NAME)


def _with_version(summary: str, evaluator: NodeRun, versions: dict[int, str]) -> str:
    """What people know a model by is the version that it was pushed as."""
    baseline = evaluator.inputs.get("baseline_model")
    version = versions.get(baseline.id) if baseline else None
    return summary.replace(THE_MODEL_BEFORE, f"version {version}") if version else summary


def _values(figures: dict[str, Any]) -> dict[str, float | None]:
    return {name: interval and interval["value"] for name, interval in figures.items()}


def table(summaries: Sequence[RunSummary]) -> rich.table.Table:
    """One column a run: people compare down the rows, and narrow terminals fit more rows than columns."""
    made = rich.table.Table(title="Runs", title_justify="left", show_lines=False)
    made.add_column("")
    for summary in summaries:
        made.add_column(f"span {summary.span}", overflow="fold")
    rows: dict[str, Any] = {
        "starts from": lambda s: s.start,
        "documents": lambda s: f"{s.documents:,}",
        "examples": lambda s: f"{s.train_examples:,}",
        "held out": lambda s: f"{s.eval_examples:,}",
        "tokens/s": lambda s: "(cached)" if s.all_cached else _speed(s.tokens_per_second),
        "MLM accuracy": lambda s: _change(s, "mlm_accuracy"),
        "SOP accuracy": lambda s: _change(s, "sop_accuracy"),
        "bits/character": lambda s: _change(s, "bits_per_character", "{:.2f}"),
        "verdict": lambda s: f"all cached; {s.verdict}" if s.all_cached else s.verdict,
        "pushed": lambda s: _version(s.pushed_to) if s.pushed_to else "nothing",
    }
    for name, cell in rows.items():
        made.add_row(name, *(rich.markup.escape(cell(summary)) for summary in summaries))
    return made


def _speed(tokens_per_second: float) -> str:
    return f"{tokens_per_second:,.0f}" if tokens_per_second else "(trained before)"


def places(summaries: Sequence[RunSummary]) -> list[str]:
    """A line for each version that the runs pushed, and for each run's report: where it lies."""
    versions = [f"{_version(s.pushed_to)}: {s.pushed_to}" for s in summaries if s.pushed_to]
    reports = {s.report: f"report of span {s.span}: {s.report}" for s in summaries}
    return [*versions, *reports.values()]


def _version(folder: str) -> str:
    return f"version {os.path.basename(folder)}"


def _change(summary: RunSummary, figure: str, form: str = "{:.1%}") -> str:
    values = [figures[figure] for figures in (summary.before, summary.after) if figures]
    return " → ".join("–" if value is None else form.format(value) for value in values)
