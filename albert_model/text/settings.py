"""Settings of example generation, with ALBERT's names and defaults."""

from __future__ import annotations

from typing import Literal

import pydantic

from albert_model.settings import Settings


class ExampleSettings(Settings):
    """How documents become sentence-order and masked-language-model examples."""

    max_seq_length: int = pydantic.Field(default=512, ge=8, description="Pieces in an example, special ones included.")
    max_predictions_per_seq: int = pydantic.Field(default=20, ge=1, description="Masked pieces in an example at most.")
    masked_lm_prob: float = pydantic.Field(default=0.15, gt=0, lt=1, description="Share of pieces to predict.")
    ngram: int = pydantic.Field(default=3, ge=1, le=10, description="Words in a masked n-gram at most.")
    favor_shorter_ngram: bool = pydantic.Field(default=True, description="n-grams of n words are drawn with p ∝ 1/n.")
    do_whole_word_mask: bool = pydantic.Field(default=True, description="Mask all pieces of a word or none.")
    short_seq_prob: float = pydantic.Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of examples that end once they reach a random shorter length; drawn per example.",
    )
    dupe_factor: int = pydantic.Field(
        default=40, ge=1, description="Copies of each training document, each cut and masked anew."
    )
    single_sentence: Literal["split", "skip"] = pydantic.Field(
        default="split",
        description="A chunk of one sentence is split between two words (such a pair is never swapped, and has no "
        "weight in the sentence-order loss), or left out and counted.",
    )
    sentence_order: bool = pydantic.Field(
        default=True,
        description="Swap half of the pairs, to be told apart. false for text without an order, as log lines: no pair "
        "is swapped then, and sentence order has no weight in the loss.",
    )
    masking: Literal["static", "deferred"] = pydantic.Field(
        default="static",
        description="static: masks stand in the records, others in each copy, as in ALBERT. deferred: fresh ones are "
        "drawn each time that training reads an example. What is held out is always masked statically.",
    )
    packing: Literal["none", "bins", "pack"] = pydantic.Field(
        default="none",
        description="What is done about padding in training examples. bins: files for each `bin_width` of lengths, so "
        "that a batch is as wide as its bin. pack: several short examples in a row, which do not attend to each other.",
    )
    bin_width: int = pydantic.Field(default=64, ge=1, description="Lengths in a bin.")
    examples_per_row: int = pydantic.Field(default=4, ge=2, description="Examples packed into a row at most.")
    random_seed: int = pydantic.Field(default=12345, ge=0, description="Keys every random draw.")

    @pydantic.model_validator(mode="after")
    def _predictions_fit(self) -> ExampleSettings:
        if self.max_predictions_per_seq > self.max_seq_length - 3:
            raise ValueError(
                f"max_predictions_per_seq {self.max_predictions_per_seq} does not fit "
                f"max_seq_length {self.max_seq_length} with its 3 special pieces"
            )
        return self
