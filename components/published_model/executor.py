"""Looks through the manifests of pushed versions."""

from __future__ import annotations

import logging

import tensorflow as tf
from tfx import types

from albert_model.publishing.versions import Version, Versions
from components import manifests
from components.model_layout import NO_MODEL, PUBLISHED, holds_model_at
from components.remote import copy_tree

_log = logging.getLogger("albert.published")


def find(
    model: types.Artifact,
    destination: str,
    base_model: str = "",
    documents: types.Artifact | None = None,
    candidate: types.Artifact | None = None,
) -> None:
    """Copies the artifact that was found, or says that there is none.

    It is a copy, as Kubeflow takes no output that lies outside of its run's own folder; its manifest says of what.

    Raises:
      InputError: it cannot be copied.
    """
    uri = base_model or _published(destination, documents, candidate)
    if uri:
        _log.info("the model before: %s", uri)
        copy_tree(uri, model.uri)
        manifests.write(model, {"source": PUBLISHED, "model_uri": uri})
        return
    _log.info("no model is published at %s yet", destination)
    tf.io.gfile.makedirs(model.uri)
    manifests.write(model, {"source": NO_MODEL})


def _published(destination: str, documents: types.Artifact | None, candidate: types.Artifact | None) -> str | None:
    served = Versions(destination).served()
    if candidate is not None:
        served = [version for version in served if _model_of(version) != candidate.uri]
    if documents is not None:
        served = before_text(served, manifests.read(documents.uri)["fingerprint"])
    return newest_model(served)


def newest_model(versions: list[Version]) -> str | None:
    """URI of the Trainer's artifact that the newest of some versions was made of, of those that are still there."""
    models = (_model_of(version) for version in reversed(versions))
    return next((uri for uri in models if uri and holds_model_at(uri)), None)


def before_text(versions: list[Version], fingerprint: str) -> list[Version]:
    """Those before the first that was made of the same text."""
    texts = [(version.manifest or {}).get("documents", {}).get("fingerprint") for version in versions]
    return versions[: texts.index(fingerprint)] if fingerprint in texts else versions


def _model_of(version: Version) -> str:
    return (version.manifest or {}).get("lineage", {}).get("model", "")
