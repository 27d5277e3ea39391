"""Report: one page on what a run came to, for people."""

from tfx import v1 as tfx
from tfx.types import standard_artifacts

from components.artifacts import ProbeResult
from components.artifacts import Report as ReportArtifact
from components.report import executor


@tfx.dsl.components.component
def Report(
    report: tfx.dsl.components.OutputArtifact[ReportArtifact],
    evaluation: tfx.dsl.components.InputArtifact[standard_artifacts.ModelEvaluation],
    documents: tfx.dsl.components.InputArtifact[standard_artifacts.Examples] = None,
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples] = None,
    statistics: tfx.dsl.components.InputArtifact[standard_artifacts.ExampleStatistics] = None,
    previous_statistics: tfx.dsl.components.InputArtifact[standard_artifacts.ExampleStatistics] = None,
    schema: tfx.dsl.components.InputArtifact[standard_artifacts.Schema] = None,
    anomalies: tfx.dsl.components.InputArtifact[standard_artifacts.ExampleAnomalies] = None,
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model] = None,
    model_run: tfx.dsl.components.InputArtifact[standard_artifacts.ModelRun] = None,
    blessing: tfx.dsl.components.InputArtifact[standard_artifacts.ModelBlessing] = None,
    probe: tfx.dsl.components.InputArtifact[ProbeResult] = None,
    infra_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.InfraBlessing] = None,
    pushed_model: tfx.dsl.components.InputArtifact[standard_artifacts.PushedModel] = None,
    settings: tfx.dsl.components.Parameter[str] = "",
):
    """Writes `report.html`: one file that needs nothing else, for a phone, a screen and paper.

    Only `evaluation` must be given, with its `verdict.json`. The page says of each other input that is not there
    what it leaves out for it.

    Inputs:
      evaluation: of Evaluator.
      documents: of DocumentGen.
      examples: of PretrainingExampleGen.
      statistics: of StatisticsGen.
      previous_statistics: of the span before, see `components.statistics_before`.
      schema, anomalies: of SchemaGen and ExampleValidator.
      model, model_run: of Trainer.
      blessing: of Evaluator.
      probe: of Probe.
      infra_blessing: of ExportCheck.
      pushed_model: of EncoderPusher.

    Outputs:
      report: the page, `report.html`.

    Args:
      settings: JSON of all settings of the pipeline, to be shown. Empty: the page shows those that artifacts name.
    """
    artifacts = {
        "documents": documents,
        "examples": examples,
        "statistics": statistics,
        "previous_statistics": previous_statistics,
        "schema": schema,
        "anomalies": anomalies,
        "model": model,
        "model_run": model_run,
        "evaluation": evaluation,
        "blessing": blessing,
        "probe": probe,
        "infra_blessing": infra_blessing,
        "pushed_model": pushed_model,
    }
    executor.write(report, {name: artifact for name, artifact in artifacts.items() if artifact is not None}, settings)
