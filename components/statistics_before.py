"""The statistics of the text before, which drift is measured against."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import types
from tfx import v1 as tfx

_TRAIN = os.path.join("Split-train", "FeatureStats.pb")
_TEXT = "documents_fingerprint"  # custom property of the examples


class StatisticsBefore(tfx.dsl.experimental.ResolverStrategy):
    """The newest statistics of another text that are older than those of this run.

    By age and text, not "the latest": a run that finds its statistics in the cache, or that makes them anew of the
    same text with other settings, is compared with what it was compared with before.

    Inputs of the resolver: `statistics`, all there are, and `reference`, those of this run.
    """

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list]) -> dict[str, list]:
        (reference,) = input_dict["reference"]
        # Transform's statistics have the same type, but no splits.
        older = [s for s in input_dict["statistics"] if s.id < reference.id and s.split_names]
        texts = _texts(store, [reference, *older])
        newest_first = sorted(older, key=lambda statistics: -statistics.id)
        others = (s for s in newest_first if texts.get(s.id) != texts.get(reference.id))
        chosen = next((s for s in others if tf.io.gfile.exists(os.path.join(s.uri, _TRAIN))), None)
        return {"statistics": [chosen] if chosen else [], "reference": [reference]}


def _texts(store: Any, statistics: Sequence[types.Artifact]) -> dict[int, str]:
    """By id of the statistics, the fingerprint of the documents that their examples were made from."""
    made = [e for e in store.get_events_by_artifact_ids([s.id for s in statistics]) if e.type == mlmd.Event.OUTPUT]
    read = [
        event
        for event in store.get_events_by_execution_ids({event.execution_id for event in made})
        if event.type == mlmd.Event.INPUT
    ]
    examples = {artifact.id: artifact for artifact in store.get_artifacts_by_id({event.artifact_id for event in read})}
    text_of = {e.execution_id: examples[e.artifact_id].custom_properties[_TEXT].string_value for e in read}
    return {event.artifact_id: text_of[event.execution_id] for event in made if event.execution_id in text_of}
