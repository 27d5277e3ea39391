"""How much of a device's arithmetic a training uses (model FLOPs utilisation, as in PaLM, arXiv:2204.02311)."""

from __future__ import annotations

from albert_model.config import AlbertConfig

# Dense bfloat16 FLOP/s by a part of the device's name (NVIDIA's data sheets).
_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


def flops_per_token(config: AlbertConfig, length: int, predictions: float) -> float:
    """FLOPs of forward and backward pass for each piece: 3·(L·(2·(4H² + 2·H·I) + 4·S·H) + 2·E·H + m·(2·H·E + 2·E·V)).

    >>> config = AlbertConfig.from_file("configs/models/base_v2.json")
    >>> round(flops_per_token(config, 512, 20 / 512) / 1e6)
    568

    Args:
      config: sizes (L layers, H hidden, I intermediate, E embedding, V vocabulary).
      length: S, positions of a sequence.
      predictions: m, masked pieces for each piece.
    """
    hidden, embedding = config.hidden_size, config.embedding_size
    layer = 2 * (4 * hidden**2 + 2 * hidden * config.intermediate_size) + 4 * length * hidden
    head = 2 * hidden * embedding + 2 * embedding * config.vocab_size
    layers = config.num_hidden_layers * config.inner_group_num
    return 3 * (layers * layer + 2 * embedding * hidden + predictions * head)


def peak_flops(device: str) -> float | None:
    """FLOP/s of a device with this name; None where its peak is not known.

    >>> peak_flops("NVIDIA H100 80GB HBM3")
    989000000000000.0
    """
    return next((peak for part, peak in _PEAKS.items() if part in device), None)


def gpu_name() -> str:
    """Of this process' first GPU; empty without one."""
    import tensorflow as tf  # here, so that the rest can be used where there is none

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "") if gpus else ""
