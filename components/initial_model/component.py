"""InitialModel: what training starts from."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.initial_model import executor


@tfx.dsl.components.component
def InitialModel(
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    model_config: tfx.dsl.components.Parameter[str],
    extend_vocabulary: tfx.dsl.components.Parameter[bool] = False,
    blessed_model: tfx.dsl.components.InputArtifact[standard_artifacts.Model] = None,
    converted_model: tfx.dsl.components.InputArtifact[standard_artifacts.Model] = None,
):
    """Chooses the weights to start from: the blessed model's if there is one, else converted ones, else random ones.

    Inputs:
      blessed_model: see `components.blessed_model`; none on a first run.
      converted_model: of HubConverter; none where training starts without released weights.

    Outputs:
      model: a manifest with the `source`, and the package to start from unless that is `random`.

    Args:
      model_config: JSON of the AlbertConfig that is to be trained.
      extend_vocabulary: whether the model to start from may have fewer pieces; TokenizerTrainer adds the others.
    """
    executor.choose(model, blessed_model, converted_model, model_config, extend_vocabulary)
