"""The encoder as a TF2 SavedModel with the interface of tensorflow/albert_en_*/2."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from albert_model.network.pretrainer import ENCODER_INPUTS, AlbertPretrainer


class EncoderModule(tf.__internal__.tracking.AutoTrackable):
    """What `tf.saved_model.save` writes and `hub.KerasLayer` loads: it shows its variables itself.

    Takes a dict (`input_word_ids, input_mask, input_type_ids`, int32 [B, S] each); gives `pooled_output` [B, D],
    `sequence_output` [B, S, D], `default` (the pooled output) and `encoder_outputs`, a list of [B, S, D].
    """

    def __init__(self, network: AlbertPretrainer, vocabulary: str | Path):
        self.network = network
        self.variables = [variable.value for variable in network.encoder.variables]
        self.trainable_variables = [variable.value for variable in network.encoder.trainable_variables]
        self.regularization_losses: list[tf.Tensor] = []
        self.sp_model_file = tf.saved_model.Asset(str(vocabulary))

    @tf.function
    def __call__(self, inputs, training=False):
        outputs = self.network.encoder(*(inputs[name] for name in ENCODER_INPUTS), training=training)
        return outputs | {"default": outputs["pooled_output"]}

    @tf.function
    def encode(self, input_word_ids, input_mask, input_type_ids):
        outputs = self.network.encoder(input_word_ids, input_mask, input_type_ids)
        return {name: outputs[name] for name in ("pooled_output", "sequence_output")}


def encoder_signature(module: EncoderModule):
    """The concrete `serving_default` of an encoder."""
    return module.encode.get_concrete_function(**_input_specs())


def _input_specs() -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec([None, None], tf.int32, name) for name in ENCODER_INPUTS}


def write(path: str | Path, network: AlbertPretrainer, vocabulary: str | Path) -> None:
    """Writes the SavedModel folder; `vocabulary` is the SentencePiece model that becomes its asset."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("A SavedModel is written under KERAS_BACKEND=tensorflow only.")
    module = EncoderModule(network, vocabulary)
    for training in (True, False):
        module.__call__.get_concrete_function(_input_specs(), training=training)
    tf.saved_model.save(module, str(path), signatures={"serving_default": encoder_signature(module)})
