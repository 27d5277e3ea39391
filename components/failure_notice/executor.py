"""Posts a line where people read it. The address is a secret: it stands in no log and in no error."""

from __future__ import annotations

import json
import logging
import os
import re
from typing import Any
from urllib.parse import urlsplit

import tenacity

from albert_model.errors import InputError

_log = logging.getLogger("albert.notice")
_ATTEMPTS = 4
_FIRST_SECONDS = 1.0
_TIMEOUT_SECONDS = 20.0
_ENVIRONMENT = "env:"
_SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")
_FAILED = "FAILED"
_RESOURCE = re.compile(r"projects/([^/]+)/locations/([^/]+)/pipelineJobs/([^/]+)")
_MOST_CHARACTERS = 1500  # of an error's message
_REDIRECTS, _TOO_MANY = 300, 429


def tell_of_failure(final_status: str, webhook: str, pipeline_name: str) -> None:
    """Posts a line if the run failed, else nothing.

    Args:
      final_status: JSON of a `PipelineTaskFinalStatus`, which Vertex AI gives to an exit handler.
      webhook: see `post`.
      pipeline_name: for the line.

    Raises:
      InputError: see `post`.
    """
    status = _status(final_status)
    if status.get("state") == _FAILED:
        post(webhook, text_of(status, pipeline_name))
    else:
        _log.info("the run ended as %s: nobody is told", status.get("state"))


def text_of(status: dict[str, Any], pipeline_name: str) -> str:
    """What a failure is told with: the pipeline, the error, the address of the run."""
    error = status.get("error")
    message = " ".join(str(error.get("message", "")).split())[:_MOST_CHARACTERS] if isinstance(error, dict) else ""
    name = str(status.get("pipelineJobResourceName", ""))
    place = _RESOURCE.fullmatch(name)
    page = name
    if place:
        project, region, run = place.groups()
        page = f"https://console.cloud.google.com/vertex-ai/locations/{region}/pipelines/runs/{run}?project={project}"
    return " ".join(part for part in (f"{pipeline_name}: the run failed.", message, page) if part)


def post(webhook: str, text: str) -> None:
    """Posts `{"text": …}`, as Slack, Teams and Chat take it; tries again where nobody answers.

    Args:
      webhook: an https address (or http on this machine), env:NAME for that of an environment variable, or
        projects/P/secrets/S/versions/V for that of Secret Manager.
      text: what is told.

    Raises:
      InputError: there is no such variable or secret, the address is none, or it does not take the message.
    """
    address = _address(webhook)
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(initial=_FIRST_SECONDS, max=8 * _FIRST_SECONDS, jitter=_FIRST_SECONDS),
        retry=tenacity.retry_if_exception_type(_NoAnswerError),
        reraise=True,
    )
    try:
        attempts(_post_once, address, text)
    except _NoAnswerError as error:
        raise InputError(
            f"cloud.notify.webhook: {_shown(webhook)} did not take the message ({error}). Is the address right?"
        ) from None


class _NoAnswerError(Exception):
    """Says why, without the address."""


def _post_once(address: str, text: str) -> None:
    import requests

    try:
        answer = requests.post(address, json={"text": text}, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise _NoAnswerError(type(error).__name__) from None
    if answer.status_code == _TOO_MANY or answer.status_code >= 500:
        raise _NoAnswerError(f"status {answer.status_code}")
    if answer.status_code >= _REDIRECTS:
        raise InputError(
            f"cloud.notify.webhook: the message was refused (status {answer.status_code}). Is the address still valid?"
        )


def _address(webhook: str) -> str:
    said = webhook
    if webhook.startswith(_ENVIRONMENT):
        name = webhook.removeprefix(_ENVIRONMENT)
        said = os.environ.get(name, "")
        if not said:
            raise InputError(f"cloud.notify.webhook: the environment variable {name} is not set here.")
    elif _SECRET.fullmatch(webhook):
        said = _secret(webhook)
    said = said.strip()
    parts = urlsplit(said)
    is_local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not parts.hostname or not (parts.scheme == "https" or is_local):
        raise InputError(
            f"cloud.notify.webhook: {_shown(webhook)} is no https address. Give one, env:NAME, or "
            "projects/P/secrets/S/versions/latest."
        )
    return said


def _secret(name: str) -> str:
    """Of Secret Manager."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import secretmanager

    try:
        client = secretmanager.SecretManagerServiceClient()
        return client.access_secret_version(name=name).payload.data.decode()
    except (GoogleAPICallError, GoogleAuthError, UnicodeDecodeError) as error:
        raise InputError(
            f"cloud.notify.webhook: the secret {name} cannot be read ({type(error).__name__}). The account that runs "
            "this needs the role roles/secretmanager.secretAccessor on it."
        ) from None


def _shown(webhook: str) -> str:
    """What may be said of it: names, and of an address only whose it is."""
    if webhook.startswith(_ENVIRONMENT) or _SECRET.fullmatch(webhook):
        return webhook
    return f"the address at {urlsplit(webhook).hostname or 'an unknown host'}"


def _status(final_status: str) -> dict[str, Any]:
    try:
        status = json.loads(final_status)
    except ValueError as error:
        raise InputError(f"final_status: not JSON ({error}). An exit handler is given it by Vertex AI.") from None
    if not isinstance(status, dict):
        raise InputError("final_status: should hold a JSON object. An exit handler is given it by Vertex AI.")
    return status
