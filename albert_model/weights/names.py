"""The table of parameters: shape and role by config, and where each format keeps them.

Canonical weights are float32 arrays under the names of google-research/albert's checkpoints; a BERT's layer k stands
there as group k. The order is that of ALBERT-TF2.0's H5 files, whose readers go by position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from albert_model.config import AlbertConfig
from albert_model.errors import InputError

Role = Literal["encoder", "pooler", "mlm", "sop"]
ROLES: tuple[Role, ...] = ("encoder", "pooler", "mlm", "sop")
HEADS: tuple[Role, ...] = ("mlm", "sop")
Weights = Mapping[str, np.ndarray]
WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
# A model that runs. Takes int [B, S] `input_word_ids`, `input_mask`, `input_type_ids`, and int [B, P]
# `masked_lm_positions`; gives `sequence_output` [B, S, D] and, as far as it has them, `encoder_outputs` [L, B, S, D],
# `pooled_output` [B, D], `mlm_logits` [B, P, V].
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Place:
    """Where a format keeps a parameter, and how its array there differs from the canonical one.

    Attributes:
      name: in that format.
      transposed: the format holds the transpose.
      shape: the format holds it in this shape, which has the same order of elements; None: in its own.
    """

    name: str
    transposed: bool = False
    shape: tuple[int, ...] | None = None

    def put(self, array: np.ndarray) -> np.ndarray:
        """The format's array of a canonical one."""
        turned = array.T if self.transposed else array
        return turned if self.shape is None else turned.reshape(self.shape)

    def take(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The canonical array, of `shape`, of the format's."""
        return array.T if self.transposed else array.reshape(shape)

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a parameter of the canonical `shape` has in the format."""
        return self.shape or (shape[::-1] if self.transposed else shape)


@dataclass(frozen=True)
class Parameter:
    """A row of the table.

    Attributes:
      name: canonical.
      shape: canonical.
      role: the part of the model that it belongs to.
      tf1: variable of a TF1 checkpoint or TF-Hub v1 module.
      keras: variable of `AlbertPretrainer`, as a path below the network's own name.
      huggingface: tensor of a Hugging Face folder; those of encoder and pooler without the prefix that models with
        heads give them.
      tf_models: variable of a SavedModel that was made with tensorflow/models; None: it has none.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    tf1: Place
    keras: Place
    huggingface: Place
    tf_models: Place | None

    @property
    def canonical(self) -> Place:
        """As it is here: for formats that keep canonical names and shapes."""
        return Place(self.name)


# === The table ===


@dataclass(frozen=True)
class _Scope:
    """What the rows of one layer share.

    Attributes:
      kind: table (one array), dense (kernel and bias), norm (gamma and beta).
      sizes: of the array, or of the dense layer's kernel: V vocabulary, E embedding, T types, P positions, D hidden,
        F intermediate.
      role, tf1, keras, huggingface, tf_models: as in `Parameter`.
      split: sizes of the kernel where tensorflow/models splits the heads: N heads, H size of a head.
      bert_tf1, bert_huggingface: where BERT has names of its own.
    """

    kind: Literal["table", "dense", "norm"]
    sizes: str
    role: Role
    tf1: str
    keras: str
    huggingface: str
    tf_models: str
    split: str | None = None
    bert_tf1: str | None = None
    bert_huggingface: str | None = None


# fmt: off
_EMBEDDINGS = (
    _Scope("table", "VE", "encoder", "bert/embeddings/word_embeddings", "encoder/word_embeddings/embeddings",
           "embeddings.word_embeddings.weight", "word_embeddings/embeddings"),
    _Scope("table", "TE", "encoder", "bert/embeddings/token_type_embeddings",
           "encoder/token_type_embeddings/embeddings",
           "embeddings.token_type_embeddings.weight", "type_embeddings/embeddings"),
    _Scope("table", "PE", "encoder", "bert/embeddings/position_embeddings", "encoder/position_embeddings/embeddings",
           "embeddings.position_embeddings.weight", "position_embedding/embeddings"),
    _Scope("norm", "E", "encoder", "bert/embeddings/LayerNorm", "encoder/embedding_norm",
           "embeddings.LayerNorm", "embeddings/layer_norm"),
)
_PROJECTION = _Scope(
    "dense", "ED", "encoder", "bert/encoder/embedding_hidden_mapping_in", "encoder/embedding_projection",
    "encoder.embedding_hidden_mapping_in", "embedding_projection",
)
_LAYER = (  # names below the layer's own scope
    _Scope("dense", "DD", "encoder", "attention_1/self/query", "query",
           "attention.query", "self_attention/query", "DNH", "attention/self/query", "attention.self.query"),
    _Scope("dense", "DD", "encoder", "attention_1/self/key", "key",
           "attention.key", "self_attention/key", "DNH", "attention/self/key", "attention.self.key"),
    _Scope("dense", "DD", "encoder", "attention_1/self/value", "value",
           "attention.value", "self_attention/value", "DNH", "attention/self/value", "attention.self.value"),
    _Scope("dense", "DD", "encoder", "attention_1/output/dense", "attention_output",
           "attention.dense", "self_attention/attention_output", "NHD",
           "attention/output/dense", "attention.output.dense"),
    _Scope("norm", "D", "encoder", "LayerNorm", "attention_norm",
           "attention.LayerNorm", "self_attention_layer_norm", None,
           "attention/output/LayerNorm", "attention.output.LayerNorm"),
    _Scope("dense", "DF", "encoder", "ffn_1/intermediate/dense", "intermediate",
           "ffn", "intermediate", None, "intermediate/dense", "intermediate.dense"),
    _Scope("dense", "FD", "encoder", "ffn_1/intermediate/output/dense", "output",
           "ffn_output", "output", None, "output/dense", "output.dense"),
    _Scope("norm", "D", "encoder", "LayerNorm_1", "output_norm",
           "full_layer_layer_norm", "output_layer_norm", None, "output/LayerNorm", "output.LayerNorm"),
)
_POOLER_AND_HEADS = (
    _Scope("dense", "DD", "pooler", "bert/pooler/dense", "encoder/pooler",
           "pooler", "pooler_transform", None, None, "pooler.dense"),
    _Scope("dense", "DE", "mlm", "cls/predictions/transform/dense", "mlm_head/transform",
           "predictions.dense", "cls/predictions/transform/dense", None, None, "cls.predictions.transform.dense"),
    _Scope("norm", "E", "mlm", "cls/predictions/transform/LayerNorm", "mlm_head/norm",
           "predictions.LayerNorm", "cls/predictions/transform/LayerNorm", None,
           None, "cls.predictions.transform.LayerNorm"),
    _Scope("table", "V", "mlm", "cls/predictions/output_bias", "mlm_head/bias",
           "predictions.bias", "cls/predictions/output_bias/bias", None, None, "cls.predictions.bias"),
)
# fmt: on


@lru_cache
def parameters(config: AlbertConfig) -> tuple[Parameter, ...]:
    """All parameters of a network: embedding, layers, pooler, MLM head, SOP head."""
    table = _Table(config)
    rows = [row for scope in _EMBEDDINGS for row in table.rows(scope)]
    if config.projects_embedding:
        rows += table.rows(_PROJECTION)
    for group in range(config.num_hidden_groups):
        for inner in range(config.inner_group_num):
            rows += [row for scope in _LAYER for row in table.rows(scope, (group, inner))]
    rows += [row for scope in _POOLER_AND_HEADS for row in table.rows(scope)]
    return (*rows, *_sentence_order_rows(config))


def _sentence_order_rows(config: AlbertConfig) -> tuple[Parameter, Parameter]:
    """The one kernel that Google keeps as [classes, hidden]."""
    scope = "cls.seq_relationship" if is_bert_in_huggingface(config) else "sop_classifier.classifier"
    weights, bias = "cls/seq_relationship/output_weights", "cls/seq_relationship/output_bias"
    kernel_in_keras = Place("sop_head/classifier/kernel", transposed=True)
    bias_in_keras = Place("sop_head/classifier/bias")
    return (
        Parameter(
            weights, (2, config.hidden_size), "sop", Place(weights), kernel_in_keras, Place(f"{scope}.weight"), None
        ),
        Parameter(bias, (2,), "sop", Place(bias), bias_in_keras, Place(f"{scope}.bias"), None),
    )


def is_bert_in_huggingface(config: AlbertConfig) -> bool:
    """Whether transformers' BertModel computes this; it has no factorised embedding, which its AlbertModel has."""
    return config.architecture == "bert" and not config.projects_embedding


class _Table:
    """Makes rows of scopes, with the sizes and names that a config asks for."""

    def __init__(self, config: AlbertConfig):
        self.config = config
        self.bert_tf1 = config.architecture == "bert"
        self.bert_huggingface = is_bert_in_huggingface(config)
        heads = config.num_attention_heads
        self.sizes = {"V": config.vocab_size, "E": config.embedding_size, "T": config.type_vocab_size}
        self.sizes |= {"P": config.max_position_embeddings, "D": config.hidden_size, "F": config.intermediate_size}
        self.sizes |= {"N": heads, "H": config.hidden_size // heads}

    def rows(self, scope: _Scope, layer: tuple[int, int] | None = None) -> list[Parameter]:
        """The rows of a scope; `layer` is (group, inner layer) of a scope that stands below one."""
        canonical, tf1, keras, huggingface, tf_models = self._names(scope, layer)
        shape = self._shape(scope.sizes)
        split = self._shape(scope.split) if scope.split else None
        if scope.kind == "table":
            places = (Place(name) for name in (tf1, keras, huggingface, tf_models))
            return [Parameter(canonical, shape, scope.role, *places)]
        # Name here, name in torch, shape, whether torch holds the transpose, shape where the heads are split.
        parts: list[tuple[str, str, tuple[int, ...], bool, tuple[int, ...] | None]]
        if scope.kind == "norm":
            parts = [("gamma", "weight", shape, False, None), ("beta", "bias", shape, False, None)]
        else:
            bias_split = split[1:] if split and scope.split != "NHD" else None
            parts = [("kernel", "weight", shape, True, split), ("bias", "bias", shape[1:], False, bias_split)]
        return [
            Parameter(
                name=f"{canonical}/{part}",
                shape=part_shape,
                role=scope.role,
                tf1=Place(f"{tf1}/{part}"),
                keras=Place(f"{keras}/{part}"),
                huggingface=Place(f"{huggingface}.{torch_part}", transposed),
                tf_models=Place(f"{tf_models}/{part}", shape=part_split),
            )
            for part, torch_part, part_shape, transposed, part_split in parts
        ]

    def _names(self, scope: _Scope, layer: tuple[int, int] | None) -> tuple[str, str, str, str, str]:
        canonical, keras, tf_models = scope.tf1, scope.keras, scope.tf_models
        tf1 = scope.bert_tf1 if self.bert_tf1 and scope.bert_tf1 else scope.tf1
        bert_name = scope.bert_huggingface if self.bert_huggingface else None
        huggingface = bert_name or scope.huggingface
        if layer is None:
            return canonical, tf1, keras, huggingface, tf_models
        group, inner = layer
        albert = f"bert/encoder/transformer/group_{group}/inner_group_{inner}/"
        # tensorflow/models' ALBERT knows one layer alone, so that its scope has no number.
        shared = self.config.num_hidden_groups == self.config.inner_group_num == 1
        number = group * self.config.inner_group_num + inner
        tf_models_scope = "transformer/" if shared and not self.bert_tf1 else f"transformer/layer_{number}/"
        return (
            albert + canonical,
            (f"bert/encoder/layer_{group}/" if self.bert_tf1 else albert) + tf1,
            f"encoder/group_{group}_layer_{inner}/{keras}",
            (
                f"encoder.layer.{group}."
                if self.bert_huggingface
                else f"encoder.albert_layer_groups.{group}.albert_layers.{inner}."
            )
            + huggingface,
            f"{tf_models_scope}{tf_models}",
        )

    def _shape(self, sizes: str) -> tuple[int, ...]:
        return tuple(self.sizes[letter] for letter in sizes)


def roles(weights: Iterable[str], config: AlbertConfig) -> tuple[Role, ...]:
    """The parts of the model that weights hold, whole or not."""
    held = set(weights)
    return tuple(role for role in ROLES if any(row.name in held for row in parameters(config) if row.role == role))


def check(weights: Iterable[str], config: AlbertConfig, source: str) -> None:
    """Makes sure that there is all of the encoder, all or nothing of each other part, and nothing unknown.

    Raises:
      InputError: names the source and every parameter that is missing or unknown.
    """
    held = set(weights)
    need = {"encoder", *roles(held, config)}
    names = {row.name for row in parameters(config)}
    problems = [f"{row.name} is missing" for row in parameters(config) if row.role in need and row.name not in held]
    problems += [f"{name} is not a parameter of this config" for name in sorted(held - names)]
    if problems:
        raise InputError(f"{source}: does not fit its config: " + "; ".join(problems))
