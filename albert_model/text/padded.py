"""Examples in the layout of google-research/albert, which ALBERT-TF2.0 reads too.

Every feature has one length, whatever the example:

    input_ids              int64 [S]    [CLS] A [SEP] B [SEP], some pieces masked, then zeros
    input_mask             int64 [S]    1 where there is a piece
    segment_ids            int64 [S]    1 in B and its [SEP]
    token_boundary         int64 [S]    1 where a word begins, and at special pieces
    masked_lm_positions    int64 [P]    ascending, then zeros
    masked_lm_ids          int64 [P]    the pieces that stood there, then zeros
    masked_lm_weights      float32 [P]  1 where there is a prediction
    next_sentence_labels   int64 [1]    0 in order, 1 swapped; in spite of its name the order of sentences
"""

from __future__ import annotations

import numpy as np

from albert_model.text import records
from albert_model.text.examples import Examples
from albert_model.text.ragged import Ragged
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer


def encode_padded(examples: Examples, tokenizer: Tokenizer, settings: ExampleSettings) -> list[bytes]:
    """Serialised records, in the order given; S is `max_seq_length`, P `max_predictions_per_seq`.

    Args:
      examples: with their masks.
      tokenizer: where words begin.
      settings: those that the examples were made with.
    """
    columns = padded_columns(examples, tokenizer, settings)
    return records.encode({name: records.matrix(column) for name, column in columns.items()})


def padded_columns(examples: Examples, tokenizer: Tokenizer, settings: ExampleSettings) -> dict[str, np.ndarray]:
    """The features of M examples, int64 or float32: [M, S], [M, P] or [M, 1]."""
    assert examples.masked_lm_positions is not None and examples.masked_lm_ids is not None
    pieces, predictions = settings.max_seq_length, settings.max_predictions_per_seq
    ids = examples.input_ids
    segment_ids = np.arange(pieces) >= examples.segment_a_length[:, None]
    input_mask = _mask(ids, pieces)
    return {
        "input_ids": _padded(ids, pieces),
        "input_mask": input_mask.astype(np.int64),
        "segment_ids": (segment_ids & input_mask).astype(np.int64),
        "token_boundary": _padded(_boundaries(examples, tokenizer), pieces),
        "masked_lm_positions": _padded(examples.masked_lm_positions, predictions),
        "masked_lm_ids": _padded(examples.masked_lm_ids, predictions),
        "masked_lm_weights": _mask(examples.masked_lm_ids, predictions).astype(np.float32),
        "next_sentence_labels": examples.sentence_order_label[:, None].astype(np.int64),
    }


def _mask(rows: Ragged, width: int) -> np.ndarray:
    """bool [M, width]: where a row has values."""
    return np.arange(width) < rows.lengths[:, None]


def _padded(rows: Ragged, width: int) -> np.ndarray:
    """int64 [M, width]: zeros behind each row."""
    padded = np.zeros((len(rows.lengths), width), np.int64)
    padded[_mask(rows, width)] = rows.values
    return padded


def _boundaries(examples: Examples, tokenizer: Tokenizer) -> Ragged:
    """1 where a word begins in the text before it was masked, at special pieces, and where a segment begins."""
    assert examples.masked_lm_positions is not None and examples.masked_lm_ids is not None
    values, offsets = examples.input_ids
    positions = examples.masked_lm_positions
    text = values.copy()
    text[positions.values + np.repeat(offsets[:-1], positions.lengths)] = examples.masked_lm_ids.values
    boundaries = tokenizer.starts_word[text]
    ends_of_a = offsets[:-1] + examples.segment_a_length
    for place in (offsets[:-1], offsets[:-1] + 1, ends_of_a - 1, ends_of_a, offsets[1:] - 1):
        boundaries[place] = True
    return Ragged(boundaries, offsets)
