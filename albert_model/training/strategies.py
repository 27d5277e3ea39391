"""Where the network trains, in which precision, and how a batch is shared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.training.settings import TrainingSettings

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # of processors that multiply bfloat16 by themselves
_BFLOAT16_CAPABILITY = (8, 0)  # of NVIDIA GPUs
_WIDE = 256  # hidden units from which a processor gains by bfloat16: below, conversions cost more


def make_strategy(settings: TrainingSettings) -> tf.distribute.Strategy:
    """The tf.distribute strategy that a setting names. `multiworker` must be made before TensorFlow computes anything.

    Raises:
      InputError: `multiworker` without a TF_CONFIG, or `tpu` without a TPU.
    """
    if settings.strategy == "one":
        return tf.distribute.get_strategy()
    if settings.strategy == "mirror":
        return tf.distribute.MirroredStrategy()
    if settings.strategy == "multiworker":
        _check_cluster()
        return tf.distribute.MultiWorkerMirroredStrategy()
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(f"training.strategy: tpu, but there is none ({error}).") from error
    return tf.distribute.TPUStrategy(resolver)


def _check_cluster() -> None:
    text = os.environ.get("TF_CONFIG", "")
    try:
        cluster, task = json.loads(text)["cluster"], json.loads(text)["task"]
        known = 0 <= task["index"] < len(cluster[task["type"]])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "training.strategy: multiworker needs the variable TF_CONFIG on each machine, such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}; '
            f"found {text or 'none'}."
        ) from error
    if not known:
        raise InputError(f"TF_CONFIG: the cluster has no {task['type']} {task['index']}.")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints, metrics and the export."""
    return strategy.extended.should_checkpoint


class Share(NamedTuple):
    """The rows of each global batch that this process works on: of n replicas, r has those with number r modulo n.

    Attributes:
      first: number of the first replica of this process.
      local: how many it has.
      replicas: how many there are.
    """

    first: int = 0
    local: int = 1
    replicas: int = 1

    @classmethod
    def of(cls, strategy: tf.distribute.Strategy) -> Share:
        replicas = strategy.num_replicas_in_sync
        resolver = strategy.cluster_resolver
        spec = resolver.cluster_spec().as_dict() if resolver else {}
        if not spec or replicas == 1:
            return cls(0, replicas, replicas)
        workers = sum(len(spec.get(kind, [])) for kind in ("chief", "worker"))
        local = replicas // workers
        index = resolver.task_id + (len(spec.get("chief", [])) if resolver.task_type == "worker" else 0)
        return cls(index * local, local, replicas)

    def rows(self, batch_size: tf.Tensor) -> tf.Tensor:
        """int64: numbers of this process' rows, ascending. Those of its i-th replica are every `local`-th from the i-th
        on.
        """
        numbers = tf.range(tf.cast(batch_size, tf.int64))
        replica = numbers % self.replicas
        return tf.boolean_mask(numbers, (replica >= self.first) & (replica < self.first + self.local))


def keras_dtype(settings: TrainingSettings, config: AlbertConfig) -> str:
    """The Keras policy that `precision` comes to on this machine."""
    if settings.precision != "auto":
        return {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.precision]
    return "mixed_bfloat16" if _gains_by_bfloat16(config) else "float32"


def _gains_by_bfloat16(config: AlbertConfig) -> bool:
    if tf.config.list_logical_devices("TPU"):
        return True
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        return details.get("compute_capability", (0, 0)) >= _BFLOAT16_CAPABILITY
    flags = Path("/proc/cpuinfo")
    return config.hidden_size >= _WIDE and flags.is_file() and bool(_BFLOAT16_FLAGS & set(flags.read_text().split()))


def compiles_with_xla(settings: TrainingSettings) -> bool:
    """What `xla` comes to on this machine. On processors it is slower with bfloat16, as it goes round oneDNN."""
    if settings.xla != "auto":
        return settings.xla == "on"
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))
