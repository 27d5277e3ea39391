"""The table of parameters: name, shape, role, and where each lies in the Keras network.

Names and order are those of google-research/albert's checkpoints and of ALBERT-TF2.0's H5 files, whose readers
go by position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError

Role = Literal["encoder", "mlm", "sop"]
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parameter:
    """A row of the table.

    Attributes:
      name: in TF1 checkpoints and in canonical weights.
      shape: canonical.
      keras_path: the variable's path in `AlbertPretrainer`, below the network's own name.
      role: the part of the model it belongs to.
      transposed: the Keras variable holds the transpose.
    """

    name: str
    shape: tuple[int, ...]
    keras_path: str
    role: Role = "encoder"
    transposed: bool = False


def parameters(config: AlbertConfig) -> tuple[Parameter, ...]:
    """All parameters of a network: encoder, then MLM head, then SOP head."""
    V, E, H = config.vocab_size, config.embedding_size, config.hidden_size
    rows = [
        Parameter("bert/embeddings/word_embeddings", (V, E), "encoder/word_embeddings/embeddings"),
        Parameter(
            "bert/embeddings/token_type_embeddings",
            (config.type_vocab_size, E),
            "encoder/token_type_embeddings/embeddings",
        ),
        Parameter(
            "bert/embeddings/position_embeddings",
            (config.max_position_embeddings, E),
            "encoder/position_embeddings/embeddings",
        ),
        *_norm("bert/embeddings/LayerNorm", E, "encoder/embedding_norm"),
        *_dense("bert/encoder/embedding_hidden_mapping_in", E, H, "encoder/embedding_projection"),
    ]
    for group in range(config.num_hidden_groups):
        for inner in range(config.inner_group_num):
            rows += _layer(config, group, inner)
    rows += _dense("bert/pooler/dense", H, H, "encoder/pooler")
    rows += _dense("cls/predictions/transform/dense", H, E, "mlm_head/transform", "mlm")
    rows += _norm("cls/predictions/transform/LayerNorm", E, "mlm_head/norm", "mlm")
    rows += [
        Parameter("cls/predictions/output_bias", (V,), "mlm_head/bias", "mlm"),
        Parameter("cls/seq_relationship/output_weights", (2, H), "sop_head/classifier/kernel", "sop", transposed=True),
        Parameter("cls/seq_relationship/output_bias", (2,), "sop_head/classifier/bias", "sop"),
    ]
    return tuple(rows)


def _layer(config: AlbertConfig, group: int, inner: int) -> list[Parameter]:
    H, FF = config.hidden_size, config.intermediate_size
    name = f"bert/encoder/transformer/group_{group}/inner_group_{inner}"
    keras = f"encoder/group_{group}_layer_{inner}"
    return [
        *_dense(f"{name}/attention_1/self/query", H, H, f"{keras}/query"),
        *_dense(f"{name}/attention_1/self/key", H, H, f"{keras}/key"),
        *_dense(f"{name}/attention_1/self/value", H, H, f"{keras}/value"),
        *_dense(f"{name}/attention_1/output/dense", H, H, f"{keras}/attention_output"),
        *_norm(f"{name}/LayerNorm", H, f"{keras}/attention_norm"),
        *_dense(f"{name}/ffn_1/intermediate/dense", H, FF, f"{keras}/intermediate"),
        *_dense(f"{name}/ffn_1/intermediate/output/dense", FF, H, f"{keras}/output"),
        *_norm(f"{name}/LayerNorm_1", H, f"{keras}/output_norm"),
    ]


def _dense(name: str, rows: int, columns: int, keras_path: str, role: Role = "encoder") -> list[Parameter]:
    return [
        Parameter(f"{name}/kernel", (rows, columns), f"{keras_path}/kernel", role),
        Parameter(f"{name}/bias", (columns,), f"{keras_path}/bias", role),
    ]


def _norm(name: str, size: int, keras_path: str, role: Role = "encoder") -> list[Parameter]:
    return [
        Parameter(f"{name}/gamma", (size,), f"{keras_path}/gamma", role),
        Parameter(f"{name}/beta", (size,), f"{keras_path}/beta", role),
    ]


def check(weights: Mapping[str, np.ndarray], config: AlbertConfig, source: str) -> None:
    """Makes sure that weights are complete, of the right shapes, and have nothing besides.

    Raises:
      InputError: names the source and every parameter that is missing, unknown, or of another shape.
    """
    expected = {row.name: row.shape for row in parameters(config)}
    problems = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name} is not a parameter of this config" for name in weights.keys() - expected.keys()]
    problems += [
        f"{name} has shape {weights[name].shape}, the config says {shape}"
        for name, shape in expected.items()
        if name in weights and weights[name].shape != shape
    ]
    if problems:
        raise InputError(f"{source}: does not fit its config: " + "; ".join(sorted(problems)))
