"""The ALBERT encoder (arXiv:1909.11942): factorised embedding, layers that share their parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import ops

from albert_model.config import AlbertConfig
from albert_model.network.layers import LayerFactory, Part, dropout, seed_at

_MASKED_SCORE = -10000.0  # added to the scores of padding, as in Google's code


class AlbertEncoder(Part):
    """Pieces to vectors.

    Not inside: the masked-language-model and sentence-order heads (`heads.py`).

    Args:
      config: sizes.
      factory: makes the layers.
      scan_layers: see `AlbertPretrainer`.
      rematerialize: see `AlbertPretrainer`.
    """

    def __init__(
        self,
        config: AlbertConfig,
        factory: LayerFactory,
        scan_layers: bool = False,
        rematerialize: bool = False,
        **kwargs,
    ):
        super().__init__(factory, **kwargs)
        self.config, self.scan_layers, self.rematerialize = config, scan_layers, rematerialize
        # === Embedding ===
        self.word_embeddings = factory.embedding(config.vocab_size, "word_embeddings")
        self.token_type_embeddings = factory.embedding(config.type_vocab_size, "token_type_embeddings")
        self.position_embeddings = factory.embedding(config.max_position_embeddings, "position_embeddings")
        self.embedding_norm = factory.layer_norm("embedding_norm")
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
        self.seeds = factory.seeds("dropout", config.hidden_dropout_prob, config.attention_probs_dropout_prob)
        # === Pooler ===
        self.pooler = factory.dense(config.hidden_size, "pooler")

    def build(self, *_):
        """Makes all variables. Keras would make them when `call` needs them, which may be inside a loop."""
        sizes = self.config
        for embedding in (self.word_embeddings, self.token_type_embeddings, self.position_embeddings):
            embedding.build((None, None))
        self.embedding_norm.build((None, None, sizes.embedding_size))
        if self.embedding_projection is not None:
            self.embedding_projection.build((None, None, sizes.embedding_size))
        for layer in (layer for group in self.groups for layer in group):
            layer.build()
        self.pooler.build((None, sizes.hidden_size))

    def call(
        self,
        input_word_ids,
        input_mask,
        input_type_ids,
        position_ids=None,
        example_numbers=None,
        training=False,
        replica=None,
    ):
        """Encodes a batch.

        Args:
          input_word_ids: int [B, S].
          input_mask: int [B, S], 1 at pieces, 0 at padding.
          input_type_ids: int [B, S], 0 in segment A, 1 in segment B.
          position_ids: int [B, S], places of pieces in their example; none: places in the row.
          example_numbers: int [B, S], where rows hold several examples: which one. Pieces attend to those of the same
            number only.
          training: whether dropout acts.
          replica: number of the device, where several work on a batch at once: each drops others. May be a tensor.

        Returns:
          dict: `sequence_output` [B, S, D], `pooled_output` [B, D] (tanh of the first position's projection), and,
          unless layers are scanned, `encoder_outputs`: list of [B, S, D], one a layer.
        """
        seed = self._seed(self.seeds.next(), replica) if training and self.seeds else None
        x_BSD = self._embed(input_word_ids, input_type_ids, position_ids, seed)
        mask_B1SS = _attention_mask(input_mask, example_numbers, self.variable_dtype)
        outputs = []
        for numbers, layers in self._runs():
            run_layers = self._runner(layers, mask_B1SS, seed, training)
            if self.scan_layers:
                x_BSD = _repeated(run_layers, numbers, x_BSD)
                continue
            for number in numbers:
                x_BSD = run_layers(number, x_BSD)
                outputs.append(x_BSD)
        results = {"sequence_output": x_BSD, "pooled_output": self.pool(x_BSD[:, 0])}
        return results if self.scan_layers else results | {"encoder_outputs": outputs}

    def pool(self, x_BD):
        """The pooled output [B, D] of vectors at [CLS], [B, D]; or of several in a row, [B, K, D]."""
        return ops.tanh(self.pooler(x_BD))

    def _seed(self, seed, replica):
        """A device's seed of a forward pass: beyond those that one with a lower number gives to its layers."""
        layers = self.config.num_hidden_layers * self.config.inner_group_num
        return seed if replica is None else seed_at(seed, replica * (1 + layers))

    def _embed(self, input_word_ids, input_type_ids, position_ids, seed):
        if position_ids is None:
            position_ids = ops.arange(ops.shape(input_word_ids)[1])
        x_BSE = self.word_embeddings(input_word_ids) + self.token_type_embeddings(input_type_ids)
        x_BSE = self.embedding_norm(x_BSE + self.position_embeddings(position_ids))
        x_BSE = dropout(x_BSE, self.config.hidden_dropout_prob, seed, place=0)
        return x_BSE if self.embedding_projection is None else self.embedding_projection(x_BSE)

    def _runs(self) -> list[tuple[range, list[TransformerLayer]]]:
        """Numbers of layers, and the layers of the group that they share."""
        depth, count = self.config.num_hidden_layers, self.config.num_hidden_groups
        bounds = [-(-group * depth // count) for group in range(count + 1)]  # layer n is of group n * count // depth
        return [(range(*bounds[g : g + 2]), layers) for g, layers in enumerate(self.groups)]

    def _runner(self, layers: list[TransformerLayer], mask_B1SS, seed, training: bool) -> Callable:
        """What layers that share their parameters do: (number, x) → x."""
        joined = [layer.joined_projections() if training else () for layer in layers]
        call = _rematerialized if self.rematerialize and training else TransformerLayer.__call__

        def run_layers(number, x_BSD):
            for inner, (layer, projections) in enumerate(zip(layers, joined, strict=True)):
                own_seed = None if seed is None else seed_at(seed, 1 + number * len(layers) + inner)
                x_BSD = call(layer, x_BSD, mask_B1SS, projections, own_seed)
            return x_BSD

        return run_layers


def _rematerialized(layer: TransformerLayer, x_BSD, mask_B1SS, projections, seed):
    """Calls a layer, and again for gradients. What they flow to is an argument: in loops TensorFlow knows no others."""
    variables = layer.trainable_variables

    @keras.remat
    def call(x_BSD, projections, values):
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return layer(x_BSD, mask_B1SS, projections, seed)

    return call(x_BSD, projections, [ops.convert_to_tensor(variable) for variable in variables])


def _layer(config: AlbertConfig, factory: LayerFactory, name: str) -> TransformerLayer:
    return TransformerLayer(config, factory.within(name), name=name)


def _attention_weights(query_BNSH, key_BNSH, mask_B1SS):
    """[B, N, S, S]. The scores have no name, so that they are gone when they are not needed any more."""
    return ops.softmax(
        ops.cast(ops.matmul(query_BNSH, ops.transpose(key_BNSH, (0, 1, 3, 2))), mask_B1SS.dtype) + mask_B1SS
    )


def _attention_mask(input_mask, example_numbers, dtype: str):
    """What is added to scores, [B, 1, S or 1, S]: 0 where the piece of the third axis may attend to the fourth's."""
    seen_B1SS = ops.cast(input_mask, dtype)[:, None, None, :]
    if example_numbers is not None:
        same_BSS = ops.equal(example_numbers[:, :, None], example_numbers[:, None, :])
        seen_B1SS = seen_B1SS * ops.cast(same_BSS, dtype)[:, None]
    return (1.0 - seen_B1SS) * _MASKED_SCORE


def _repeated(step: Callable, numbers: range, x):
    """`x = step(number, x)` for all numbers, as a loop of the backend that has a gradient."""
    if keras.backend.backend() != "tensorflow":
        return ops.fori_loop(numbers.start, numbers.stop, step, x)
    # In TensorFlow the gradient can be compiled by XLA only if it is said how often the loop runs.
    return ops.while_loop(
        lambda number, _: number < numbers.stop,
        lambda number, x: (number + 1, step(number, x)),
        (numbers.start, x),
        maximum_iterations=len(numbers),
    )[1]


class TransformerLayer(Part):
    """Self-attention and feed-forward, each with a residual and a norm after it."""

    def __init__(self, config: AlbertConfig, factory: LayerFactory, **kwargs):
        super().__init__(factory, **kwargs)
        self.config = config
        self.heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        self.scale = 1.0 / math.sqrt(self.head_size)
        # === Attention ===
        self.query = factory.dense(config.hidden_size, "query")
        self.key = factory.dense(config.hidden_size, "key")
        self.value = factory.dense(config.hidden_size, "value")
        self.attention_output = factory.dense(config.hidden_size, "attention_output")
        self.attention_norm = factory.layer_norm("attention_norm")
        # === Feed-forward ===
        self.intermediate = factory.dense(config.intermediate_size, "intermediate")
        self.activation = factory.activation()
        self.output_dense = factory.dense(config.hidden_size, "output")
        self.output_norm = factory.layer_norm("output_norm")

    def build(self, *_):
        """Makes all variables, as in the encoder."""
        hidden = (None, None, self.config.hidden_size)
        for layer in (self.query, self.key, self.value, self.attention_output, self.attention_norm, self.intermediate):
            layer.build(hidden)
        self.output_dense.build((None, None, self.config.intermediate_size))
        self.output_norm.build(hidden)

    def joined_projections(self):
        """Kernel [D, 3D] and bias [3D] that give query (scaled), key and value in one matmul in place of three.

        To be made once for all the layers that share them. The variables stay three: formats keep them so, and LAMB's
        trust ratio is that of each. The query is scaled here, and not later: with oneDNN, TensorFlow 2.21 breaks a loop
        over rematerialised layers in which it is scaled between two matmuls, and gives empty tensors.
        """
        kernels = [self.query.kernel * self.scale, self.key.kernel, self.value.kernel]
        biases = [self.query.bias * self.scale, self.key.bias, self.value.bias]
        return ops.concatenate(kernels, -1), ops.concatenate(biases, -1)

    def call(self, x_BSD, mask_B1SS, projections=(), seed=None):
        """Gives [B, S, D].

        Args:
          x_BSD: float [B, S, D].
          mask_B1SS: what is added to scores, float [B, 1, S or 1, S].
          projections: of `joined_projections`; empty: three matmuls, as befits few rows.
          seed: of dropout; none: no dropout.
        """
        rate = self.config.hidden_dropout_prob
        attended_BSD = self.attention_output(self._attend(x_BSD, mask_B1SS, projections, seed))
        x_BSD = self.attention_norm(x_BSD + dropout(attended_BSD, rate, seed, place=1))
        fed_BSD = self.output_dense(self.activation(self.intermediate(x_BSD)))
        return self.output_norm(x_BSD + dropout(fed_BSD, rate, seed, place=2))

    def _attend(self, x_BSD, mask_B1SS, projections, seed):
        query_BNSH, key_BNSH, value_BNSH = (
            self._split_heads(part_BSD) for part_BSD in self._project(x_BSD, projections)
        )
        weights_BNSS = ops.cast(_attention_weights(query_BNSH, key_BNSH, mask_B1SS), value_BNSH.dtype)
        weights_BNSS = dropout(weights_BNSS, self.config.attention_probs_dropout_prob, seed, place=0)
        context_BSNH = ops.transpose(ops.matmul(weights_BNSS, value_BNSH), (0, 2, 1, 3))
        return ops.reshape(context_BSNH, ops.shape(x_BSD))

    def _project(self, x_BSD, projections):
        """Query, scaled so that scores are, key and value, [B, S, D] each."""
        if not projections:
            return [self.query(x_BSD) * self.scale, self.key(x_BSD), self.value(x_BSD)]
        kernel_D3D, bias_3D = (ops.cast(part, x_BSD.dtype) for part in projections)
        return ops.split(ops.matmul(x_BSD, kernel_D3D) + bias_3D, 3, axis=-1)

    def _split_heads(self, x_BSD):
        batch, length = ops.shape(x_BSD)[:2]
        return ops.transpose(ops.reshape(x_BSD, (batch, length, self.heads, self.head_size)), (0, 2, 1, 3))
