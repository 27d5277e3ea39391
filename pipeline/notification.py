"""Tells people of a run that failed, where nothing inside the run can."""

from __future__ import annotations

from components.failure_notice import executor
from pipeline.cloud.settings import NotificationSettings


def notify(settings: NotificationSettings, text: str) -> None:
    """Posts `{"text": …}` to the webhook.

    Raises:
      InputError: it cannot be posted; the message does not hold the address.
    """
    executor.post(settings.webhook, text)
