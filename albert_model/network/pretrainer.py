"""Encoder and heads together, and what a batch of examples scores under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from albert_model.config import AlbertConfig
from albert_model.network.encoder import AlbertEncoder
from albert_model.network.heads import MaskedLanguageModelHead, SentenceOrderHead
from albert_model.network.layers import LayerFactory, take_rows

ENCODER_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
MLM_POSITIONS = "masked_lm_positions"
# Of rows with several examples; see `AlbertEncoder.call`.
PACKING_INPUTS = ("position_ids", "example_numbers")
SOP_POSITIONS = "sentence_order_positions"


class AlbertPretrainer(keras.Model):
    """ALBERT with its two pre-training heads. Its variables exist once it is made.

    Args:
      config: sizes.
      seed: keys the initial values and dropout.
      dtype: a Keras dtype or policy. With `mixed_bfloat16`, matrices are multiplied in bfloat16; variables, softmax,
        norms, logits and losses are float32.
      factory: makes the layers; in place of `seed` and `dtype`.
      scan_layers: runs layers that share their parameters as a loop, and not as copies one after the other: a smaller
        graph and less memory. The outputs are without `encoder_outputs` then.
      rematerialize: keeps the inputs of layers only, for gradients, and computes the layers again when it needs the
        rest: less memory, a third more to compute.
    """

    def __init__(
        self,
        config: AlbertConfig,
        seed: int = 0,
        dtype: str = "float32",
        factory: LayerFactory | None = None,
        scan_layers: bool = False,
        rematerialize: bool = False,
    ):
        factory = factory or LayerFactory(config, seed, dtype)
        super().__init__(name="albert", dtype=factory.dtype, autocast=False)
        self.config = config
        self.encoder = AlbertEncoder(config, factory.within("encoder"), scan_layers, rematerialize, name="encoder")
        self.mlm_head = MaskedLanguageModelHead(config, factory.within("mlm_head"), name="mlm_head")
        self.sop_head = SentenceOrderHead(config, factory.within("sop_head"), name="sop_head")
        self.build()

    def build(self, *_):
        """Makes all variables, as in the encoder."""
        for part in (self.encoder, self.mlm_head, self.sop_head):
            part.build()

    def call(self, inputs: Mapping[str, Any], training: bool = False, replica: Any = None) -> dict[str, Any]:
        """Runs encoder and heads.

        Args:
          inputs: the encoder's inputs, int [B, S] each, and `masked_lm_positions`, int [B, P]. Where rows hold up to K
            examples, `sentence_order_positions`, int [B, K], too: the place of each one's [CLS].
          training: whether dropout acts.
          replica: see the encoder.

        Returns:
          The encoder's outputs, `mlm_logits` [B, P, V] and `sop_logits` [B, 2], or [B, K, 2].
        """
        packing = {name: inputs[name] for name in PACKING_INPUTS if name in inputs}
        encoded = (inputs[name] for name in ENCODER_INPUTS)
        outputs = self.encoder(*encoded, **packing, training=training, replica=replica)
        embeddings_VE = self.encoder.word_embeddings.embeddings
        mlm_logits = self.mlm_head(outputs["sequence_output"], inputs[MLM_POSITIONS], embeddings_VE)
        pooled = outputs["pooled_output"]
        if SOP_POSITIONS in inputs:
            pooled = self.encoder.pool(take_rows(outputs["sequence_output"], inputs[SOP_POSITIONS]))
        return outputs | {"mlm_logits": mlm_logits, "sop_logits": self.sop_head(pooled)}


def score_examples(outputs: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    """Losses and hits of each example, as sums that add up over any set of examples.

    Args:
      outputs: of `AlbertPretrainer`.
      labels: `masked_lm_ids` int [B, P], `masked_lm_weights` float [B, P] (0 at padding),
        `sentence_order_label` int [B], `sentence_order_weight` int [B] (0 where the label says nothing); [B, K] each
        where rows hold up to K examples.

    Returns:
      Sums of each row, float32 [B] each: `mlm_loss` (nats), `mlm_predictions`, `mlm_hits`, `sop_loss`,
      `sop_predictions`, `sop_hits`.
    """
    mlm_logits = ops.cast(outputs["mlm_logits"], "float32")
    sop_logits = ops.cast(outputs["sop_logits"], "float32")
    weights = ops.cast(labels["masked_lm_weights"], "float32")
    sop_weights = ops.cast(labels["sentence_order_weight"], "float32")
    mlm_loss = keras.losses.sparse_categorical_crossentropy(labels["masked_lm_ids"], mlm_logits, from_logits=True)
    mlm_hits = ops.equal(ops.argmax(mlm_logits, -1), labels["masked_lm_ids"])
    sop_loss = keras.losses.sparse_categorical_crossentropy(
        labels["sentence_order_label"], sop_logits, from_logits=True
    )
    sop_hits = ops.equal(ops.argmax(sop_logits, -1), labels["sentence_order_label"])
    return {
        "mlm_loss": ops.sum(mlm_loss * weights, -1),
        "mlm_predictions": ops.sum(weights, -1),
        "mlm_hits": ops.sum(ops.cast(mlm_hits, "float32") * weights, -1),
        "sop_loss": _row_sums(sop_loss * sop_weights),
        "sop_predictions": _row_sums(sop_weights),
        "sop_hits": _row_sums(ops.cast(sop_hits, "float32") * sop_weights),
    }


def _row_sums(values):
    """[B] or [B, K] → [B]."""
    return ops.sum(ops.reshape(values, (ops.shape(values)[0], -1)), -1)
