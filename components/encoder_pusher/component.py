"""EncoderPusher: a blessed model's checked package → a new version of the encoder."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.artifacts import EncoderPackage
from components.encoder_pusher import executor


@tfx.dsl.components.component
def EncoderPusher(
    pushed_model: tfx.dsl.components.OutputArtifact[standard_artifacts.PushedModel],
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    package: tfx.dsl.components.InputArtifact[EncoderPackage],
    model_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.InfraBlessing],
    evaluation: tfx.dsl.components.InputArtifact[standard_artifacts.ModelEvaluation],
    documents: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    destination: tfx.dsl.components.Parameter[str],
    settings: tfx.dsl.components.Parameter[str],
):
    """Publishes the package as the next version at `destination`, with its model card and manifest.

    Nothing is pushed unless both blessings are given.

    Inputs:
      model: of Trainer.
      package, infra_blessing: of ExportCheck.
      model_blessing, evaluation: of Evaluator.
      documents: of DocumentGen.
      examples: of PretrainingExampleGen.

    Outputs:
      pushed_model: marked as TFX's Pusher does: `pushed`, `pushed_destination`, `pushed_version`.

    Args:
      destination: see `albert_model.publishing.versions.Versions`.
      settings: JSON of `albert_model.publishing.versions.PushSettings`.
    """
    executor.push(
        pushed_model=pushed_model,
        model=model,
        package=package,
        model_blessing=model_blessing,
        infra_blessing=infra_blessing,
        evaluation=evaluation,
        documents=documents,
        examples=examples,
        destination=destination,
        settings=settings,
    )
