"""What can be told of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_model.config import PUBLISHED_SIZES, AlbertConfig
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights.names import HEADS, parameters
from albert_model.weights.source import Source
from albert_model.weights.tensors import fingerprint


def inspect(source: Source) -> dict[str, Any]:
    """Facts in the order in which people ask for them. Reads every weight.

    Raises:
      InputError: a weight cannot be read, or is not finite.
    """
    model = source.model
    config = model.config
    variables = [row for row in parameters(config) if row.name in model.weights]
    return {
        "source": source.name,
        "format": source.format,
        "architecture": config.architecture,
        "size": size_name(config) or "of its own",
        "config": config.model_dump(),
        "parameters": count_parameters(model.weights, config),
        "parts": list(model.roles),
        "missing heads": [role for role in HEADS if role not in model.roles],
        "vocabulary": model.vocabulary and describe_vocabulary(model.vocabulary),
        "left out": list(model.left_out),
        "notes": list(source.notes),
        "can run itself": source.load is not None,
        "fingerprint": fingerprint(model.weights, config),
        "variables": [{"name": row.name, "shape": list(row.shape), "part": row.role} for row in variables],
    }


def size_name(config: AlbertConfig) -> str | None:
    """Which released size a config is of, if any; dropout does not matter."""
    return next((size for size in PUBLISHED_SIZES if AlbertConfig.published(size).network() == config.network()), None)


def count_parameters(weights: Any, config: AlbertConfig) -> int:
    return sum(int(np.prod(row.shape)) for row in parameters(config) if row.name in weights)


def describe_vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    """For manifests and people."""
    return {
        "file": vocabulary.file_name,
        "kind": vocabulary.kind,
        "pieces": len(vocabulary.pieces),
        "lower case": vocabulary.do_lower_case,
        "sha256": vocabulary.sha256,
        "released": vocabulary.is_released,
    }
