"""TokenizerTrainer: the vocabulary of a run."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import Tokenizer
from components.tokenizer_trainer import executor


class TokenizerTrainerSpec(component_spec.ComponentSpec):
    """Parameters and channels of TokenizerTrainer."""

    PARAMETERS: ClassVar = {
        "vocab_size": component_spec.ExecutionParameter(type=int),
        "settings": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "documents": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "initial_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS: ClassVar = {"tokenizer": component_spec.ChannelParameter(type=Tokenizer)}


class TokenizerTrainer(base_beam_component.BaseBeamComponent):
    """Trains a vocabulary on the training documents, or passes on that of the model that training starts from, with
    pieces of the documents added to it if the settings say so.

    Outputs:
      tokenizer: see `components.artifacts.Tokenizer`.

    Args:
      documents: of DocumentGen.
      initial_model: of InitialModel.
      vocab_size: pieces.
      settings: JSON of `albert_model.text.vocabulary_training.TokenizerSettings`.
    """

    SPEC_CLASS = TokenizerTrainerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, documents: types.BaseChannel, initial_model: types.BaseChannel, vocab_size: int, settings: str):
        super().__init__(
            TokenizerTrainerSpec(
                documents=documents,
                initial_model=initial_model,
                vocab_size=vocab_size,
                settings=settings,
                tokenizer=types.Channel(type=Tokenizer),
            )
        )
