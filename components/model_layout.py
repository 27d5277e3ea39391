"""Where things lie in a Model artifact."""

from __future__ import annotations

import os

from tfx.utils import path_utils


def serving_folder(model_uri: str) -> str:
    """The SavedModel."""
    return path_utils.serving_model_path(model_uri)


def package_folder(model_uri: str) -> str:
    """Config, vocabulary and full weights (`albert_model.weights.package`), beside the SavedModel's own files."""
    return package_in_serving(serving_folder(model_uri))


def package_in_serving(serving_uri: str) -> str:
    return os.path.join(serving_uri, "assets.extra")
