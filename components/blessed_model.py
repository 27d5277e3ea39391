"""Which blessed model a run compares itself with or starts from."""

from __future__ import annotations

import logging
from typing import Any

import tensorflow as tf
from tfx import types
from tfx import v1 as tfx
from tfx.components.evaluator import constants
from tfx.types import standard_artifacts

from components import manifests
from components.model_layout import package_folder

_log = logging.getLogger("albert.blessed")


class BlessedBefore(tfx.dsl.experimental.ResolverStrategy):
    """The model that was blessed last before this run's work came in.

    Unlike "the latest blessed model", this gives the same answer when a run is repeated on the same text, after
    its own model was blessed, so a repeated run is found in the cache instead of being trained on top of itself.

    Inputs of the resolver: `model` and `model_blessing`, all there are, and `reference`, one artifact:
      documents, to find the model to start from: blessed before they were read, and before any model that was
        trained on the same text;
      the candidate, to find the model to compare it with: the last one there is, or, if the candidate was blessed
        in an earlier run, the last one before it.
    """

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list]) -> dict[str, list]:
        blessings = _first_blessings(input_dict["model_blessing"])
        blessed = [model for model in input_dict["model"] if model.id in blessings]
        blessed.sort(key=lambda model: blessings[model.id].id)
        (reference,) = input_dict["reference"]
        if isinstance(reference, standard_artifacts.Model):
            models = [model for model in _before(blessed, blessings, reference) if _is_there(model)]
        else:
            older = [m for m in blessed if blessings[m.id].id < reference.id and _is_there(m)]
            models = _before_same_text(reference, older)
        chosen = models[-1:]
        return {
            "model": chosen,
            "model_blessing": [blessings[model.id] for model in chosen],
            "reference": [reference],
        }


def _first_blessings(blessings: list[types.Artifact]) -> dict[int, types.Artifact]:
    """By model id; of a model that was blessed again, the first one."""
    first: dict[int, types.Artifact] = {}
    for blessing in sorted(blessings, key=lambda blessing: blessing.id):
        if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1:
            model_id = blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY)
            first.setdefault(model_id, blessing)
    return first


def _before(
    blessed: list[types.Artifact], blessings: dict[int, types.Artifact], candidate: types.Artifact
) -> list[types.Artifact]:
    """Those blessed before the candidate was; all, if it was not."""
    if candidate.id not in blessings:
        return blessed
    return [model for model in blessed if blessings[model.id].id < blessings[candidate.id].id]


def _is_there(model: types.Artifact) -> bool:
    there = tf.io.gfile.exists(package_folder(model.uri))
    if not there:
        _log.warning("the blessed model %s is gone from its folder and is left out", model.uri)
    return there


def _before_same_text(documents: types.Artifact, models: list[types.Artifact]) -> list[types.Artifact]:
    """The models up to the first one that was trained on these very documents, whatever files they came in."""
    fingerprint = manifests.read(documents.uri)["fingerprint"]
    trained = [manifests.read_training(model.uri)["examples"]["documents_fingerprint"] for model in models]
    return models[: trained.index(fingerprint)] if fingerprint in trained else models
