"""The pipeline for `tfx pipeline compile | create --pipeline_path=kubeflow/kubeflow_v2_runner.py --engine=vertex`.

ALBERT_PIPELINE_CONFIG names the pipeline's YAML file, ALBERT_PIPELINE_TARGET is vertex (the default) or kfp.
`albert pipeline compile` does the same without TFX's command line.
"""

import os

from pipeline.cloud.runner import runner_of
from pipeline.pipeline import create_pipeline
from pipeline.settings import load_settings
from pipeline.spans import for_target

_TARGET = os.environ.get("ALBERT_PIPELINE_TARGET", "vertex")

if __name__ == "__main__":
    settings = load_settings(os.environ.get("ALBERT_PIPELINE_CONFIG", "configs/pipelines/vertex.yaml"))
    settings = for_target(settings, _TARGET)
    file_name = "pipeline.json" if _TARGET == "vertex" else "pipeline.yaml"
    runner_of(settings, _TARGET, output_filename=file_name).run(create_pipeline(settings, _TARGET))
