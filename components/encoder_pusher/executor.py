"""Writes the encoder package aside and renames it into place."""

from __future__ import annotations

import datetime
import errno
import json
import logging
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from albert_model.weights import package
from components import manifests
from components.model_layout import package_folder

_log = logging.getLogger("albert.push")


class Executor(PusherExecutor):
    """Pushes a blessed model; says so in the artifact where there is nothing to push."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            _log.info("nothing pushed: the model was not blessed")
            self._MarkNotPushed(pushed)
            return
        destination = proto_utils.json_to_proto(exec_properties["push_destination"], pusher_pb2.PushDestination())
        model = artifact_utils.get_single_instance(input_dict["model"])
        version = publish(Path(destination.filesystem.base_directory), package_folder(model.uri), model.uri)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)
        _log.info("pushed version %s to %s", version.name, version)


def publish(destination: Path, source: str, model_uri: str) -> Path:
    """Makes the next version of the package at `destination`; gives its folder.

    The package is written in a hidden folder beside the versions and renamed when it is complete. A reader never
    sees half of it, and of two writers at once each gets a version of its own.

    Args:
      destination: folder of the versions.
      source: folder of an `albert_model.weights.package`.
      model_uri: for the manifest.
    """
    destination.mkdir(parents=True, exist_ok=True)
    if pushed_before := _version_of(destination, model_uri):
        return pushed_before
    staging = destination / f".staging-{uuid.uuid4().hex}"
    try:
        _write(staging, source, model_uri)
        while True:
            version = destination / str(max(_numbers(destination), default=0) + 1)
            try:
                return staging.rename(version)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise  # else another writer took this number meanwhile
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def versions(destination: Path) -> list[int]:
    """The versions that are there, oldest first."""
    return [n for n in _numbers(destination) if (destination / str(n) / package.MANIFEST).is_file()]


def _numbers(destination: Path) -> list[int]:
    """Numbers that are taken, be it by something else than a version."""
    return sorted(int(child.name) for child in destination.iterdir() if child.name.isdecimal())


def _version_of(destination: Path, model_uri: str) -> Path | None:
    """The version of this model, if it was pushed before: as when a push was killed before it was recorded."""
    for version in reversed(versions(destination)):
        folder = destination / str(version)
        if json.loads((folder / package.MANIFEST).read_text())["lineage"]["model"] == model_uri:
            return folder
    return None


def _write(folder: Path, source: str, model_uri: str) -> None:
    """The encoder package; its manifest tells where the model came from, and how it was trained."""
    model = package.read(source)
    training = json.loads(Path(source, manifests.TRAINING).read_text())
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    more = {"created": created, "lineage": {"model": model_uri, **training}}
    package.write_encoder(folder, model, more)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
