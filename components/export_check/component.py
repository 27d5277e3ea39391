"""ExportCheck: a blessed model → its encoder package, proven to load and to compute as in training."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.artifacts import EncoderPackage
from components.export_check import executor


@tfx.dsl.components.component
def ExportCheck(
    package: tfx.dsl.components.OutputArtifact[EncoderPackage],
    infra_blessing: tfx.dsl.components.OutputArtifact[standard_artifacts.InfraBlessing],
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    model_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.ModelBlessing],
    time_limit: tfx.dsl.components.Parameter[int] = 3600,
):
    """Writes the encoder package of a blessed model, and loads it in a process of its own as its users will.

    It stands where TFX has InfraValidator, which needs a container or a cluster and asks the signature alone.

    Inputs:
      model: of Trainer.
      model_blessing: of Evaluator.

    Outputs:
      package: every file of the encoder package but its card and its manifest; nothing, if the model is not blessed.
      infra_blessing: as InfraValidator marks it, so that TFX's Pusher takes it; with `export_check.json`.

    Args:
      time_limit: seconds for all checks.
    """
    executor.check(package, infra_blessing, model, model_blessing, time_limit)
