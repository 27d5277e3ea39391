"""What TFMA adds up: the outputs of a model's `evaluate` signature, overall and per domain."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from tfx import v1 as tfx  # noqa: F401  (before tensorflow_model_analysis, which is incomplete otherwise)

import tensorflow_model_analysis as tfma  # isort: skip

from albert_model.evaluation.scores import REPLICATES, SUMS, Scores, document_weights, figures, row_of
from components.evaluator.distinct import Distinct
from components.trainer_module import EVALUATE_SIGNATURE

DOMAIN_FEATURE = "domain"
_DOCUMENT_FEATURE = "document_id"
_SUMS, _DOCUMENTS, _EXAMPLES = "sums", "documents", "examples"


def eval_config() -> tfma.EvalConfig:
    """Of one model. Nothing is judged here: the rules are `albert_model.evaluation.verdict`."""
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=EVALUATE_SIGNATURE, model_type="tf_generic")],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[DOMAIN_FEATURE])],
        metrics_specs=[
            tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name=PretrainingScores.__name__, module=__name__)])
        ],
    )


def load_scores(folder: str) -> dict[str | None, Scores]:
    """What `PretrainingScores` wrote: by domain, and of all text under None."""
    scores: dict[str | None, Scores] = {}
    for slice_key, metrics in tfma.load_eval_result(folder).slicing_metrics:
        values = metrics[""][""]
        array = values[_SUMS]["arrayValue"]
        sums = np.array(array["float64Values"], np.float64).reshape([int(size) for size in array["shape"]])
        counts = (round(values[name]["doubleValue"]) for name in (_DOCUMENTS, _EXAMPLES))
        scores[slice_key[0][1] if slice_key else None] = Scores(sums, *counts)
    return scores


class PretrainingScores(tfma.metrics.Metric):
    """`sums`, `documents` and `examples` of `Scores`; and the figures of all text, for TFMA's own views."""

    def __init__(self, name: str = "pretraining"):
        super().__init__(_computations, name=name)


def _computations(name: str, **_: Any) -> list[tfma.metrics.MetricComputation]:
    features = tfma.metrics.FeaturePreprocessor(feature_keys=[_DOCUMENT_FEATURE])
    keys = [_key(name) for name in (_SUMS, _DOCUMENTS, _EXAMPLES, *figures(np.zeros((1, len(SUMS)))))]
    return [tfma.metrics.MetricComputation(keys=keys, preprocessors=[features], combiner=_SumExamples())]


Accumulator = tuple[np.ndarray, Distinct, int]


class _SumExamples(beam.CombineFn):
    """Adds up examples, each as often as its document counts in each replicate."""

    def create_accumulator(self) -> Accumulator:
        return np.zeros((1 + REPLICATES, len(SUMS))), Distinct(), 0

    def add_input(self, accumulator: Accumulator, element: Any) -> Accumulator:
        sums, documents, examples = accumulator
        document_id = np.ravel(element.get_features()[_DOCUMENT_FEATURE])[0].decode()
        sums += np.outer(_weights_of(document_id), row_of(element.get_predictions()))
        documents.add(document_id)
        return sums, documents, examples + 1

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        sums, documents, examples = self.create_accumulator()
        for other_sums, other_documents, other_examples in accumulators:
            sums += other_sums
            documents.update(other_documents)
            examples += other_examples
        return sums, documents, examples

    def extract_output(self, accumulator: Accumulator) -> dict[tfma.metrics.MetricKey, Any]:
        sums, documents, examples = accumulator
        values: dict[str, Any] = {_SUMS: sums, _DOCUMENTS: len(documents), _EXAMPLES: examples}
        values |= {name: float(value[0]) for name, value in figures(sums).items()}
        return {_key(name): value for name, value in values.items()}


@functools.lru_cache(maxsize=256)  # examples of a document come one after another, and for its domain again
def _weights_of(document_id: str) -> np.ndarray:
    return document_weights([document_id])[0]


def _key(name: str) -> tfma.metrics.MetricKey:
    return tfma.metrics.MetricKey(name=name)
