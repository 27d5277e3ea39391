"""The two pre-training heads."""

from __future__ import annotations

import keras
from keras import ops

from albert_model.config import AlbertConfig
from albert_model.network.layers import LayerFactory


class MaskedLanguageModelHead(keras.layers.Layer):
    """Predicts pieces at given positions; its output matrix is the encoder's word embedding."""

    def __init__(self, config: AlbertConfig, factory: LayerFactory, **kwargs):
        super().__init__(dtype=factory.dtype, **kwargs)
        self.transform = factory.dense(config.embedding_size, "transform")
        self.activation = factory.activation()
        self.norm = factory.layer_norm("norm")
        self.vocab_size = config.vocab_size

    def build(self, *_):
        self.bias = self.add_weight(shape=(self.vocab_size,), initializer="zeros", name="bias")

    def call(self, sequence_output_BSD, positions_BP, word_embeddings_VE):
        """Logits [B, P, V] at `positions_BP`."""
        gathered_BPD = ops.take_along_axis(sequence_output_BSD, positions_BP[..., None], axis=1)
        transformed_BPE = self.norm(self.activation(self.transform(gathered_BPD)))
        return ops.matmul(transformed_BPE, ops.transpose(word_embeddings_VE)) + self.bias


class SentenceOrderHead(keras.layers.Layer):
    """Says whether two segments stand in order (class 0) or swapped (class 1)."""

    def __init__(self, factory: LayerFactory, **kwargs):
        super().__init__(dtype=factory.dtype, **kwargs)
        self.classifier = factory.dense(2, "classifier")

    def build(self, *_):
        """Nothing: see `AlbertEncoder.build`."""

    def call(self, pooled_output_BD):
        """Logits [B, 2]."""
        return self.classifier(pooled_output_BD)
