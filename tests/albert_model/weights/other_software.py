"""Models as TF-Hub v1 modules and tensorflow/models' SavedModels hold them, which compute by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from albert_model.config import AlbertConfig

_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")
_Weight = Callable[[str], tf.Tensor]


# === ALBERT in TensorFlow, after google-research/albert's modeling.py ===


def encode(weight: _Weight, config: AlbertConfig, ids, mask, types) -> dict:
    """ALBERT with one group of one layer; `weight` gives a tensor by its name in Google's checkpoints."""
    x = tf.gather(weight("bert/embeddings/word_embeddings"), ids)
    x += tf.gather(weight("bert/embeddings/token_type_embeddings"), types)
    x = _norm(
        weight, "bert/embeddings/LayerNorm", x + weight("bert/embeddings/position_embeddings")[: tf.shape(ids)[1]]
    )
    x = _dense(weight, "bert/encoder/embedding_hidden_mapping_in", x)
    bias = (1.0 - tf.cast(mask, tf.float32))[:, None, None, :] * -10000.0
    outputs = []
    for _ in range(config.num_hidden_layers):
        x = _layer(weight, "bert/encoder/transformer/group_0/inner_group_0/", config.num_attention_heads, x, bias)
        outputs.append(x)
    pooled = tf.tanh(_dense(weight, "bert/pooler/dense", x[:, 0]))
    return {"sequence_output": x, "pooled_output": pooled, "encoder_outputs": outputs}


def predict(weight: _Weight, sequence, positions):
    """Logits [B * P, V]."""
    x = tf.reshape(tf.gather(sequence, positions, batch_dims=1), (-1, sequence.shape[-1]))
    x = _norm(
        weight, "cls/predictions/transform/LayerNorm", _gelu(_dense(weight, "cls/predictions/transform/dense", x))
    )
    logits = tf.matmul(x, weight("bert/embeddings/word_embeddings"), transpose_b=True)
    return logits + weight("cls/predictions/output_bias")


def _layer(weight: _Weight, scope: str, heads: int, x, bias):
    def split(part: str):
        y = _dense(weight, f"{scope}attention_1/self/{part}", x)
        return tf.transpose(tf.reshape(y, (tf.shape(y)[0], tf.shape(y)[1], heads, y.shape[-1] // heads)), (0, 2, 1, 3))

    query, key, value = split("query"), split("key"), split("value")
    scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(query.shape[-1])
    context = tf.transpose(tf.matmul(tf.nn.softmax(scores + bias), value), (0, 2, 1, 3))
    attended = _dense(weight, f"{scope}attention_1/output/dense", tf.reshape(context, tf.shape(x)))
    x = _norm(weight, f"{scope}LayerNorm", x + attended)
    inner = _gelu(_dense(weight, f"{scope}ffn_1/intermediate/dense", x))
    return _norm(weight, f"{scope}LayerNorm_1", x + _dense(weight, f"{scope}ffn_1/intermediate/output/dense", inner))


def _dense(weight: _Weight, name: str, x):
    return tf.tensordot(x, weight(f"{name}/kernel"), 1) + weight(f"{name}/bias")


def _norm(weight: _Weight, name: str, x):
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-12) * weight(f"{name}/gamma") + weight(f"{name}/beta")


def _gelu(x):
    return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * tf.pow(x, 3))))


# === TF-Hub v1 ===


