"""How the Evaluator scores a model: its `evaluate` signature gives sums, this module adds them up and judges."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import numpy as np
from tfx import v1 as tfx  # noqa: F401  (before tensorflow_model_analysis, which is incomplete otherwise)

import tensorflow_model_analysis as tfma  # isort: skip
from tensorflow_model_analysis.proto import config_pb2  # isort: skip

from albert_model.training.metrics import summarize
from components.trainer_module import EVALUATE_SIGNATURE

CANDIDATE, BASELINE = "candidate", "baseline"
DOMAIN_FEATURE = "domain"
_SUMS = ("mlm_loss", "mlm_predictions", "mlm_hits", "sop_loss", "sop_predictions", "sop_hits")
_FIGURES = ("mlm_accuracy", "mlm_loss", "sop_accuracy", "sop_loss", "loss")


def eval_config(min_mlm_accuracy: float, min_mlm_accuracy_gain: float) -> tfma.EvalConfig:
    """What is measured, overall and per domain, and what blesses a model.

    Args:
      min_mlm_accuracy: floor, for every model.
      min_mlm_accuracy_gain: what a model must gain on the blessed one, if there is one.
    """
    model = {"signature_name": EVALUATE_SIGNATURE, "model_type": "tf_generic"}
    threshold = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": min_mlm_accuracy}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": min_mlm_accuracy_gain}
        ),
    )
    overall = config_pb2.PerSliceMetricThresholds(
        thresholds=[config_pb2.PerSliceMetricThreshold(slicing_specs=[tfma.SlicingSpec()], threshold=threshold)]
    )
    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(class_name=PretrainingMetrics.__name__, module=__name__),
    ]
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(name=CANDIDATE, **model),
            tfma.ModelSpec(name=BASELINE, is_baseline=True, **model),
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[DOMAIN_FEATURE])],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics, per_slice_thresholds={"mlm_accuracy": overall})],
    )


class PretrainingMetrics(tfma.metrics.Metric):
    """`mlm_accuracy`, `mlm_loss`, `sop_accuracy`, `sop_loss`, `loss`; see `albert_model.training.metrics`."""

    def __init__(self, name: str = "pretraining"):
        super().__init__(_computations, name=name)


def _computations(name: str, model_names: list[str] | None = None) -> list[tfma.metrics.MetricComputation]:
    return [
        tfma.metrics.MetricComputation(
            keys=[_key(figure, model) for figure in _FIGURES],
            preprocessors=None,
            combiner=_SumExamples(model),
        )
        for model in model_names or [""]
    ]


class _SumExamples(beam.CombineFn):
    """The sums of all examples' outputs under one model."""

    def __init__(self, model: str):
        self._model = model

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(len(_SUMS))

    def add_input(self, accumulator: np.ndarray, element: Any) -> np.ndarray:
        outputs = element.get_predictions(self._model)
        return accumulator + np.array([np.sum(outputs[name]) for name in _SUMS])

    def merge_accumulators(self, accumulators) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> dict[tfma.metrics.MetricKey, float]:
        figures = summarize(dict(zip(_SUMS, accumulator.tolist(), strict=True)))
        return {_key(name, self._model): figures[name] for name in _FIGURES}


def _key(figure: str, model: str) -> tfma.metrics.MetricKey:
    # Thresholds that a spec states by name look for keys that say nothing of example weights.
    return tfma.metrics.MetricKey(name=figure, model_name=model, example_weighted=None)
