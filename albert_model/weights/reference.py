"""An independent forward pass in numpy: what converted networks are held against.

Written from the papers and Google's code, not from `albert_model.network`, of which it imports nothing. Slow and plain:
it reads each weight when it needs it, so that it adds little to what is in memory.

Sources: arXiv:1909.11942 (ALBERT), arXiv:1810.04805 (BERT), arXiv:1606.08415 (gelu); google-research/albert,
modeling.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import special

from albert_model.config import AlbertConfig
from albert_model.weights.names import Weights
from albert_model.weights.tensors import column_blocks

_EPSILON = 1e-12
_MASKED = -10000.0


def forward(
    weights: Weights,
    config: AlbertConfig,
    inputs: Mapping[str, np.ndarray],
    layer_positions: slice = slice(None),
    dtype: type[np.floating] = np.float64,
) -> dict[str, np.ndarray]:
    """Runs canonical weights.

    Args:
      weights: of the encoder and the pooler at least.
      config: its sizes.
      inputs: int [B, S] `input_word_ids`, `input_mask`, `input_type_ids`; int [B, P] `masked_lm_positions`.
      layer_positions: those that `encoder_outputs` keeps.
      dtype: to compute in; float32 shows how much rounding there is in any float32.

    Returns:
      `encoder_outputs` [L, B, S, D], `sequence_output` [B, S, D]; `pooled_output` [B, D], `sop_logits` [B, 2] and
      `mlm_logits` [B, P, V] where the weights have the parts.
    """
    network = _Forward(weights, config, dtype)
    x_BSD = network.embed(inputs["input_word_ids"], inputs["input_type_ids"])
    bias_BS = (dtype(1) - np.asarray(inputs["input_mask"], dtype)) * dtype(_MASKED)
    outputs = []
    for number in range(config.num_hidden_layers):
        group = number * config.num_hidden_groups // config.num_hidden_layers
        for inner in range(config.inner_group_num):
            x_BSD = network.layer(f"bert/encoder/transformer/group_{group}/inner_group_{inner}", x_BSD, bias_BS)
        outputs.append(x_BSD[:, layer_positions].copy())
    results = {"encoder_outputs": np.stack(outputs), "sequence_output": x_BSD}
    if "bert/pooler/dense/kernel" in weights:
        results["pooled_output"] = np.tanh(network.dense("bert/pooler/dense", x_BSD[:, 0]))
        if "cls/seq_relationship/output_weights" in weights:
            kernel_DC = network.weight("cls/seq_relationship/output_weights").T
            results["sop_logits"] = results["pooled_output"] @ kernel_DC + network.weight(
                "cls/seq_relationship/output_bias"
            )
    if "cls/predictions/output_bias" in weights:
        rows = np.arange(len(x_BSD))[:, None]
        results["mlm_logits"] = network.predict(x_BSD[rows, inputs["masked_lm_positions"]])
    return results


class _Forward:
    def __init__(self, weights: Weights, config: AlbertConfig, dtype: type[np.floating]):
        self.weights, self.config, self.dtype = weights, config, dtype

    def weight(self, name: str) -> np.ndarray:
        return self.weights[name].astype(self.dtype)

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        # The kernel has no name here, so that it is gone when the parts are joined.
        parts = [x @ columns.astype(self.dtype) for columns in column_blocks(self.weights[f"{name}/kernel"])]
        return np.concatenate(parts, -1) + self.weight(f"{name}/bias")

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + _EPSILON)
        return scaled * self.weight(f"{name}/gamma") + self.weight(f"{name}/beta")

    def activate(self, x: np.ndarray) -> np.ndarray:
        if self.config.hidden_act == "relu":
            return np.maximum(x, 0.0)
        if self.config.hidden_act == "gelu_erf":
            return x * special.ndtr(x)
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    def embed(self, ids_BS: np.ndarray, types_BS: np.ndarray) -> np.ndarray:
        # Rows first: the table in float64 would be the largest array of all.
        x_BSE = self.weights["bert/embeddings/word_embeddings"][ids_BS].astype(self.dtype)
        x_BSE = x_BSE + self.weight("bert/embeddings/token_type_embeddings")[types_BS]
        x_BSE = x_BSE + self.weight("bert/embeddings/position_embeddings")[: ids_BS.shape[1]]
        x_BSE = self.norm("bert/embeddings/LayerNorm", x_BSE)
        if self.config.embedding_size == self.config.hidden_size:
            return x_BSE
        return self.dense("bert/encoder/embedding_hidden_mapping_in", x_BSE)

    def layer(self, name: str, x_BSD: np.ndarray, bias_BS: np.ndarray) -> np.ndarray:
        attended_BSD = self.dense(f"{name}/attention_1/output/dense", self.attend(name, x_BSD, bias_BS))
        x_BSD = self.norm(f"{name}/LayerNorm", x_BSD + attended_BSD)
        inner_BSF = self.activate(self.dense(f"{name}/ffn_1/intermediate/dense", x_BSD))
        return self.norm(
            f"{name}/LayerNorm_1", x_BSD + self.dense(f"{name}/ffn_1/intermediate/output/dense", inner_BSF)
        )

    def attend(self, name: str, x_BSD: np.ndarray, bias_BS: np.ndarray) -> np.ndarray:
        query, key, value = (self.dense(f"{name}/attention_1/self/{part}", x_BSD) for part in ("query", "key", "value"))
        size = self.config.hidden_size // self.config.num_attention_heads
        contexts = []
        for head in range(self.config.num_attention_heads):
            columns = slice(head * size, (head + 1) * size)
            scores_BSS = query[..., columns] @ key[..., columns].transpose(0, 2, 1) / math.sqrt(size)
            contexts.append(special.softmax(scores_BSS + bias_BS[:, None, :], -1) @ value[..., columns])
        return np.concatenate(contexts, -1)

    def predict(self, x_BPD: np.ndarray) -> np.ndarray:
        x_BPE = self.activate(self.dense("cls/predictions/transform/dense", x_BPD))
        x_BPE = self.norm("cls/predictions/transform/LayerNorm", x_BPE)
        return x_BPE @ self.weight("bert/embeddings/word_embeddings").T + self.weight("cls/predictions/output_bias")
