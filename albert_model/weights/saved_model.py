"""TF2 SavedModels with the interfaces of tensorflow/albert_en_*: the list call of /1 and the dict call of /2."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS, MLM_POSITIONS, AlbertPretrainer
from albert_model.weights import tf1_checkpoint, tf2_checkpoint
from albert_model.weights.names import ROLES, WORD_EMBEDDINGS, Role, Run, Weights
from albert_model.weights.tensors import Stored, match, renamed

_LAYER = re.compile(r"transformer/layer_(\d+)/")
_NUMBERED_POSITION = re.compile(r"^(position_embedding)_\d+(?=/)")
_NO_WEIGHTS = re.compile(r"^Variable$|/do_lower_case$|^do_lower_case$")  # BERT's modules keep this as a variable


# === Write ===


class EncoderModule(tf.__internal__.tracking.AutoTrackable):
    """What `tf.saved_model.save` writes and `hub.KerasLayer` loads: it shows its variables itself.

    Takes a dict (`input_word_ids, input_mask, input_type_ids`, int32 [B, S] each) and gives `pooled_output` [B, D],
    `sequence_output` [B, S, D], `default` (the pooled output) and `encoder_outputs`, a list of [B, S, D]. Takes a
    list of the same three as well, and gives the list of pooled and sequence output then.

    `mlm` is the same with the head: it takes `masked_lm_positions`, int32 [B, P], too, and gives `mlm_logits`
    [B, P, V] besides.
    """

    def __init__(self, network: AlbertPretrainer, vocabulary: str | Path | None, parts: Sequence[Role] = ROLES):
        # TensorFlow's variables, and not the network or Keras' variables, of which copies would be saved besides. By
        # name, so that `tf2_checkpoint` reads them.
        named = tf2_checkpoint.by_name(network, parts)
        self.weights = {name: variable.value for name, variable in named.items()}
        # A graph of its own, which all calls below share: traced once for each mode, not once for each call.
        self.all_outputs = tf.function(lambda *inputs, training: network.encoder(*inputs, training=training))
        _show_variables(self, network.encoder)
        if "mlm" in parts:
            self.mlm = _MaskedLanguageModel(network, self.all_outputs)
        if vocabulary is not None:
            asset = "sp_model_file" if Path(vocabulary).suffix == ".model" else "vocab_file"
            setattr(self, asset, tf.saved_model.Asset(str(vocabulary)))

    @tf.function
    def __call__(self, inputs, training=False):
        if isinstance(inputs, Sequence):
            outputs = self.all_outputs(*inputs, training=training)
            return [outputs["pooled_output"], outputs["sequence_output"]]
        outputs = self.all_outputs(*(inputs[name] for name in ENCODER_INPUTS), training=training)
        return outputs | {"default": outputs["pooled_output"]}

    @tf.function
    def encode(self, input_word_ids, input_mask, input_type_ids):
        outputs = self.all_outputs(input_word_ids, input_mask, input_type_ids, training=False)
        return {name: outputs[name] for name in ("pooled_output", "sequence_output")}


class _MaskedLanguageModel(tf.__internal__.tracking.AutoTrackable):
    """Encoder and MLM head, as the sub-object `.mlm`."""

    def __init__(self, network: AlbertPretrainer, all_outputs: Callable):
        self.all_outputs = all_outputs
        self.predict = tf.function(
            lambda sequence_BSD, positions_BP: network.mlm_head(
                sequence_BSD, positions_BP, network.encoder.word_embeddings.embeddings
            )
        )
        _show_variables(self, network.encoder, network.mlm_head)

    @tf.function
    def __call__(self, inputs, training=False):
        outputs = self.all_outputs(*(inputs[name] for name in ENCODER_INPUTS), training=training)
        return outputs | {"mlm_logits": self.predict(outputs["sequence_output"], inputs[MLM_POSITIONS])}


def _show_variables(module: Any, *layers: keras.layers.Layer) -> None:
    module.variables = [variable.value for layer in layers for variable in layer.variables]
    module.trainable_variables = [variable.value for layer in layers for variable in layer.trainable_variables]
    module.regularization_losses = []


def encoder_signature(module: EncoderModule):
    """The concrete `serving_default` of an encoder."""
    return module.encode.get_concrete_function(**_input_specs(ENCODER_INPUTS))


def _input_specs(names: Sequence[str]) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec([None, None], tf.int32, name) for name in names}


def write(
    path: str | Path, network: AlbertPretrainer, vocabulary: str | Path | None, parts: Sequence[Role] = ROLES
) -> None:
    """Writes the SavedModel folder.

    Args:
      path: the folder.
      network: the live network.
      vocabulary: the file that becomes its asset.
      parts: of the network to write. With `mlm`, there is a `.mlm`; the sentence-order head is kept, and not called.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("A SavedModel is written under KERAS_BACKEND=tensorflow only.")
    module = EncoderModule(network, vocabulary, parts)
    specs = _input_specs(ENCODER_INPUTS)
    for training in (True, False):
        module.__call__.get_concrete_function(specs, training=training)
        module.__call__.get_concrete_function(list(specs.values()), training=training)
        if "mlm" in parts:
            module.mlm.__call__.get_concrete_function(_input_specs((*ENCODER_INPUTS, MLM_POSITIONS)), training=training)
    tf.saved_model.save(module, str(path), signatures={"serving_default": encoder_signature(module)})
    extra = Path(path, "assets.extra")
    extra.mkdir()
    (extra / "config.json").write_text(network.config.to_json())
    _settle_fingerprint(Path(path, "fingerprint.pb"))


