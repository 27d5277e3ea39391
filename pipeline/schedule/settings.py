"""When a pipeline runs by itself."""

from __future__ import annotations

from typing import Literal

import pydantic

from albert_model.settings import Settings


class ScheduleSettings(Settings):
    """Optional: when the pipeline runs by itself, one run at a time."""

    cron: str = pydantic.Field(min_length=1, description="Minute, hour, day, month and weekday: `0 3 * * 1`.")
    timezone: str = pydantic.Field(default="UTC", description="That the cron line is read in, such as Europe/Berlin.")
    missed: Literal["once", "skip"] = pydantic.Field(
        default="once",
        description="Times that passed while the scheduler was down or a run was at work. once: one run makes up for "
        "all of them. skip: none does. Vertex AI and Kubeflow have rules of their own.",
    )
