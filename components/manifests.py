"""Manifests: what an artifact holds and how it came to be, as a file in it and as its custom properties."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tfx import types

from components.model_layout import MANIFEST as FILE_NAME
from components.model_layout import package_folder

TRAINING = "training.json"  # in a model's package: how it was trained
PROBE = "probe.json"  # in a ProbeResult
EXPORT_CHECK = "export_check.json"  # in the InfraBlessing of ExportCheck
FORMAT_VERSION = 1


def write(artifact: types.Artifact, manifest: Mapping[str, Any]) -> None:
    """Writes `manifest.json` into the artifact; numbers and strings become its custom properties as well."""
    manifest = {"format_version": FORMAT_VERSION, **manifest}
    with tf.io.gfile.GFile(os.path.join(artifact.uri, FILE_NAME), "w") as file:
        json.dump(manifest, file, indent=2)
    for key, value in manifest.items():
        if isinstance(value, int):
            artifact.set_int_custom_property(key, value)
        elif isinstance(value, float):
            artifact.set_float_custom_property(key, value)
        elif isinstance(value, str):
            artifact.set_string_custom_property(key, value)


def read(uri: str) -> dict[str, Any]:
    """The manifest of the artifact at `uri`."""
    return read_json(uri, FILE_NAME)


def read_training(model_uri: str) -> dict[str, Any]:
    """How the Model artifact at `model_uri` was trained."""
    return read_json(package_folder(model_uri), TRAINING)


def read_json(folder: str, name: str) -> dict[str, Any]:
    """A JSON file of an artifact."""
    with tf.io.gfile.GFile(os.path.join(folder, name)) as file:
        return json.load(file)