def _settle_fingerprint(path: Path) -> None:
    """TensorFlow draws a uuid for each SavedModel; instead, that of what its fingerprint says else."""
    fingerprint = fingerprint_pb2.FingerprintDef()
    fingerprint.ParseFromString(path.read_bytes())
    fingerprint.ClearField("uuid")
    said = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
    fingerprint.uuid = str(uuid.UUID(bytes=said[:16]).int)
    path.write_bytes(fingerprint.SerializeToString(deterministic=True))


def write_and_release(
    path: str | Path, network: AlbertPretrainer, vocabulary: str | Path | None, parts: Sequence[Role] = ROLES
) -> None:
    """As `write`, of a network that is not needed any more."""
    write(path, network, vocabulary, parts)
    release(network)


def release(network: AlbertPretrainer) -> None:
    """Frees the values of a network that was written and is not needed any more.

    Without this they stay in memory after `write`, even once nothing refers to the network and garbage is collected.
    """
    for variable in network.variables:
        tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=tf.zeros(0, variable.value.dtype))


# === Read ===


def is_one(folder: str | Path) -> bool:
    folder = Path(folder)
    return (folder / "saved_model.pb").is_file() and not (folder / "tfhub_module.pb").is_file()


def open_stored(folder: str | Path) -> Stored:
    """The variables of a SavedModel: canonical names if this project wrote it, else tensorflow/models' names."""
    prefix = Path(folder) / "variables" / "variables"
    if not prefix.parent.is_dir():
        raise InputError(f"{prefix.parent}: there is no such folder; the SavedModel is incomplete. Fetch it again.")
    stored = tf2_checkpoint.open_stored(prefix)
    return stored if WORD_EMBEDDINGS in stored.shapes else renamed(stored, _current_name)


def _current_name(name: str) -> str:
    """What tensorflow/models calls a variable since its release 2.3, without the scope of a pretrainer."""
    name = _NUMBERED_POSITION.sub(r"\1", name.removeprefix("bert/"))
    return name.replace("/self_attention_output/", "/self_attention/attention_output/")


def read(stored: Stored, config: AlbertConfig) -> tuple[Weights, tuple[str, ...]]:
    """The weights among a SavedModel's variables, and the names of those left out."""
    if WORD_EMBEDDINGS in stored.shapes:
        return tf2_checkpoint.read(stored, config)
    return match(stored, config, lambda row: row.tf_models, _NO_WEIGHTS)


def deduce_config(stored: Stored, version: int = 2) -> AlbertConfig:
    """The config that shapes allow to be known. Attention kernels of tensorflow/models show the heads.

    Raises:
      InputError: it holds no ALBERT and no BERT, or an ALBERT of which no released one has the sizes.
    """
    shapes = stored.shapes
    if WORD_EMBEDDINGS in shapes:
        return tf1_checkpoint.deduce_config(stored, version)
    layers = [int(found[1]) for name in shapes if (found := _LAYER.match(name))]
    layer = "transformer/layer_0" if layers else "transformer"
    try:
        vocab_size, embedding_size = shapes["word_embeddings/embeddings"]
        hidden, heads, _ = shapes[f"{layer}/self_attention/query/kernel"]
        _, intermediate = shapes[f"{layer}/intermediate/kernel"]
        sizes = {"vocab_size": vocab_size, "embedding_size": embedding_size, "hidden_size": hidden}
        sizes |= {"intermediate_size": intermediate, "num_attention_heads": heads}
        sizes["max_position_embeddings"] = shapes["position_embedding/embeddings"][0]
        sizes["type_vocab_size"] = shapes["type_embeddings/embeddings"][0]
    except (KeyError, ValueError) as error:
        some = ", ".join(sorted(shapes)[:3])
        raise InputError(
            f"{stored.source}: holds no ALBERT and no BERT of tensorflow/models (it has {some}, …)."
        ) from error
    if layers:
        values = sizes | {"architecture": "bert", "num_hidden_layers": 1 + max(layers)}
        return AlbertConfig.from_values(values, stored.source)
    return tf1_checkpoint.published_config(sizes, version, stored.source)


# === Run ===


def runner(folder: str | Path) -> Run:
    """Loads a SavedModel; gives what it computes by itself."""
    module = tf.saved_model.load(str(folder))

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(inputs[name], tf.int32) for name in ENCODER_INPUTS}
        try:
            outputs = module(tensors, training=False)
        except (TypeError, ValueError):  # /1 has the list call alone
            pooled, sequence = module(list(tensors.values()), training=False)
            outputs = {"pooled_output": pooled, "sequence_output": sequence}
        results = {name: outputs[name].numpy() for name in ("sequence_output", "pooled_output")}
        if "encoder_outputs" in outputs:
            results["encoder_outputs"] = np.stack([output.numpy() for output in outputs["encoder_outputs"]])
        if hasattr(module, "mlm"):
            tensors[MLM_POSITIONS] = tf.constant(inputs[MLM_POSITIONS], tf.int32)
            results["mlm_logits"] = module.mlm(tensors, training=False)["mlm_logits"].numpy()
        return results

    return run
