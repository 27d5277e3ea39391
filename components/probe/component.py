"""Probe: how well quick classifiers do on a model, and on the model before it."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.artifacts import ProbeResult
from components.probe import executor


@tfx.dsl.components.component
def Probe(
    probe: tfx.dsl.components.OutputArtifact[ProbeResult],
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    settings: tfx.dsl.components.Parameter[str],
    files_fingerprint: tfx.dsl.components.Parameter[str],
    baseline_model: tfx.dsl.components.InputArtifact[standard_artifacts.Model] = None,
):
    """Trains classifiers on a labelled set of the user's, with several seeds.

    Inputs:
      model: of Trainer.
      baseline_model: the model blessed last; none on a first run. It may have another vocabulary and other sizes.

    Outputs:
      probe: `probe.json`: labels, counts, and of both models the accuracies, their mean and their spread.

    Args:
      settings: JSON of `albert_model.evaluation.probe_settings.ProbeSettings`.
      files_fingerprint: of the settings; changes when the labelled files do, so that the cache does not outlive them.
    """
    executor.run(probe, model, baseline_model, settings)
