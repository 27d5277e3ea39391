"""PretrainingExampleGen: documents → sentence-order and masked-language-model examples."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import Tokenizer
from components.pretraining_example_gen import executor


class PretrainingExampleGenSpec(component_spec.ComponentSpec):
    """Parameters and channels of PretrainingExampleGen."""

    PARAMETERS: ClassVar = {"settings": component_spec.ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "documents": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "tokenizer": component_spec.ChannelParameter(type=Tokenizer),
    }
    OUTPUTS: ClassVar = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class PretrainingExampleGen(base_beam_component.BaseBeamComponent):
    """Makes the examples of `albert_model.text.examples` from documents.

    Outputs:
      examples: standard Examples, splits train and eval, with the vocabulary and a manifest beside them.

    Args:
      documents: of DocumentGen.
      tokenizer: of TokenizerTrainer.
      settings: JSON of `albert_model.text.settings.ExampleSettings`.
    """

    SPEC_CLASS = PretrainingExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, documents: types.BaseChannel, tokenizer: types.BaseChannel, settings: str):
        examples = types.Channel(type=standard_artifacts.Examples)
        super().__init__(
            PretrainingExampleGenSpec(documents=documents, tokenizer=tokenizer, settings=settings, examples=examples)
        )
