"""What is another node on Vertex AI and Kubeflow than on this machine."""

from __future__ import annotations

from typing import Any

from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.extensions.google_cloud_ai_platform import constants
from tfx.extensions.google_cloud_ai_platform.trainer import component as vertex_trainer
from tfx.extensions.google_cloud_ai_platform.trainer import executor as vertex_executor
from tfx.types import BaseChannel

from albert_model.errors import InputError
from albert_model.text.span_patterns import SpanPattern
from components.failure_notice.component import FailureNotice
from components.published_model.component import PublishedModel
from pipeline.cloud.compiler import BASE_MODEL, SPAN
from pipeline.cloud.settings import CloudSettings, NotificationSettings, Target, WorkerPoolSettings
from pipeline.settings import PipelineSettings


def span_of(settings: PipelineSettings, target: Target) -> int | tfx.dsl.experimental.RuntimeParameter | None:
    """The span that DocumentGen reads; None: it finds the latest one. Kubeflow runs no driver that could."""
    corpus = settings.corpus
    if target == "kfp" and SpanPattern(corpus.path, corpus.pattern).has_span:
        return tfx.dsl.experimental.RuntimeParameter(name=SPAN, ptype=int)
    return None if corpus.span == "latest" else corpus.span


def start_model(settings: PipelineSettings, target: Target, documents: BaseChannel) -> BaseNode:
    """The published model that training starts from."""
    is_parameter = target == "kfp"
    return PublishedModel(
        documents=documents,
        destination=settings.push.destination,
        base_model=tfx.dsl.experimental.RuntimeParameter(name=BASE_MODEL, ptype=str, default="")
        if is_parameter
        else "",
    ).with_id("StartModel")


def baseline_model(settings: PipelineSettings, candidate: BaseChannel) -> BaseNode:
    """The published model that a new one is compared with."""
    return PublishedModel(candidate=candidate, destination=settings.push.destination, base_model="").with_id(
        "BaselineModel"
    )


def trainer_of(settings: PipelineSettings, target: Target) -> tuple[type[BaseNode], dict[str, Any]]:
    """Trainer's class, and what its `custom_config` has besides: where it is a custom job of Vertex AI, the job."""
    cloud = settings.cloud
    if target != "vertex" or cloud is None or cloud.trainer is None:
        return tfx.components.Trainer, {}
    if cloud.project is None:
        raise InputError("cloud.project: cloud.trainer needs it. Name the project that the custom job runs in.")
    if cloud.trainer.workers and settings.training.strategy != "multiworker":
        raise InputError(
            f"training.strategy: {settings.training.strategy}, but cloud.trainer has {cloud.trainer.workers} machines "
            "beside the chief. Set training.strategy: multiworker."
        )
    return vertex_trainer.Trainer, {
        constants.ENABLE_VERTEX_KEY: True,
        constants.VERTEX_REGION_KEY: cloud.region,
        vertex_executor.TRAINING_ARGS_KEY: {
            "project": cloud.project,
            "display_name": f"{settings.name}-trainer",
            "job_spec": _custom_job(cloud, cloud.trainer),
        },
    }


def _custom_job(cloud: CloudSettings, pools: WorkerPoolSettings) -> dict[str, Any]:
    """A `CustomJobSpec`: pool 0 is the chief, pool 1 the workers; Vertex AI sets TF_CONFIG from them."""
    machine: dict[str, Any] = {"machine_type": pools.machine_type}
    if pools.accelerator:
        machine |= {"accelerator_type": pools.accelerator, "accelerator_count": pools.accelerators}
    image = {"image_uri": cloud.images.get("Trainer", cloud.image)}
    counts = [1, pools.workers] if pools.workers else [1]
    job: dict[str, Any] = {
        "worker_pool_specs": [
            {"machine_spec": machine, "replica_count": count, "container_spec": dict(image)} for count in counts
        ]
    }
    if cloud.service_account:
        job["service_account"] = cloud.service_account
    if cloud.network:
        job["network"] = cloud.network
    return job


def failure_notice(settings: PipelineSettings, notify: NotificationSettings) -> BaseNode:
    """The exit handler, on Vertex AI: tells people of a run that failed. On Kubeflow who submitted the run does it."""
    if notify.webhook.startswith("env:"):
        raise InputError(
            f"cloud.notify.webhook: {notify.webhook}: Vertex AI's containers have no such variable. Put the address "
            "into Secret Manager, and name it: projects/P/secrets/S/versions/latest."
        )
    status = tfx.orchestration.experimental.FinalStatusStr()
    return FailureNotice(final_status=status, webhook=notify.webhook, pipeline_name=settings.name)


def parameters(settings: PipelineSettings, target: Target) -> dict[str, Any]:
    """Values of the specification's parameters. TFX loses the defaults of parameters when it compiles."""
    values: dict[str, Any] = {}
    if target == "kfp" and settings.start == "latest":
        values[BASE_MODEL] = ""
    if isinstance(span_of(settings, target), tfx.dsl.experimental.RuntimeParameter):
        if settings.corpus.span == "latest":
            raise InputError("corpus.span: Kubeflow finds no span when it runs. Name it: --span N.")
        values[SPAN] = settings.corpus.span
    return values
