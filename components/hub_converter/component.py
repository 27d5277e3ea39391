"""HubConverter: released or own weights in any format → a model to start from."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.artifacts import ParityReport, Tokenizer
from components.hub_converter import executor


@tfx.dsl.components.component
def HubConverter(
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    tokenizer: tfx.dsl.components.OutputArtifact[Tokenizer],
    parity: tfx.dsl.components.OutputArtifact[ParityReport],
    source: tfx.dsl.components.Parameter[str],
    options: tfx.dsl.components.Parameter[str],
    files_fingerprint: tfx.dsl.components.Parameter[str],
):
    """Converts a model with all its heads and proves that it computes the same, or fails.

    Outputs:
      model: the package (config, vocabulary, full weights) beside the place of a SavedModel, and a manifest.
      tokenizer: the source's vocabulary.
      parity: see `components.artifacts.ParityReport`.

    Args:
      source: as `albert_model.weights.source.opened` takes it.
      options: JSON of `albert_model.weights.settings.ReadOptions`.
      files_fingerprint: changes when the files of the source do, so that the cache does not outlive them.
    """
    executor.convert(model, tokenizer, parity, source, options)
