"""What blesses a model."""

from __future__ import annotations

from typing import Literal

import pydantic

from albert_model.settings import Settings


class JudgeSettings(Settings):
    """What blesses a model. Losses and gains are those of the new model against the blessed one, on the same text."""

    min_mlm_accuracy: float = pydantic.Field(
        default=0.01, ge=0, le=1, description="Floor of the masked-language-model accuracy on held-out text."
    )
    min_sop_accuracy: float = pydantic.Field(
        default=0.0, ge=0, le=1, description="Floor of the sentence-order accuracy on held-out text that has an order."
    )
    min_mlm_accuracy_gain: float = pydantic.Field(
        default=0.001, gt=0, le=1, description="What a model must gain on the blessed one, and significantly."
    )
    gain_in: Literal["all text", "every domain"] = pydantic.Field(
        default="all text",
        description="Where it must gain. all text: on all domains taken together, and no domain may lose "
        "significantly more than `max_domain_loss`. every domain: in each of them.",
    )
    max_domain_loss: float = pydantic.Field(
        default=0.01,
        ge=0,
        le=1,
        description="MLM accuracy that one domain may lose while all text gains. One of fewer than `min_documents` is "
        "not judged by itself.",
    )
    max_forgetting: float = pydantic.Field(
        default=0.01,
        ge=0,
        le=1,
        description="The guard against forgetting: MLM accuracy that may be lost on the anchor text and on the "
        "held-out text of the blessed model's own training.",
    )
    min_bits_per_character_gain: float = pydantic.Field(
        default=0.01,
        gt=0,
        description="In place of `min_mlm_accuracy_gain` where the blessed model has another vocabulary, so that "
        "accuracies cannot be compared: by how many bits per character it must do better.",
    )
    max_bits_per_character_loss: float = pydantic.Field(
        default=0.05,
        ge=0,
        description="In place of `max_forgetting` and `max_domain_loss` where the blessed model has another "
        "vocabulary.",
    )
    min_documents: int = pydantic.Field(
        default=20, ge=2, description="Held-out documents without which no model is judged, and none blessed."
    )
    min_word_order: float = pydantic.Field(
        default=0.02,
        ge=0,
        lt=1,
        description="By how much the held-out text must have fewer different pairs of neighbouring words than if the "
        "words of each sentence were shuffled: 0.05 to 0.5 in real text, 0 in garbage. 0 for text without an order.",
    )
    confidence: float = pydantic.Field(default=0.95, ge=0.5, le=0.99, description="Of all intervals, two-sided.")
