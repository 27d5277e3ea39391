"""Which blessed model a run compares itself with or starts from."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import tensorflow as tf
from tfx import types
from tfx import v1 as tfx
from tfx.components.evaluator import constants
from tfx.types import standard_artifacts

from components import manifests
from components.model_layout import package_folder

_log = logging.getLogger("albert.blessed")
_LENGTHS = ("max_seq_length", "max_predictions_per_seq")


class BlessedBefore(tfx.dsl.experimental.ResolverStrategy):
    """The newest blessed model that is older than an artifact of this run.

    Unlike "the latest blessed model", this gives the same answer when a run is repeated on the same text, after
    its own model was blessed, so a repeated run is found in the cache instead of being trained on top of itself.

    Inputs of the resolver: `model` and `model_blessing`, all there are, and `reference`, one artifact:
      documents, to find the model to start from: older also than any model that was trained on the same text;
      the candidate, to find the model to compare it with: none if that one cannot read the same examples.
    """

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list]) -> dict[str, list]:
        blessings = {
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
        }
        (reference,) = input_dict["reference"]
        older = [m for m in input_dict["model"] if m.id in blessings and m.id < reference.id]
        models = sorted(filter(_is_there, older), key=lambda model: model.id)
        if isinstance(reference, standard_artifacts.Model):
            models = [model for model in models[-1:] if _can_be_compared(reference, model)]
        else:
            models = _before_same_text(reference, models)
        chosen = models[-1:]
        return {
            "model": chosen,
            "model_blessing": [blessings[model.id] for model in chosen],
            "reference": [reference],
        }


def _is_there(model: types.Artifact) -> bool:
    there = tf.io.gfile.exists(package_folder(model.uri))
    if not there:
        _log.warning("the blessed model %s is gone from its folder and is left out", model.uri)
    return there


def _before_same_text(documents: types.Artifact, models: list[types.Artifact]) -> list[types.Artifact]:
    """The models up to the first one that was trained on these very documents, whatever files they came in."""
    fingerprint = manifests.read(documents.uri)["fingerprint"]
    trained = [_training(model)["examples"]["documents_fingerprint"] for model in models]
    return models[: trained.index(fingerprint)] if fingerprint in trained else models


def _can_be_compared(candidate: types.Artifact, model: types.Artifact) -> bool:
    """Whether a model can score the candidate's examples: same vocabulary, and inputs long enough."""
    ours, theirs = _training(candidate), _training(model)
    if ours["tokenizer_fingerprint"] != theirs["tokenizer_fingerprint"]:
        _log.warning("not compared with %s: its vocabulary is another one", model.uri)
        return False
    longer = [key for key in _LENGTHS if ours["examples"]["settings"][key] > theirs["examples"]["settings"][key]]
    if longer:
        _log.warning("not compared with %s: it was made for a smaller %s", model.uri, " and ".join(longer))
    return not longer


def _training(model: types.Artifact) -> dict[str, Any]:
    with tf.io.gfile.GFile(os.path.join(package_folder(model.uri), manifests.TRAINING)) as file:
        return json.load(file)
