"""How much memory a training step takes, by the sizes of what it holds.

What layers keep for the gradients is counted as in arXiv:2205.05198 (section 4.1), for ALBERT's layer as it is computed
here. `docs/image.md` says how far the sums are from what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from albert_model.config import AlbertConfig
from albert_model.training.settings import TrainingSettings
from albert_model.weights import names

_FLOAT = 4  # bytes
_BFLOAT = 2
_SLOTS = 2  # variables that each optimizer has for each parameter
# Tensors that a layer keeps of each example for the gradients, those in float32 whatever the precision apart from the
# others: inputs of norms and the softmax, of [S, H] and [N, S, S]; what products and the activation take, of [S, H],
# [S, I] and [N, S, S].
_FLOAT_HIDDEN, _FLOAT_SCORES = 2, 1
_HIDDEN, _INNER, _SCORES = 8, 2, 1.5
_DROPPED = 2  # more, where there is dropout: what drops, and what is left
_EMBEDDED = 4  # of [S, E], in float32
_LOGITS = 3  # of [P, V], in float32: logits, their softmax, its gradient

# GiB of memory by the names that Vertex AI has, and whether the device multiplies bfloat16 (NVIDIA's data sheets).
_ACCELERATORS: dict[str, tuple[int, bool]] = {
    "NVIDIA_TESLA_P4": (8, False),
    "NVIDIA_TESLA_T4": (16, False),
    "NVIDIA_TESLA_P100": (16, False),
    "NVIDIA_TESLA_V100": (16, False),
    "NVIDIA_L4": (24, True),
    "NVIDIA_TESLA_A100": (40, True),
    "NVIDIA_A100_80GB": (80, True),
    "NVIDIA_H100_80GB": (80, True),
    "NVIDIA_H100_MEGA_80GB": (80, True),
    "NVIDIA_H200_141GB": (141, True),
    "NVIDIA_B200": (180, True),
}


@dataclass(frozen=True)
class Accelerator:
    """What a device can hold.

    Attributes:
      memory: bytes.
      bfloat16: whether it multiplies bfloat16 by itself.
    """

    memory: int
    bfloat16: bool


def accelerator(name: str) -> Accelerator | None:
    """The device of this name; None where it is not known.

    >>> accelerator("NVIDIA_TESLA_T4").memory == 16 * 2**30
    True
    """
    known = _ACCELERATORS.get(name)
    return known and Accelerator(known[0] * 2**30, known[1])


@dataclass(frozen=True)
class Estimate:
    """Bytes that a training holds on one device.

    Attributes:
      parameters: how many there are.
      examples: that the device works on at once when it trains.
      weights: variables, and a copy of them in the precision of the products.
      slots: of the optimizer.
      gradients: summed, clipped, and those of parts of the batch.
      activations: what all examples keep for the gradients, and what is at work.
      evaluation: what is at work when held-out examples are scored.
    """

    parameters: int
    examples: int
    weights: int
    slots: int
    gradients: int
    activations: int
    evaluation: int

    @property
    def total(self) -> int:
        """The more of training and evaluation; weights and slots stay."""
        return self.weights + self.slots + max(self.gradients + self.activations, self.evaluation)


def estimate(
    config: AlbertConfig,
    settings: TrainingSettings,
    length: int,
    predictions: int,
    devices: int = 1,
    bfloat16: bool = False,
    xla: bool = False,
) -> Estimate:
    """The bytes of a training step on each device.

    Args:
      config: sizes.
      settings: batch, its parts, optimizer, what is computed again.
      length: S, pieces in a row.
      predictions: P, predictions in a row.
      devices: that share a batch, on all machines together.
      bfloat16: whether products are computed in it; see `strategies.keras_dtype`.
      xla: whether steps are compiled; see `strategies.compiles_with_xla`.
    """
    counts = [math.prod(parameter.shape) for parameter in names.parameters(config)]
    parameters = sum(counts)
    share = math.ceil(settings.batch_size / devices)
    examples = math.ceil(share / settings.accumulation)
    width = _BFLOAT if bfloat16 else _FLOAT
    head = _LOGITS * _FLOAT * predictions * config.vocab_size
    return Estimate(
        parameters=parameters,
        examples=examples,
        weights=parameters * (_FLOAT + (_BFLOAT if bfloat16 else 0)),
        slots=_SLOTS * _FLOAT * parameters,
        gradients=_gradient_bytes(config, settings, parameters, xla),
        activations=examples * (_activation_bytes(config, settings, length, width) + head),
        evaluation=examples * (_layer_bytes(config, length, width, training=False) + head),
    )


def _gradient_bytes(config: AlbertConfig, settings: TrainingSettings, parameters: int, xla: bool) -> int:
    """Gradients and their clipped copies, and sums over parts.

    Without XLA, layers that are copies of each other each have gradients of the parameters that they share, which are
    added up in the end; twice as many where layers are computed again.
    """
    copies = 2 + (settings.accumulation > 1)
    total = copies * _FLOAT * parameters
    if not (xla or settings.scan_layers):
        sharing = _layers(config) - config.num_hidden_groups * config.inner_group_num
        total += _FLOAT * _layer_parameters(config) * sharing * (2 if settings.rematerialize else 1)
    return total


def _layers(config: AlbertConfig) -> int:
    return config.num_hidden_layers * config.inner_group_num


def _layer_parameters(config: AlbertConfig) -> int:
    """Of one layer's products; biases and norms are a thousandth of them."""
    return 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size


def _activation_bytes(config: AlbertConfig, settings: TrainingSettings, length: int, width: int) -> int:
    """What an example keeps through all layers, and what is at work in one of them."""
    layer = _layer_bytes(config, length, width, training=True)
    embedded = _EMBEDDED * _FLOAT * length * config.embedding_size
    kept = width * length * config.hidden_size if settings.rematerialize else layer
    return embedded + _layers(config) * kept + layer


def _layer_bytes(config: AlbertConfig, length: int, width: int, training: bool) -> int:
    """What a layer keeps of an example."""
    drops = training and config.hidden_dropout_prob > 0, training and config.attention_probs_dropout_prob > 0
    hidden, scores = length * config.hidden_size, config.num_attention_heads * length**2
    of_hidden = _FLOAT * _FLOAT_HIDDEN + width * (_HIDDEN + _DROPPED * drops[0])
    of_scores = _FLOAT * _FLOAT_SCORES + width * (_SCORES + _DROPPED * drops[1])
    return int(of_hidden * hidden + width * _INNER * length * config.intermediate_size + of_scores * scores)
