"""PublishedModel: the model of the version that is served, where no metadata store can be asked for it."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.published_model import executor


@tfx.dsl.components.component
def PublishedModel(
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    destination: tfx.dsl.components.Parameter[str],
    base_model: tfx.dsl.components.Parameter[str] = "",
    documents: tfx.dsl.components.InputArtifact[standard_artifacts.Examples] = None,
    candidate: tfx.dsl.components.InputArtifact[standard_artifacts.Model] = None,
):
    """Finds the model to start from (for `documents`) or to compare with (for a `candidate`) among pushed versions.

    It stands where a local run has a resolver with `components.blessed_model.BlessedBefore`: Vertex AI knows no
    resolver but its own, which would give the model that was blessed on this very text when a run is repeated, and
    Kubeflow none. This one's answer is cached with the text or the candidate, so a repeated run is found in the cache.

    Inputs, one of them:
      documents: of DocumentGen.
      candidate: of Trainer.

    Outputs:
      model: a copy of the Model artifact that the version was made of; an empty one, which says so, where there is
        none yet.

    Args:
      destination: folder of the versions.
      base_model: URI of a Model artifact that is taken without a look.
    """
    executor.find(model, destination, base_model, documents, candidate)
