"""FailureNotice: tells people of a run that failed."""

from tfx import v1 as tfx

from components.failure_notice import executor


@tfx.orchestration.experimental.exit_handler
def FailureNotice(
    final_status: tfx.dsl.components.Parameter[str],
    webhook: tfx.dsl.components.Parameter[str],
    pipeline_name: tfx.dsl.components.Parameter[str],
):
    """Posts a line if the run failed. An exit handler: Vertex AI runs it last, whatever became of the other tasks.

    Args:
      final_status: `tfx.orchestration.experimental.FinalStatusStr()`, for which Vertex AI puts in how the run ended.
      webhook: see `components.failure_notice.executor.post`.
      pipeline_name: for the line.
    """
    executor.tell_of_failure(final_status, webhook, pipeline_name)
