"""Which blessed model a run compares itself with or starts from."""

from __future__ import annotations

from typing import Any

from tfx import v1 as tfx
from tfx.components.evaluator import constants


class BlessedBefore(tfx.dsl.experimental.ResolverStrategy):
    """The newest blessed model that is older than an artifact of this run.

    Older than the documents: the model to start from. Older than the candidate: the model to compare it with.
    Unlike "the latest blessed model", this gives the same answer when a run is repeated on the same text, after
    its own model was blessed, so a repeated run is found in the cache instead of being trained on top of itself.

    Inputs of the resolver: `model` and `model_blessing`, all there are, and `reference`, one artifact.
    """

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list]) -> dict[str, list]:
        blessings = {
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
        }
        reference = input_dict["reference"][0]
        older = [m for m in input_dict["model"] if m.id in blessings and m.id < reference.id]
        if not older:
            return {"model": [], "model_blessing": [], "reference": [reference]}
        model = max(older, key=lambda m: m.id)
        return {"model": [model], "model_blessing": [blessings[model.id]], "reference": [reference]}
