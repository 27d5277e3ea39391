"""Prints what converting a model takes: seconds beside those of plain reading and writing, and the memory at its peak.

python benchmarks/conversion.py
python benchmarks/conversion.py --time large --memory xlarge

The source is a TF1 checkpoint with Google's names and random values. Each measurement runs in a process of its own.
"Plain" reads every variable with TensorFlow's reader, and writes the same arrays with the writers of the formats, from
memory. The proof (three forward passes, two of them in float64) is counted by itself.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rich
import rich.table

from albert_model.config import PUBLISHED_SIZES, AlbertConfig

_TARGETS = ("keras_h5", "tf1_checkpoint", "huggingface")
_PROOF = "running "  # how the names of its steps begin
_REPEATS = 3  # the least time counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", choices=PUBLISHED_SIZES, default="base", help="size whose time is taken")
    parser.add_argument("--memory", choices=PUBLISHED_SIZES, default="xxlarge", help="size whose memory is measured")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        print_times(arguments.time, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        print_memory(arguments.memory, Path(folder))


def print_times(size: str, folder: Path) -> None:
    weights = _in_a_process(_make_source, folder / "source", size)
    plain = min(_in_a_process(_plain, folder / "source", folder / f"plain-{n}") for n in range(_REPEATS))
    runs = [_in_a_process(_convert, folder / "source", folder / f"converted-{n}") for n in range(_REPEATS)]
    converting, proof = min(runs)
    table = rich.table.Table("size", "weights, MB", "plain", "converting", "ratio", "proof", title="Seconds, 3 formats")
    table.add_row(
        *(size, f"{weights / 1e6:.0f}", f"{plain:.2f}", f"{converting:.2f}", f"{converting / plain:.2f}"),
        f"{proof:.1f}",
    )
    rich.print(table)


def print_memory(size: str, folder: Path) -> None:
    weights = _in_a_process(_make_source, folder / "source", size)
    program = _in_a_process(_peak, [sys.executable, "-c", "import albert_model.weights.conversion"])
    columns = ("size", "to", "weights", "peak", "peak / weights", "the program alone")
    table = rich.table.Table(*columns, title="Memory of albert convert, in MB")
    for target in ("keras_h5", "saved_model"):
        command = [sys.executable, "-m", "pipeline.cli", "convert", str(folder / "source"), "--to", target]
        peak = _in_a_process(_peak, [*command, "--output", str(folder / target)])
        table.add_row(
            *(size, target, f"{weights / 1e6:.0f}", f"{peak / 1e6:.0f}", f"{peak / weights:.2f}"),
            f"{program / 1e6:.0f}",
        )
    rich.print(table)


def _in_a_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _make_source(folder: Path, size: str) -> int:
    """A checkpoint of random values; gives the bytes of its weights."""
    from albert_model.network.pretrainer import AlbertPretrainer
    from albert_model.weights import network, tf1_checkpoint

    config = AlbertConfig.published(size)
    folder.mkdir()
    (folder / "albert_config.json").write_text(config.to_json())
    weights = network.read(AlbertPretrainer(config))
    tf1_checkpoint.write(folder / "model.ckpt-best", weights, config)
    return sum(array.nbytes for array in weights.values())


def _plain(source: Path, output: Path) -> float:
    import tensorflow as tf

    from albert_model.weights import conversion, tf1_checkpoint
    from albert_model.weights.model import Model

    config = AlbertConfig.from_file(source / "albert_config.json")
    start = time.perf_counter()
    reader = tf.train.load_checkpoint(str(source / "model.ckpt-best"))
    arrays = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    reading = time.perf_counter() - start
    lazy, _ = tf1_checkpoint.read(tf1_checkpoint.open_stored(source / "model.ckpt-best"), config)
    assert lazy.keys() == arrays.keys()
    model = Model(config, arrays)
    start = time.perf_counter()
    for target in _TARGETS:
        conversion.TARGETS[target](output / target, model)
    return reading + time.perf_counter() - start


def _convert(source: Path, output: Path) -> tuple[float, float]:
    """Seconds of converting, and of its proof."""
    from albert_model.weights import conversion

    steps = _Steps()
    logger = logging.getLogger("albert")
    logger.setLevel(logging.INFO)
    logger.addHandler(steps)
    conversion.convert(str(source), _TARGETS, output)
    proof = sum(seconds for name, seconds in steps.seconds.items() if name.startswith(_PROOF))
    return sum(steps.seconds.values()) - proof, proof


class _Steps(logging.Handler):
    """Collects what each step of a conversion took."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        name, seconds = record.args
        self.seconds[name] = seconds


def _peak(command: list[str]) -> int:
    """Bytes that a command has in memory at its peak."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


if __name__ == "__main__":
    main()
