"""A model for a larger vocabulary, which begins with the model's own.

The row of a new piece is the mean of the rows of what stood in its place, so that the extended model reads text much
as the old one did before it has seen any.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.text.ragged import Ragged
from albert_model.text.tokenizer import Tokenizer
from albert_model.weights.model import Model
from albert_model.weights.names import WORD_EMBEDDINGS

_OUTPUT_BIAS = "cls/predictions/output_bias"


def extended(model: Model, tokenizer: Tokenizer, config: AlbertConfig) -> Model:
    """The model with that vocabulary and as many rows as the config says; itself, if it has them already.

    Args:
      model: with a vocabulary, and weights in memory.
      tokenizer: its vocabulary is the model's, or begins with it.
      config: differs from the model's in `vocab_size` at most.

    Raises:
      InputError: the vocabulary is another one, or has more pieces than the config says, or the config fewer than the
        model.
    """
    old = model.tokenizer
    known, pieces = old.vocab_size, tokenizer.pieces
    if pieces[:known] != old.pieces or tokenizer.do_lower_case != old.do_lower_case:
        raise InputError(
            f"{model.source}: its vocabulary is another one (fingerprint {old.fingerprint}, expected "
            f"{tokenizer.fingerprint}), and not the beginning of it. Use the tokenizer of the model that is trained "
            "on, or train from scratch."
        )
    if not len(pieces) <= config.vocab_size >= model.config.vocab_size:
        raise InputError(
            f"{model.source}: vocab_size {config.vocab_size} is too few for its {model.config.vocab_size} rows and the "
            f"{len(pieces)} pieces of the vocabulary."
        )
    if len(pieces) == known and config.vocab_size == model.config.vocab_size:
        return model
    spelt = old.spell(pieces[known:])
    rows = {
        name: _with_rows(model.weights[name], known, spelt, config.vocab_size)
        for name in (WORD_EMBEDDINGS, _OUTPUT_BIAS)
        if name in model.weights
    }
    config = model.config.model_copy(update={"vocab_size": config.vocab_size})
    return replace(model, config=config, weights={**model.weights, **rows}, vocabulary=tokenizer.vocabulary)


def _with_rows(table: np.ndarray, known: int, spelt: Ragged, size: int) -> np.ndarray:
    """Rows `known` and after are means of the rows that new pieces are spelt with; others stay.

    Rows that neither the table nor a piece has, up to `size`, are the mean of all that a piece had.

    >>> table = np.array([1.0, 3.0, 8.0, 0.0])
    >>> _with_rows(table, 3, Ragged.from_rows([[0, 1], [2]]), 6).tolist()
    [1.0, 3.0, 8.0, 2.0, 8.0, 4.0]
    """
    rows = np.empty((size, *table.shape[1:]), table.dtype)
    rows[:] = table[:known].mean(0, dtype=np.float64)
    rows[: len(table)] = table
    for number, ids in enumerate(spelt.rows(), start=known):
        rows[number] = table[ids].mean(0, dtype=np.float64)
    return rows
