"""Prints what converting a model takes: seconds beside those of plain reading and writing, and the memory at its peak.

python benchmarks/conversion.py                   # base and xxlarge, of random values
python benchmarks/conversion.py --size large

The source is a TF1 checkpoint with Google's names. Each measurement runs in a process of its own. "Plain" reads every
variable with TensorFlow's reader, and writes the same arrays with the writers of the formats, from memory. The proof
(three forward passes, two of them in float64) is counted by itself.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=PUBLISHED_SIZES, action="append", help="several times for several")
    parser.add_argument("--repeats", type=int, default=3, help="of each time; the least is printed")
    sizes = parser.parse_args().size or ["base", "xxlarge"]
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    times = rich.table.Table("size", "weights", "plain", "converting", "ratio", "proof", title="Seconds, three formats")
    memory = rich.table.Table("size", "to", "weights", "peak", "ratio", title="Memory of albert convert, in MB")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "source")
            weights = _in_a_process(_make_source, source, size)
            plain = min(
                _in_a_process(_plain, source, Path(folder, f"p{n}")) for n in range(parser.parse_args().repeats)
            )
            runs = [_in_a_process(_convert, source, Path(folder, f"c{n}")) for n in range(parser.parse_args().repeats)]
            converting, proof = min(runs)
            megabytes = f"{weights / 1e6:.0f} MB"
            ratio = f"{converting / plain:.2f}"
            times.add_row(size, megabytes, f"{plain:.2f}", f"{converting:.2f}", ratio, f"{proof:.1f}")
            for target in (*_TARGETS, "saved_model", "tf2_checkpoint"):
                peak = _in_a_process(_peak, source, Path(folder, f"m-{target}"), target)
                memory.add_row(size, target, f"{weights / 1e6:.0f}", f"{peak / 1e6:.0f}", f"{peak / weights:.2f}")
    rich.print(times)
    rich.print(memory)


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
        conversion.TARGETS[target](output / target, model, None)
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


def _peak(source: Path, output: Path, target: str) -> int:
    """Bytes that `albert convert` has in memory at its peak, Python and TensorFlow included."""
    command = [sys.executable, "-m", "pipeline.cli", "convert", str(source), "--to", target, "--output", str(output)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


if __name__ == "__main__":
    main()
