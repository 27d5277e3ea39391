"""Settings of training; the defaults are the published recipe of ALBERT v1 (arXiv:1909.11942, section 4.1)."""

from __future__ import annotations

from typing import Literal

import pydantic

_PUBLISHED_WARMUP = 3125


class TrainingSettings(pydantic.BaseModel):
    """How a network is trained on examples."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch_size: int = pydantic.Field(default=4096, ge=1, description="Examples a step over all replicas.")
    epochs: int = pydantic.Field(default=1, ge=1, description="Passes over the training examples.")
    max_steps: int | None = pydantic.Field(default=None, ge=1, description="Steps at most; none: all epochs.")
    learning_rate: float = pydantic.Field(default=0.00176, gt=0, description="Peak, reached after the warm-up.")
    warmup_steps: int | None = pydantic.Field(
        default=None, ge=0, description="Steps of linear warm-up; none: 3125, or a tenth of all steps if that is less."
    )
    weight_decay: float = pydantic.Field(default=0.01, ge=0, description="Inside LAMB's update.")
    clip_norm: float = pydantic.Field(default=1.0, gt=0, description="Bound of the gradients' global norm.")
    strategy: Literal["one", "mirror"] = pydantic.Field(
        default="mirror", description="one: one device. mirror: all devices of this machine (MirroredStrategy)."
    )
    checkpoint_every: int = pydantic.Field(default=1000, ge=1, description="Steps between two checkpoints.")
    max_eval_batches: int = pydantic.Field(
        default=100, ge=1, description="Batches of held-out examples scored at each checkpoint at most."
    )
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
