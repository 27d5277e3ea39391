"""Settings of training; the defaults are the published recipe of ALBERT v1 (arXiv:1909.11942, section 4.1)."""

from __future__ import annotations

import math
from typing import Literal

import pydantic

from albert_model.settings import Settings

_PUBLISHED_WARMUP = 3125


class TrainingSettings(Settings):
    """How a network is trained on examples."""

    # === How far ===
    batch_size: int = pydantic.Field(default=4096, ge=1, description="Examples a step over all replicas.")
    accumulation: int = pydantic.Field(
        default=1,
        ge=1,
        description="Parts in which each device works on its share of a batch, one after another, to take less memory.",
    )
    epochs: int = pydantic.Field(default=1, ge=1, description="Passes over the training examples.")
    max_steps: int | None = pydantic.Field(default=None, ge=1, description="Steps at most; none: all epochs.")
    # === Optimizer ===
    optimizer: Literal["lamb", "adamw", "sgd"] = pydantic.Field(
        default="lamb", description="lamb: as published. adamw: Adam with bias correction and decoupled weight decay."
    )
    learning_rate: float = pydantic.Field(default=0.00176, gt=0, description="Peak, reached after the warm-up.")
    learning_rate_batch: int | None = pydantic.Field(
        default=None,
        ge=1,
        description="The batch that learning_rate is meant for (4096 for the published one): the peak is scaled by the "
        "square root of batch_size / learning_rate_batch. None: as it stands.",
    )
    warmup_steps: int | None = pydantic.Field(
        default=None, ge=0, description="Steps of linear warm-up; none: 3125, or a tenth of all steps if that is less."
    )
    head_warmup_steps: int = pydantic.Field(
        default=1000,
        ge=0,
        description="Where the weights to start from lack a head (released modules have none for sentence order): "
        "steps in which it is trained alone, at the peak rate, before the rest follows; a tenth of all steps at most.",
    )
    weight_decay: float = pydantic.Field(
        default=0.01, ge=0, description="Of all parameters but biases and normalisations."
    )
    clip_norm: float = pydantic.Field(default=1.0, gt=0, description="Bound of the gradients' global norm.")
    # === Machine ===
    strategy: Literal["one", "mirror", "multiworker", "tpu"] = pydantic.Field(
        default="mirror",
        description="one: one device. mirror: all devices of this machine. multiworker: all machines that TF_CONFIG "
        "names. tpu: all cores of a TPU.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = pydantic.Field(
        default="auto",
        description="Of matrix products; parameters, normalisations and losses are float32. auto: bfloat16 where the "
        "device has units for it.",
    )
    xla: Literal["auto", "on", "off"] = pydantic.Field(
        default="auto", description="Compile each step with XLA. auto: on GPUs and TPUs."
    )
    scan_layers: bool = pydantic.Field(
        default=False,
        description="Run layers that share their parameters as a loop, not as copies: a smaller graph, less memory.",
    )
    rematerialize: bool = pydantic.Field(
        default=False,
        description="Compute layers again for gradients instead of keeping what is inside them: much less memory, a "
        "third more to compute.",
    )
    # === Safety ===
    checkpoint_every: int = pydantic.Field(default=1000, ge=1, description="Steps between two checkpoints.")
    checkpoint_minutes: float | None = pydantic.Field(
        default=None, gt=0, description="Minutes after which there is one in any case."
    )
    keep_checkpoints: int = pydantic.Field(default=2, ge=1, description="Newest checkpoints that are kept.")
    evaluate_every: int | None = pydantic.Field(
        default=None, ge=1, description="Steps between two looks at held-out text; none: as checkpoint_every."
    )
    max_eval_batches: int = pydantic.Field(
        default=100, ge=1, description="Batches of held-out examples scored each time at most."
    )
    max_loss_rise: float = pydantic.Field(
        default=2.0,
        gt=0,
        description="Nats by which the loss between two reports may be above the lowest one so far.",
    )
    on_divergence: Literal["stop", "rollback"] = pydantic.Field(
        default="stop",
        description="When the loss is no number, or rises by more. rollback: on from the last checkpoint with half the "
        "learning rate, three times at most.",
    )
    early_stop_after: int | None = pydantic.Field(
        default=None,
        ge=1,
        description="Looks at held-out text without a lower loss, after which training ends with the weights that had "
        "the lowest. None: train to the last step.",
    )
    # === Record ===
    log_every: int = pydantic.Field(default=100, ge=1, description="Steps between two lines of progress.")
    seed: int = pydantic.Field(
        default=12345, ge=0, lt=2**31, description="Keys initial weights, dropout and data order."
    )

    def total_steps(self, examples: int) -> int:
        """Steps of the whole training; a last batch that is not full is left out of each epoch."""
        steps = examples // self.batch_size * self.epochs
        return min(steps, self.max_steps) if self.max_steps else steps

    def resolved_warmup_steps(self, total_steps: int) -> int:
        return min(_PUBLISHED_WARMUP, total_steps // 10) if self.warmup_steps is None else self.warmup_steps

    @property
    def peak_learning_rate(self) -> float:
        """The rate after the warm-up.

        >>> TrainingSettings(learning_rate=0.002, batch_size=1024, learning_rate_batch=4096).peak_learning_rate
        0.001
        """
        return self.learning_rate * math.sqrt(self.batch_size / (self.learning_rate_batch or self.batch_size))
