"""TokenizerTrainer: the vocabulary of a run."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.artifacts import Tokenizer
from components.tokenizer_trainer import executor


@tfx.dsl.components.component
def TokenizerTrainer(
    documents: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    initial_model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    tokenizer: tfx.dsl.components.OutputArtifact[Tokenizer],
    vocab_size: tfx.dsl.components.Parameter[int],
    settings: tfx.dsl.components.Parameter[str],
):
    """Trains a vocabulary on the training documents, or passes on that of the model that training starts from.

    Inputs:
      documents: of DocumentGen.
      initial_model: of InitialModel.

    Outputs:
      tokenizer: see `components.artifacts.Tokenizer`.

    Args:
      vocab_size: pieces.
      settings: JSON of `albert_model.text.tokenizer.TokenizerSettings`.
    """
    executor.make_tokenizer(documents, initial_model, tokenizer, vocab_size, settings)
