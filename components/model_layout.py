"""Where things lie in a Model artifact, and whether it holds a model at all."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.utils import path_utils

MANIFEST = "manifest.json"  # of any artifact of this project
NO_MODEL = "none"  # the `source` in the manifest of a Model artifact without a model
PUBLISHED = "published model"  # of a copy of a model that was pushed
_CONFIG = "config.json"


def serving_folder(model_uri: str) -> str:
    """The SavedModel."""
    return path_utils.serving_model_path(model_uri)


def package_folder(model_uri: str) -> str:
    """Config, vocabulary and full weights (`albert_model.weights.package`), beside the SavedModel's own files."""
    return package_in_serving(serving_folder(model_uri))


def package_in_serving(serving_uri: str) -> str:
    return os.path.join(serving_uri, "assets.extra")


def holds_model(model: types.Artifact | None) -> bool:
    """Whether an optional input is a model: not left out, and not the empty artifact that says there is none.

    Of a folder that is gone it is true, so that who reads the model says so, and does not go on without.
    """
    return model is not None and _manifest(model.uri).get("source") != NO_MODEL


def origin_of(model_uri: str) -> str:
    """The Trainer's artifact that PublishedModel's is a copy of; any other is its own."""
    manifest = _manifest(model_uri)
    return manifest["model_uri"] if manifest.get("source") == PUBLISHED else model_uri


def _manifest(model_uri: str) -> dict[str, Any]:
    """Empty where there is none, as beside Trainer's models."""
    path = os.path.join(model_uri, MANIFEST)
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def holds_model_at(model_uri: str) -> bool:
    """Whether there is a model's package."""
    return tf.io.gfile.exists(os.path.join(package_folder(model_uri), _CONFIG))
