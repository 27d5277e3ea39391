"""What the report says of the text: documents, examples, domains, drops, and drift against the span before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydantic
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from components import manifests
from components.report.parts import Artifacts, LeftOut, part, read_bytes, read_json
from components.report.verdict_file import Number

Features = dict[str, statistics_pb2.FeatureNameStatistics]
_STATISTICS = "FeatureStats.pb"  # as StatisticsGen and ExampleValidator name their files
_ANOMALIES = "SchemaDiff.pb"
_SCHEMA = "schema.pbtxt"
_SPLITS = ("train", "eval")
_LENGTH = "input_ids"
# Distances that TFDV measures, by feature: of names the largest change of a share, of numbers a divergence.
_DRIFT = {
    "domain": ("infinity_norm", "share of a domain, largest change"),
    "segment_a_length": ("jensen_shannon_divergence", "length of segment A, Jensen-Shannon divergence"),
    "sentence_order_label": ("jensen_shannon_divergence", "share of swapped pairs, Jensen-Shannon divergence"),
}


class Read(pydantic.BaseModel):
    files: int
    sentences: int
    text_bytes: int


class Documents(pydantic.BaseModel):
    """What the page needs of DocumentGen's manifest."""

    documents: int
    train_documents: int
    eval_documents: int
    read: Read | None = None
    dropped: dict[str, int] = {}
    settings: dict[str, Any] = {}


class Examples(pydantic.BaseModel):
    """What the page needs of PretrainingExampleGen's manifest; `lengths` are examples by their greatest length."""

    examples: int
    train_examples: int
    documents: int
    tokens: int
    padding_share: Number = None
    lengths: dict[int, int] = {}
    dropped: dict[str, int] = {}
    settings: dict[str, Any] = {}


@part("Documents", "documents")
def documents(artifacts: Artifacts) -> Documents:
    return Documents.model_validate(read_json(os.path.join(artifacts["documents"].uri, manifests.FILE_NAME)))


@part("Examples", "examples")
def examples(artifacts: Artifacts) -> Examples:
    return Examples.model_validate(read_json(os.path.join(artifacts["examples"].uri, manifests.FILE_NAME)))


def drops(*found: Documents | Examples | LeftOut) -> dict[str, int]:
    """What was dropped by reason, the most first; a reason that dropped nothing is worth knowing too."""
    counts: dict[str, int] = {}
    for manifest in found:
        if not isinstance(manifest, LeftOut):
            counts |= manifest.dropped
    return dict(sorted(counts.items(), key=lambda drop: -drop[1]))


@dataclass(frozen=True)
class Domain:
    """A domain's examples, and its share of the train split here and in the span before (None: not known)."""

    name: str
    train: int
    eval: int
    share: float
    share_before: float | None


@part("Domains", "statistics")
def domains(artifacts: Artifacts) -> list[Domain]:
    """The largest first."""
    train, held_out = (_domain_counts(_features(artifacts, "statistics", split)) for split in _SPLITS)
    before = None
    if "previous_statistics" in artifacts:
        before = _shares(_domain_counts(_features(artifacts, "previous_statistics", "train")))
    shares = _shares(train)
    names = sorted({*train, *held_out, *(before or {})}, key=lambda name: (-train.get(name, 0), name))
    return [
        Domain(
            name=name,
            train=train.get(name, 0),
            eval=held_out.get(name, 0),
            share=shares.get(name, 0.0),
            share_before=None if before is None else before.get(name, 0.0),
        )
        for name in names
    ]


def _features(artifacts: Artifacts, name: str, split: str) -> Features:
    return {feature.path.step[0]: feature for feature in _statistics(artifacts, name, split).datasets[0].features}


