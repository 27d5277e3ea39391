"""The ALBERT encoder (arXiv:1909.11942): factorised embedding, layers that share their parameters."""

from __future__ import annotations

import math

import keras
from keras import ops

from albert_model.config import AlbertConfig
from albert_model.network.layers import LayerFactory

_MASKED_SCORE = -10000.0  # added to the scores of padding, as in Google's code


class AlbertEncoder(keras.layers.Layer):
    """Pieces to vectors.

    Not inside: the masked-language-model and sentence-order heads (`heads.py`).

    Args:
      config: sizes.
      factory: makes the layers.
    """

    def __init__(self, config: AlbertConfig, factory: LayerFactory, **kwargs):
        super().__init__(dtype=factory.dtype, **kwargs)
        self.config = config
        # === Embedding ===
        self.word_embeddings = factory.embedding(config.vocab_size, "word_embeddings")
        self.token_type_embeddings = factory.embedding(config.type_vocab_size, "token_type_embeddings")
        self.position_embeddings = factory.embedding(config.max_position_embeddings, "position_embeddings")
        self.embedding_norm = factory.layer_norm("embedding_norm")
        self.embedding_dropout = factory.dropout(config.hidden_dropout_prob, "embedding_dropout")
        self.embedding_projection = (
            factory.dense(config.hidden_size, "embedding_projection") if config.projects_embedding else None
        )
        # === Transformer ===
        self.groups = [
            [_layer(config, factory, f"group_{g}_layer_{i}") for i in range(config.inner_group_num)]
            for g in range(config.num_hidden_groups)
        ]
        for layer in (layer for group in self.groups for layer in group):
            setattr(self, layer.name, layer)  # by itself too: tf.train.Checkpoint does not see layers in Keras' lists
        # === Pooler ===
        self.pooler = factory.dense(config.hidden_size, "pooler")

    def build(self, *_):
        """Nothing: the layers inside build themselves when they are called. Keras would trace `call` to do it."""

    def call(self, input_word_ids, input_mask, input_type_ids, position_ids=None, example_numbers=None, training=False):
        """Encodes a batch.

        Args:
          input_word_ids: int [B, S].
          input_mask: int [B, S], 1 at pieces, 0 at padding.
          input_type_ids: int [B, S], 0 in segment A, 1 in segment B.
          position_ids: int [B, S], places of pieces in their example; none: places in the row.
          example_numbers: int [B, S], where rows hold several examples: which one. Pieces attend to those of the same
            number only.
          training: whether dropout acts.

        Returns:
          dict: `sequence_output` [B, S, D], `pooled_output` [B, D] (tanh of the first position's projection),
          `encoder_outputs`: list of [B, S, D], one a layer.
        """
        x_BSD = self._embed(input_word_ids, input_type_ids, position_ids, training)
        mask_B1SS = ops.cast(input_mask, x_BSD.dtype)[:, None, None, :]
        if example_numbers is not None:
            same_BSS = ops.equal(example_numbers[:, :, None], example_numbers[:, None, :])
            mask_B1SS = mask_B1SS * ops.cast(same_BSS, x_BSD.dtype)[:, None]
        outputs = []
        for number in range(self.config.num_hidden_layers):
            for layer in self.groups[number * self.config.num_hidden_groups // self.config.num_hidden_layers]:
                x_BSD = layer(x_BSD, mask_B1SS, training=training)
            outputs.append(x_BSD)
        return {"sequence_output": x_BSD, "pooled_output": self.pool(x_BSD[:, 0]), "encoder_outputs": outputs}

    def pool(self, x_BD):
        """The pooled output [B, D] of vectors at [CLS], [B, D]; or of several in a row, [B, K, D]."""
        return ops.tanh(self.pooler(x_BD))

    def _embed(self, input_word_ids, input_type_ids, position_ids, training):
        if position_ids is None:
            position_ids = ops.arange(ops.shape(input_word_ids)[1])
        x_BSE = self.word_embeddings(input_word_ids) + self.token_type_embeddings(input_type_ids)
        x_BSE = self.embedding_norm(x_BSE + self.position_embeddings(position_ids))
        x_BSE = self.embedding_dropout(x_BSE, training=training)
        return x_BSE if self.embedding_projection is None else self.embedding_projection(x_BSE)


def _layer(config: AlbertConfig, factory: LayerFactory, name: str) -> TransformerLayer:
    return TransformerLayer(config, factory.within(name), name=name)


class TransformerLayer(keras.layers.Layer):
    """Self-attention and feed-forward, each with a residual and a norm after it.

    The mask, [B, 1, S or 1, S], is 1 where the piece of the third axis may attend to that of the fourth.
    """

    def __init__(self, config: AlbertConfig, factory: LayerFactory, **kwargs):
        super().__init__(dtype=factory.dtype, **kwargs)
        self.heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        # === Attention ===
        self.query = factory.dense(config.hidden_size, "query")
        self.key = factory.dense(config.hidden_size, "key")
        self.value = factory.dense(config.hidden_size, "value")
        self.attention_dropout = factory.dropout(config.attention_probs_dropout_prob, "attention_dropout")
        self.attention_output = factory.dense(config.hidden_size, "attention_output")
        self.attention_output_dropout = factory.dropout(config.hidden_dropout_prob, "attention_output_dropout")
        self.attention_norm = factory.layer_norm("attention_norm")
        # === Feed-forward ===
        self.intermediate = factory.dense(config.intermediate_size, "intermediate")
        self.activation = factory.activation()
        self.output_dense = factory.dense(config.hidden_size, "output")
        self.output_dropout = factory.dropout(config.hidden_dropout_prob, "output_dropout")
        self.output_norm = factory.layer_norm("output_norm")

    def build(self, *_):
        """Nothing, as in the encoder."""

    def call(self, x_BSD, mask_B1SS, training=False):
        attended_BSD = self.attention_output(self._attend(x_BSD, mask_B1SS, training))
        attended_BSD = self.attention_output_dropout(attended_BSD, training=training)
        x_BSD = self.attention_norm(x_BSD + attended_BSD)
        fed_BSD = self.output_dense(self.activation(self.intermediate(x_BSD)))
        return self.output_norm(x_BSD + self.output_dropout(fed_BSD, training=training))

    def _attend(self, x_BSD, mask_B1SS, training):
        query_BNSH, key_BNSH, value_BNSH = (
            self._split_heads(dense(x_BSD)) for dense in (self.query, self.key, self.value)
        )
        scores_BNSS = ops.matmul(query_BNSH / math.sqrt(self.head_size), ops.transpose(key_BNSH, (0, 1, 3, 2)))
        scores_BNSS = ops.cast(scores_BNSS, "float32" if scores_BNSS.dtype != "float64" else "float64")
        scores_BNSS = scores_BNSS + (1.0 - ops.cast(mask_B1SS, scores_BNSS.dtype)) * _MASKED_SCORE
        weights_BNSS = ops.cast(ops.softmax(scores_BNSS), value_BNSH.dtype)
        weights_BNSS = self.attention_dropout(weights_BNSS, training=training)
        context_BSNH = ops.transpose(ops.matmul(weights_BNSS, value_BNSH), (0, 2, 1, 3))
        return ops.reshape(context_BSNH, ops.shape(x_BSD))

    def _split_heads(self, x_BSD):
        batch, length = ops.shape(x_BSD)[:2]
        return ops.transpose(ops.reshape(x_BSD, (batch, length, self.heads, self.head_size)), (0, 2, 1, 3))
