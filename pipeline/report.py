"""What a run came to, and the table of it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.table
import tensorflow_model_analysis as tfma

from components import evaluation_module, manifests
from components.model_layout import package_folder
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
      all_cached: every component found its result in the cache, so that nothing was trained or pushed.
    """

    span: int
    start: str
    documents: int
    train_examples: int
    eval_examples: int
    tokens_per_second: float
    before: dict[str, float] | None
    after: dict[str, float]
    verdict: str
    pushed_to: str | None
    gone: str | None
    all_cached: bool


def summarize_run(lineage: Lineage, run_id: str) -> RunSummary:
    """Reads the summary of a complete run from its artifacts."""
    nodes = lineage.nodes(run_id)
    trainer, evaluator = nodes["Trainer"], nodes["Evaluator"]
    training = json.loads(Path(package_folder(trainer.outputs["model"].uri), manifests.TRAINING).read_text())
    examples = manifests.read(nodes["PretrainingExampleGen"].outputs["examples"].uri)
    baseline = evaluator.inputs.get("baseline_model")
    after = _figures(evaluator, evaluation_module.CANDIDATE if baseline else "")
    before = _figures(evaluator, evaluation_module.BASELINE) if baseline else None
    pusher = nodes["EncoderPusher"]
    pushed = pusher.outputs["pushed_model"].custom_properties
    version = pushed["pushed_destination"].string_value if pushed["pushed"].int_value else None
    versions = lineage.pushed_versions()
    compared_with = f"version {versions.get(baseline.id, '?')}" if baseline else ""
    return RunSummary(
        span=nodes["DocumentGen"].outputs["examples"].custom_properties["span"].int_value,
        start=_start(nodes, versions),
        documents=examples["documents"],
        train_examples=examples["train_examples"],
        eval_examples=examples["eval_examples"],
        tokens_per_second=training["last_interval"]["tokens_per_second"],
        before=before,
        after=after,
        verdict=_verdict(evaluator, compared_with, after, before),
        pushed_to=None if pusher.state == "CACHED" else version,
        gone=version if version and not os.path.isdir(version) else None,
        all_cached=all(node.state == "CACHED" for node in nodes.values() if not node.is_resolver),
    )


def _start(nodes: dict[str, NodeRun], versions: dict[int, str]) -> str:
    inputs = nodes["InitialModel"].inputs
    if blessed := inputs.get("blessed_model"):
        return f"version {versions.get(blessed.id, '?')}"
    if converted := inputs.get("converted_model"):
        return manifests.read(converted.uri)["source"]
    return "scratch"


def _figures(evaluator: NodeRun, model: str) -> dict[str, float]:
    """Figures of a model over all domains."""
    result = tfma.load_eval_result(evaluator.outputs["evaluation"].uri, model_name=model)
    (overall,) = (metrics for slice_key, metrics in result.slicing_metrics if slice_key == ())
    return {name: value["doubleValue"] for name, value in overall[""][""].items() if "doubleValue" in value}


def _verdict(evaluator: NodeRun, compared_with: str, after: dict[str, float], before: dict[str, float] | None) -> str:
    result = tfma.load_validation_result(evaluator.outputs["evaluation"].uri)
    accuracy = after["mlm_accuracy"]
    for failure in (f for slice_result in result.metric_validations_per_slice for f in slice_result.failures):
        threshold = failure.metric_threshold
        if threshold.HasField("value_threshold"):
            floor = threshold.value_threshold.lower_bound.value
            return f"not blessed: MLM accuracy {accuracy:.2%} is below the floor of {floor:.2%}"
        needed = threshold.change_threshold.absolute.value
        gain = accuracy - before["mlm_accuracy"] if before else 0.0
        return f"not blessed: MLM accuracy {_points(gain)} against {compared_with}, should be {_points(needed)} or more"
    if before is None:
        return "blessed: above the floor, no version to compare with"
    return f"blessed: MLM accuracy {_points(accuracy - before['mlm_accuracy'])} against {compared_with}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points"


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
        "verdict": lambda s: f"all cached; {s.verdict}" if s.all_cached else s.verdict,
        "pushed": lambda s: _version(s.pushed_to) if s.pushed_to else "nothing",
    }
    for name, cell in rows.items():
        made.add_row(name, *(cell(summary) for summary in summaries))
    return made


def _speed(tokens_per_second: float) -> str:
    return f"{tokens_per_second:,.0f}" if tokens_per_second else "(trained before)"


def pushed_encoders(summaries: Sequence[RunSummary]) -> list[str]:
    """A line for each version that the runs pushed: where it lies."""
    return [f"{_version(s.pushed_to)}: {s.pushed_to}" for s in summaries if s.pushed_to]


def _version(folder: str) -> str:
    return f"version {os.path.basename(folder)}"


def _change(summary: RunSummary, figure: str) -> str:
    after = f"{summary.after[figure]:.1%}"
    return f"{summary.before[figure]:.1%} → {after}" if summary.before else after