def _statistics(artifacts: Artifacts, name: str, split: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    path = os.path.join(artifacts[name].uri, f"Split-{split}", _STATISTICS)
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(read_bytes(path))


def _domain_counts(features: Features) -> dict[str, int]:
    if "domain" not in features:
        return {}
    buckets = features["domain"].string_stats.rank_histogram.buckets
    return {bucket.label: round(bucket.sample_count) for bucket in buckets}


def _shares(counts: dict[str, int]) -> dict[str, float]:
    whole = sum(counts.values())
    return {name: count / whole for name, count in counts.items()} if whole else {}


# === Drift ===


@dataclass(frozen=True)
class Distance:
    """How far a feature of the train split is from the span before: 0 is equal, 1 has nothing in common."""

    what: str
    value: float


@dataclass(frozen=True)
class Lengths:
    """Pieces of an example of the train split: mean, and quantiles."""

    mean: float
    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Drift:
    distances: list[Distance]
    lengths: Lengths | None
    lengths_before: Lengths | None


@part("Drift against the span before", "statistics", "previous_statistics")
def drift(artifacts: Artifacts) -> Drift:
    """Distances as TFDV's drift comparators measure them, and how long examples are."""
    now, before = (_statistics(artifacts, name, "train") for name in ("statistics", "previous_statistics"))
    lengths = [_lengths(_features(artifacts, name, "train")) for name in ("statistics", "previous_statistics")]
    return Drift(list(_distances(now, before)), *lengths)


def _distances(
    now: statistics_pb2.DatasetFeatureStatisticsList, before: statistics_pb2.DatasetFeatureStatisticsList
) -> Iterator[Distance]:
    schema = tfdv.infer_schema(before, infer_feature_shape=False)
    there = {feature.name for feature in schema.feature}
    for name, (comparator, _) in _DRIFT.items():
        if name in there:
            getattr(tfdv.get_feature(schema, name).drift_comparator, comparator).threshold = 1.0
    found = tfdv.validate_statistics(now, schema, previous_statistics=before)
    measured = {info.path.step[0]: info.drift_measurements for info in found.drift_skew_info}
    for name, (_, what) in _DRIFT.items():
        for measurement in measured.get(name, []):
            yield Distance(what, measurement.value)


def _lengths(features: Features) -> Lengths | None:
    if _LENGTH not in features:
        return None
    common = features[_LENGTH].num_stats.common_stats
    buckets = common.num_values_histogram.buckets
    middle = buckets[(len(buckets) - 1) // 2].high_value if buckets else common.avg_num_values
    return Lengths(common.avg_num_values, common.min_num_values, middle, common.max_num_values)


# === Validation ===


@dataclass(frozen=True)
class Anomaly:
    split: str
    feature: str
    said: str


@part("Validation against the schema", "anomalies")
def anomalies(artifacts: Artifacts) -> list[Anomaly]:
    """What ExampleValidator found."""
    found = []
    for split in _SPLITS:
        path = os.path.join(artifacts["anomalies"].uri, f"Split-{split}", _ANOMALIES)
        report = anomalies_pb2.Anomalies.FromString(read_bytes(path))
        named = [*report.anomaly_info.items()]
        if report.HasField("dataset_anomaly_info"):
            named.append(("all", report.dataset_anomaly_info))
        found += [Anomaly(split, name, info.description or info.short_description) for name, info in named]
    return found


@dataclass(frozen=True)
class Feature:
    name: str
    kind: str
    values: str


@part("Schema", "schema")
def schema(artifacts: Artifacts) -> list[Feature]:
    read = tfdv.load_schema_text(os.path.join(artifacts["schema"].uri, _SCHEMA))
    kinds = type(read).DESCRIPTOR.file.enum_types_by_name["FeatureType"].values_by_number
    return [Feature(f.name, kinds[f.type].name.lower(), _count(f)) for f in read.feature]


def _count(feature: Any) -> str:
    least, most = feature.value_count.min, feature.value_count.max
    if not feature.HasField("value_count"):
        return "any number"
    return f"{least}" if least == most else f"{least} to {most}" if most else f"{least} or more"
