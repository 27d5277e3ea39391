"""The two pre-training heads. They give logits in the precision of the variables, as losses need them."""

from __future__ import annotations

from keras import ops

from albert_model.config import AlbertConfig
from albert_model.network.layers import LayerFactory, Part, take_rows


class MaskedLanguageModelHead(Part):
    """Predicts pieces at given positions; its output matrix is the encoder's word embedding."""

    def __init__(self, config: AlbertConfig, factory: LayerFactory, **kwargs):
        super().__init__(factory, **kwargs)
        self.config = config
        self.transform = factory.dense(config.embedding_size, "transform")
        self.activation = factory.activation()
        self.norm = factory.layer_norm("norm")

    def build(self, *_):
        self.transform.build((None, None, self.config.hidden_size))
        self.norm.build((None, None, self.config.embedding_size))
        self.bias = self.add_weight(shape=(self.config.vocab_size,), initializer="zeros", name="bias")

    def call(self, sequence_output_BSD, positions_BP, word_embeddings_VE):
        """Logits [B, P, V] at `positions_BP`."""
        gathered_BPD = take_rows(sequence_output_BSD, positions_BP)
        transformed_BPE = self.norm(self.activation(self.transform(gathered_BPD)))
        embeddings_VE = ops.cast(word_embeddings_VE, transformed_BPE.dtype)
        logits_BPV = ops.matmul(transformed_BPE, ops.transpose(embeddings_VE))
        return ops.cast(logits_BPV, self.variable_dtype) + self.bias


class SentenceOrderHead(Part):
    """Says whether two segments stand in order (class 0) or swapped (class 1)."""

    def __init__(self, config: AlbertConfig, factory: LayerFactory, **kwargs):
        super().__init__(factory, **kwargs)
        self.config = config
        self.classifier = factory.dense(2, "classifier")

    def build(self, *_):
        self.classifier.build((None, self.config.hidden_size))

    def call(self, pooled_output_BD):
        """Logits [B, 2]."""
        return ops.cast(self.classifier(pooled_output_BD), self.variable_dtype)
