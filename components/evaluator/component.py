"""Evaluator: a model and the one before it, on held-out text → figures, a verdict, a blessing."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import ProbeResult
from components.evaluator import executor


class EvaluatorSpec(types.ComponentSpec):
    """What goes in and out."""

    PARAMETERS: ClassVar = {"settings": component_spec.ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "documents": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        "anchor_documents": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "probe": component_spec.ChannelParameter(type=ProbeResult, optional=True),
    }
    OUTPUTS: ClassVar = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Scores both models by TFMA, and judges by the rules of `albert_model.evaluation.verdict`.

    Outputs:
      evaluation: `verdict.json`, and TFMA's results of each text and model.
      blessing: as TFX's Evaluator writes it.

    Args:
      model: of Trainer.
      examples: that it was trained on; those held out are scored.
      documents: that the examples were made of.
      settings: JSON of `albert_model.evaluation.settings.JudgeSettings`.
      baseline_model: the model blessed last; none on a first run.
      anchor_documents: general text that must not be forgotten.
      probe: of Probe.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        documents: types.BaseChannel,
        settings: str,
        baseline_model: types.BaseChannel | None = None,
        anchor_documents: types.BaseChannel | None = None,
        probe: types.BaseChannel | None = None,
    ):
        super().__init__(
            EvaluatorSpec(
                model=model,
                examples=examples,
                documents=documents,
                settings=settings,
                baseline_model=baseline_model,
                anchor_documents=anchor_documents,
                probe=probe,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