def write_hub_module(folder: Path, config: AlbertConfig, weights: Mapping[str, np.ndarray]) -> Path:
    """A module with the tags, signatures and names of google/albert_base/3, and no assets."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {name: v1.get_variable(name, initializer=array) for name, array in weights.items()}
        feeds = [v1.placeholder(tf.int32, (None, None)) for _ in range(4)]
        outputs = encode(variables.__getitem__, config, *feeds[:3])
        outputs = {name: outputs[name] for name in ("sequence_output", "pooled_output")}
        logits = predict(variables.__getitem__, outputs["sequence_output"], feeds[3])
        names = ("input_ids", "input_mask", "segment_ids", "mlm_positions")
        inputs = dict(zip(names, feeds, strict=True))
        signatures = {
            "tokens": _signature({name: inputs[name] for name in names[:3]}, outputs),
            "mlm": _signature(inputs, outputs | {"mlm_logits": logits}),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [], signatures)
        builder.add_meta_graph(["train"], signatures)
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return folder


def _signature(inputs: dict, outputs: dict):
    return tf.compat.v1.saved_model.predict_signature_def(inputs, outputs)


# === tensorflow/models ===


# By Google's names: the names in albert_en_*/2 and /3.
_EMBEDDINGS = {
    "bert/embeddings/word_embeddings": "word_embeddings/embeddings",
    "bert/embeddings/position_embeddings": "position_embedding/embeddings",
    "bert/embeddings/token_type_embeddings": "type_embeddings/embeddings",
    "bert/embeddings/LayerNorm": "embeddings/layer_norm",
    "bert/encoder/embedding_hidden_mapping_in": "embedding_projection",
    "bert/pooler/dense": "pooler_transform",
}
_LAYER = {
    "attention_1/self/query": "self_attention/query",
    "attention_1/self/key": "self_attention/key",
    "attention_1/self/value": "self_attention/value",
    "attention_1/output/dense": "self_attention/attention_output",
    "LayerNorm": "self_attention_layer_norm",
    "ffn_1/intermediate/dense": "intermediate",
    "ffn_1/intermediate/output/dense": "output",
    "LayerNorm_1": "output_layer_norm",
}
_HEAD = {
    "cls/predictions/transform/dense": "bert/cls/predictions/transform/dense",
    "cls/predictions/transform/LayerNorm": "bert/cls/predictions/transform/LayerNorm",
    "cls/predictions/output_bias": "bert/cls/predictions/output_bias/bias",
}


def tensorflow_models_name(name: str, layers: Mapping[str, str]) -> str:
    """What tensorflow/models calls a variable that Google's checkpoints call `name`.

    Args:
      name: of an ALBERT, or of a BERT's layer that stands as a group.
      layers: scope of each layer here to its scope there.
    """
    scopes = {f"{scope}{part}": f"{there}{name_}" for scope, there in layers.items() for part, name_ in _LAYER.items()}
    table = _EMBEDDINGS | scopes | _HEAD
    scope, _, part = name.rpartition("/")
    return table[name] if name in table else f"{table[scope]}/{part}"


def split_heads(name: str, array: np.ndarray, heads: int) -> np.ndarray:
    """The array in the shape in which tensorflow/models holds it."""
    if "/attention_1/self/" in name:
        return array.reshape(*array.shape[:-1], heads, -1)
    return array.reshape(heads, -1, array.shape[-1]) if name.endswith("attention_1/output/dense/kernel") else array


def write_saved_model(
    folder: Path,
    config: AlbertConfig,
    weights: Mapping[str, np.ndarray],
    rename: Callable[[str], str] = str,
    interface: int = 2,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A SavedModel with the variables and calls of tensorflow/albert_en_*.

    Args:
      folder: is made.
      config: one group of one layer.
      weights: canonical; without the sentence-order head.
      rename: makes an older release's names of today's.
      interface: 1 has the list call, 2 the dict call and, if there is the head, `.mlm`.
      extra: more variables.
    """
    layers = {"bert/encoder/transformer/group_0/inner_group_0/": "transformer/"}
    variables = {
        name: tf.Variable(
            split_heads(name, array, config.num_attention_heads), name=rename(tensorflow_models_name(name, layers))
        )
        for name, array in weights.items()
    }

    def weight(name: str):
        return tf.reshape(variables[name], weights[name].shape)

    module = tf.Module()
    module.held = list(variables.values())
    module.extra = [tf.Variable(array, name=name) for name, array in (extra or {}).items()]
    module.__call__ = _list_call(weight, config) if interface == 1 else _dict_call(weight, config)
    if "cls/predictions/output_bias" in weights:
        module.mlm = _mlm_call(weight, config)
    tf.saved_model.save(module, str(folder))
    return folder


_IDS = tf.TensorSpec((None, None), tf.int32)
_TRAINING = tf.TensorSpec((), tf.bool)


def _list_call(weight: _Weight, config: AlbertConfig):
    @tf.function(input_signature=[[_IDS] * 3, _TRAINING])
    def call(inputs, training):
        outputs = encode(weight, config, *inputs)
        return [outputs["pooled_output"], outputs["sequence_output"]]

    return call


def _dict_call(weight: _Weight, config: AlbertConfig):
    @tf.function(input_signature=[dict.fromkeys(_INPUTS, _IDS), _TRAINING])
    def call(inputs, training):
        outputs = encode(weight, config, *(inputs[name] for name in _INPUTS))
        return outputs | {"default": outputs["pooled_output"]}

    return call


def _mlm_call(weight: _Weight, config: AlbertConfig):
    @tf.function(input_signature=[dict.fromkeys((*_INPUTS, "masked_lm_positions"), _IDS), _TRAINING])
    def call(inputs, training):
        outputs = encode(weight, config, *(inputs[name] for name in _INPUTS))
        positions = inputs["masked_lm_positions"]
        logits = predict(weight, outputs["sequence_output"], positions)
        return outputs | {"mlm_logits": tf.reshape(logits, (*tf.unstack(tf.shape(positions)), config.vocab_size))}

    return call
