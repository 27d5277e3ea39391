"""What a batch of examples holds, whatever a model makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from albert_model.network.pretrainer import MLM_POSITIONS


def measure_text(inputs: Mapping[str, Any], characters_V: Any, unknown_id: int) -> dict[str, Any]:
    """Sums of each row, float32 [B] each, to go with those of `score_examples`.

    Args:
      inputs: `input_word_ids` and `input_mask`, int [B, S]; `masked_lm_positions`, `masked_lm_ids` and
        `masked_lm_weights` [B, P].
      characters_V: float32 [V], of `albert_model.text.characters`.
      unknown_id: the piece for what no other one spells.

    Returns:
      `tokens`: pieces, special ones included. `slots`: positions, padding included. `unknown_pieces`: of the text as
      it is without masks. `mlm_characters`: of the pieces to predict.
    """
    ids, present = inputs["input_word_ids"], ops.cast(inputs["input_mask"], "float32")
    weights = ops.cast(inputs["masked_lm_weights"], "float32")
    unknown = ops.cast(ops.equal(ids, unknown_id), "float32") * present
    replaced = ops.take_along_axis(unknown, inputs[MLM_POSITIONS], axis=1) * weights
    hidden = ops.cast(ops.equal(inputs["masked_lm_ids"], unknown_id), "float32") * weights
    return {
        "tokens": ops.sum(present, -1),
        "slots": ops.sum(ops.ones_like(present), -1),
        "unknown_pieces": ops.sum(unknown, -1) + ops.sum(hidden - replaced, -1),
        "mlm_characters": ops.sum(ops.take(characters_V, inputs["masked_lm_ids"]) * weights, -1),
    }
