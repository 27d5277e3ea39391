"""How a pipeline runs on Vertex AI or Kubeflow."""

from __future__ import annotations

from typing import Literal

import pydantic

from albert_model.settings import Settings

Target = Literal["local", "vertex", "kfp"]
DEFAULT = "default"


class ResourceSettings(Settings):
    """What a component's container gets."""

    cpu: float | None = pydantic.Field(default=None, gt=0, description="Virtual processors, such as 4.")
    memory: str | None = pydantic.Field(default=None, pattern=r"^\d+(\.\d+)?[KMGT]i?$", description="Such as 16G.")
    accelerator: str | None = pydantic.Field(
        default=None,
        pattern=r"^[A-Za-z0-9_./-]+$",
        description="Its type: NVIDIA_TESLA_T4 and the like on Vertex AI, nvidia.com/gpu on Kubeflow.",
    )
    accelerators: int = pydantic.Field(default=1, ge=1, description="How many, where a type is given.")


class WorkerPoolSettings(Settings):
    """Vertex AI: the Trainer as a custom job of one chief and `workers` more machines, all alike."""

    machine_type: str = pydantic.Field(min_length=1, description="Such as n1-standard-16 or a2-highgpu-1g.")
    accelerator: str | None = pydantic.Field(default=None, description="Such as NVIDIA_TESLA_A100.")
    accelerators: int = pydantic.Field(default=1, ge=1, description="On each machine, where a type is given.")
    workers: int = pydantic.Field(default=0, ge=0, description="Machines beside the chief.")


class NotificationSettings(Settings):
    """Who hears of a run that failed."""

    webhook: str = pydantic.Field(
        min_length=1,
        description="What a message is posted to as JSON with a `text`, as Slack, Teams and Chat take it: an address "
        "that is no secret, env:NAME for that of an environment variable, or projects/P/secrets/S/versions/latest "
        "for that of Secret Manager.",
    )


class CloudSettings(Settings):
    """Optional: how the pipeline runs on Vertex AI or Kubeflow."""

    image: str = pydantic.Field(
        min_length=1, description="Of kubeflow/Dockerfile, with a digest or a tag other than latest."
    )
    images: dict[str, str] = pydantic.Field(
        default={}, description="Images of single components, such as Trainer: the one with GPU libraries."
    )
    resources: dict[str, ResourceSettings] = pydantic.Field(
        default={}, description="By component; `default` is for those without an entry."
    )
    trainer: WorkerPoolSettings | None = pydantic.Field(
        default=None, description="Vertex AI: the Trainer as a custom job. None: it trains in its own container."
    )
    beam_args: tuple[str, ...] | None = pydantic.Field(
        default=None, description="Beam's options there, such as --runner=DataflowRunner. None: those of beam.args."
    )
    project: str | None = pydantic.Field(
        default=None, description="Google Cloud project. None: that of the credentials."
    )
    region: str = pydantic.Field(default="us-central1", description="Vertex AI's region.")
    service_account: str | None = pydantic.Field(default=None, description="That the pipeline runs as.")
    network: str | None = pydantic.Field(default=None, description="Vertex AI: peered network of the jobs.")
    host: str | None = pydantic.Field(
        default=None,
        description="Address of the API. Kubeflow: None: as kfp finds it in the cluster. Vertex AI: where it is not "
        "the region's own; to http:// no credentials are sent.",
    )
    namespace: str | None = pydantic.Field(
        default=None, description="Kubeflow: namespace, where there are several users."
    )
    experiment: str = pydantic.Field(default="Default", min_length=1, description="Kubeflow: experiment of the runs.")
    notify: NotificationSettings | None = None
