"""Checks of sizes: whether the model trains in the memory that it gets."""

from __future__ import annotations

from albert_model.text.packing import predictions_per_row
from albert_model.training.memory import Estimate, accelerator, estimate
from pipeline.cloud.checks import NotCheckedError, ProblemError, Subject
from pipeline.cloud.settings import DEFAULT, CloudSettings, Target
from pipeline.settings import PipelineSettings

_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DEVICE_SHARE = 0.9  # of an accelerator's memory; the rest is CUDA's, and lost between blocks
_PROCESS = int(1.5 * 2**30)  # of Python with TensorFlow and TFX, before there is a model


def memory(subject: Subject) -> str:
    """Compares an estimate with the accelerator's memory, or else with the container's limit."""
    settings = subject.known_settings()
    if settings.cloud is None:
        raise NotCheckedError("the settings have no `cloud`, so no machine is known")
    kind, count, machines = _machine(settings.cloud, subject.target)
    strategy = settings.training.strategy
    if machines > 1 and strategy != "multiworker":
        raise ProblemError(
            f"cloud.trainer.workers: {machines} machines, and training.strategy {strategy} uses one; set multiworker"
        )
    devices = {"one": 1, "mirror": count}.get(strategy, count * machines)
    device = accelerator(kind) if kind else None
    found = _estimate(settings, devices, bfloat16=bool(device and device.bfloat16), on_accelerator=bool(kind))
    words = _words(found)
    if device:
        return _compared(words, found.total, device.memory, _DEVICE_SHARE, kind or "")
    if kind:
        raise NotCheckedError(f"{words}; the memory of {kind} is not known here: compare them yourself")
    limit = _limit(settings.cloud, subject.target)
    if limit is None:
        raise NotCheckedError(f"{words}, and {_gib(_PROCESS)} of TensorFlow; no limit of the Trainer's memory is set")
    return _compared(
        f"{words}, and {_gib(_PROCESS)} of TensorFlow", found.total + _PROCESS, limit, 1, "the Trainer's container"
    )


def _machine(cloud: CloudSettings, target: Target) -> tuple[str | None, int, int]:
    """Kind and number of accelerators, and machines, that train."""
    if target == "vertex" and cloud.trainer:
        pool = cloud.trainer
        return pool.accelerator, pool.accelerators if pool.accelerator else 1, 1 + pool.workers
    resources = cloud.resources.get("Trainer", cloud.resources.get(DEFAULT))
    if resources is None or resources.accelerator is None:
        return None, 1, 1
    return resources.accelerator, resources.accelerators, 1


def _limit(cloud: CloudSettings, target: Target) -> int | None:
    """Bytes of the container. Those of a custom job's machine are in its type's name, for those who know it."""
    resources = cloud.resources.get("Trainer", cloud.resources.get(DEFAULT))
    if (target == "vertex" and cloud.trainer) or resources is None or resources.memory is None:
        return None
    unit = resources.memory.lstrip("0123456789.")
    return int(float(resources.memory.removesuffix(unit)) * _UNITS[unit])


def _estimate(settings: PipelineSettings, devices: int, bfloat16: bool, on_accelerator: bool) -> Estimate:
    training = settings.training
    return estimate(
        settings.model,
        training,
        settings.examples.max_seq_length,
        predictions_per_row(settings.examples),
        devices=devices,
        bfloat16=bfloat16 if training.precision == "auto" else training.precision == "bfloat16",
        xla=on_accelerator if training.xla == "auto" else training.xla == "on",
    )


def _words(found: Estimate) -> str:
    parts = {
        "weights": found.weights,
        "optimizer": found.slots,
        "gradients": found.gradients,
        f"activations of {found.examples} examples": found.activations,
    }
    if found.evaluation > found.gradients + found.activations:
        parts["scoring held-out examples"] = found.evaluation
    listed = ", ".join(f"{name} {_gib(size)}" for name, size in parts.items())
    return f"about {_gib(found.total)} on a device ({found.parameters / 1e6:.1f} M parameters; {listed})"


def _compared(words: str, needed: int, there: int, share: float, name: str) -> str:
    if needed <= there * share:
        return f"{words}, of {_gib(there)} of {name}"
    raise ProblemError(
        f"{words}, and {name} has {_gib(there)}; raise training.accumulation, set training.rematerialize, lower "
        "training.batch_size, or take a larger machine"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:,.0f} MiB"
