"""Prints how fast ALBERT-base trains here, beside Keras Hub and transformers, and what loops and packing save.

python benchmarks/training.py                  # all but the accelerator: 12 minutes, 3 more the first time
python benchmarks/training.py --no-libraries   # ours alone, without installing the others into build/
python benchmarks/training.py --no-memory      # without XLA's analysis of memory, which takes 3 minutes
python benchmarks/training.py --accelerator    # a GPU alone: 3 minutes; needs Keras with TensorFlow or JAX

Programs that are compared take turns of a few steps, each in a process of its own, so that all are slowed alike by what
else the machine does. Figures are medians of the rounds, ratios medians of each round's. Where others use the machine
too, seconds of the processor (of all threads together) say more than those by the clock, which passes while a program
waits for its turn on it. `training_worker.py` says what each program does. The short documents are those of
us_code.txt.gz of the test data, whose folder ALBERT_TEST_DATA says.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import rich
import rich.table

PROJECT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ALBERT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
LAW = DATA / "corpora" / "us_code.txt.gz"
MODEL = DATA / "tokenizer" / "30k-clean.model"
WORKER = Path(__file__).with_name("training_worker.py")

_BATCH, _LENGTH, _PREDICTIONS = 8, 128, 20
_FLOAT, _BFLOAT = "ours, float32", "ours, bfloat16"
_MATMULS = {_FLOAT: "matmuls, float32", _BFLOAT: "matmuls, bfloat16"}
_KERAS_HUB, _TRANSFORMERS = "keras-hub 0.29.1, float32", "transformers 5.17.0, float32"
# Steps of a turn, which lasts some seconds.
_STEPS = {_FLOAT: 2, _BFLOAT: 3, _KERAS_HUB: 2, _TRANSFORMERS: 1}
_MATMUL_SECONDS = 0.04  # of the processor, for each product in a turn
_SECONDS = ("clock", "processor")
_RATIO_COLUMNS = ("", "by the clock", "of the processor", "goal")
_SPEED_GOALS = (
    (_FLOAT, _KERAS_HUB, "≥ 1.05"),
    (_FLOAT, _TRANSFORMERS, "≥ 2.2"),
    (_BFLOAT, _KERAS_HUB, "≥ 1.6"),
)
_DIFFERS = """\
Matmuls: those of a step alone, in TensorFlow, so that the ratio to them is the share of what the machine can do. All
programs: AdamW, gradients clipped. transformers computes logits of all pieces, the others of 20 in a sequence."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program (default 5)")
    parser.add_argument("--no-speed", action="store_true", help="leave out the training step")
    parser.add_argument("--no-libraries", action="store_true", help="leave the others out; they take 3.5 GB in build/")
    parser.add_argument("--no-graph", action="store_true", help="leave out the nodes of the graph")
    parser.add_argument("--no-memory", action="store_true", help="leave out XLA's analysis of memory")
    parser.add_argument("--no-packing", action="store_true", help="leave out packed rows")
    parser.add_argument("--accelerator", action="store_true", help="measure a GPU, and nothing else")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(shlex.join(["python", *sys.argv]))
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {_versions()}")
    if arguments.accelerator:
        print_accelerator()
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if not arguments.no_speed:
        print_speed(arguments.rounds, not arguments.no_libraries)
    if not arguments.no_graph:
        print_graph()
    if not arguments.no_memory:
        print_memory()
    if not arguments.no_packing:
        print_packing(arguments.rounds)


def _versions() -> str:
    from importlib.metadata import version

    found = (name for name in ("keras", "tensorflow", "jax") if importlib.util.find_spec(name))
    return ", ".join(f"{name} {version(name)}" for name in found)


def _in_a_process(function, *arguments):
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _base():
    from albert_model.config import AlbertConfig

    return AlbertConfig.published("base")


def _print_table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = rich.table.Table(columns[0], title=title, title_justify="left")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    rich.print(table)


# === Programs that take turns ===


class Worker:
    """A program of `training_worker.py` in a process of its own; it compiles at once, and then waits for its turns."""

    def __init__(self, name: str, arguments: dict[str, Any], python: str | Path = sys.executable):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in `close`)
        command = [str(python), str(WORKER), name, json.dumps(arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, cwd=PROJECT
        )

    def read(self) -> dict[str, float]:
        """What it says next.

        Raises:
          RuntimeError: it has ended; with what it said of that.
        """
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{shlex.join(self._process.args)} has ended:\n{self._errors.read()[-4000:]}")
        return json.loads(line)

    def take_turn(self) -> dict[str, float]:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()


def take_turns(workers: dict[str, Worker], rounds: int) -> dict[str, list[dict[str, float]]]:
    """What each says in each round; one round more comes before these, as the first steps are slow."""
    try:
        for worker in workers.values():
            worker.read()
        turns = [{name: worker.take_turn() for name, worker in workers.items()} for _ in range(1 + rounds)][1:]
    finally:
        for worker in workers.values():
            worker.close()
    return {name: [turn[name] for turn in turns] for name in workers}


def _speeds(turns: list[dict[str, float]], seconds: str) -> list[float]:
    """Tokens a second of each round, by the `clock` or of the `processor`."""
    return [turn["tokens"] / turn[seconds] for turn in turns]


def _ratio(turns: dict[str, list[dict[str, float]]], one: str, other: str, seconds: str) -> str:
    pairs = zip(_speeds(turns[one], seconds), _speeds(turns[other], seconds), strict=True)
    ratios = [a / b for a, b in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


# === Speed of the training step ===


def print_speed(rounds: int, with_libraries: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = _in_a_process(write_random, folder, _BATCH, _LENGTH)
        workers = _our_workers(records) | (_foreign_workers() if with_libraries else {})
        turns = take_turns(workers, rounds)
    _print_step(turns)
    versus = [(a, b, goal) for a, b, goal in _SPEED_GOALS if {a, b} <= set(turns)]
    versus += [(name, matmuls, "") for name, matmuls in _MATMULS.items() if name in turns]
    rows = [(f"{a} / {b}", *(_ratio(turns, a, b, seconds) for seconds in _SECONDS), goal) for a, b, goal in versus]
    _print_table("Ratios of tokens a second, and the least and most of the rounds", _RATIO_COLUMNS, rows)
    print(_DIFFERS)


def _print_step(turns: dict[str, list[dict[str, float]]]) -> None:
    from albert_model.training.speed import flops_per_token

    flops, rows = flops_per_token(_base(), _LENGTH, _PREDICTIONS / _LENGTH), []
    for name, each in turns.items():
        clock, processor = (statistics.median(_speeds(each, seconds)) for seconds in _SECONDS)
        rows.append((name, f"{clock:,.0f}", f"{clock * flops / 1e9:,.0f}", f"{processor:,.0f}"))
    columns = ("", "tokens/s", "GFLOP/s", "tokens/s of a processor")
    _print_table(f"Training ALBERT-base on the processor, S = {_LENGTH}, batch {_BATCH}", columns, rows)


def _our_workers(records: dict[str, Any]) -> dict[str, Worker]:
    """bfloat16 only where the processor has units for it."""
    names = [_FLOAT, *([_BFLOAT] if _in_a_process(gains_by_bfloat16) else [])]
    config, workers = _base().model_dump(), {}
    step = {"config": config, "batch": _BATCH, "length": _LENGTH, "predictions": _PREDICTIONS}
    for name in names:
        precision = name.split()[-1]
        settings = {"batch_size": _BATCH, "precision": precision}
        trains = {"config": config, "settings": settings, "records": records, "steps": _STEPS[name]}
        workers[name] = Worker("ours", trains)
        multiplies = step | {"dtype": precision, "least_seconds": _MATMUL_SECONDS}
        workers[_MATMULS[name]] = Worker("matmuls", multiplies)
    return workers


def gains_by_bfloat16() -> bool:
    from albert_model.training.settings import TrainingSettings
    from albert_model.training.strategies import keras_dtype

    return keras_dtype(TrainingSettings(), _base()) == "mixed_bfloat16"


def write_random(folder: str, count: int, length: int) -> dict[str, Any]:
    """Records of random ids without padding, in order and swapped; gives the argument `records` of the worker."""
    import numpy as np

    from albert_model.text.examples import Examples, encode_examples
    from albert_model.text.ragged import Ragged

    random = np.random.default_rng(1)
    places = [np.sort(random.choice(np.arange(1, length - 1), _PREDICTIONS, replace=False)) for _ in range(count)]
    examples = Examples(
        keys=[bytes(16)] * count,
        input_ids=Ragged.from_rows(list(random.integers(5, _base().vocab_size, (count, length)))),
        segment_a_length=np.full(count, length // 2),
        sentence_order_label=np.arange(count) % 2,
        sentence_order_weight=np.ones(count, int),
        masked_lm_positions=Ragged.from_rows(places, np.int64),
        masked_lm_ids=Ragged.from_rows(list(random.integers(5, _base().vocab_size, (count, _PREDICTIONS)))),
        document_id=["random"] * count,
        domain=["random"] * count,
    )
    return _write_records(Path(folder, "random"), encode_examples(examples), length, _PREDICTIONS)


def _write_records(
    path: Path, values: list[bytes], length: int, predictions: int, examples_per_row: int | None = None
) -> dict[str, Any]:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for value in values:
            writer.write(value)
    layout = {"padded": False, "max_seq_length": length, "max_predictions": predictions}
    return {
        "files": [str(path)],
        "count": len(values),
        "layout": layout | {"examples_per_row": examples_per_row},
    }


# === Other libraries ===

_TENSORFLOW = ("tensorflow==2.21.0", "keras==3.14.0", "numpy==1.26.4")
# keras-hub names tensorflow-text too, which models do without, and of which none goes with this TensorFlow.
_ENVIRONMENTS: dict[str, tuple[str, list[tuple[str, ...]]]] = {
    _KERAS_HUB: (
        "keras_hub",
        [
            (*_TENSORFLOW, "kagglehub==1.0.2", "regex", "sentencepiece==0.2.3", "tokenizers==0.23.2"),
            ("--no-deps", "keras-hub==0.29.1"),
        ],
    ),
    _TRANSFORMERS: ("transformers", [("torch==2.13.0", "transformers==5.17.0", "numpy==1.26.4")]),
}


def _foreign_workers() -> dict[str, Worker]:
    sizes = {"batch": _BATCH, "length": _LENGTH, "predictions": _PREDICTIONS}
    return {
        name: Worker(module, {"config": _base().model_dump(), "steps": _STEPS[name], **sizes}, python)
        for name, (module, packages) in _ENVIRONMENTS.items()
        if (python := install(name, module, packages))
    }


def install(name: str, module: str, packages: list[tuple[str, ...]]) -> Path | None:
    """Makes an environment of a library's own, and gives its Python; says why where that does not go."""
    folder = PROJECT / "build" / module.replace("_", "-")
    python, installed = folder / "bin" / "python", folder / "installed"
    try:
        if not installed.exists():
            venv.create(folder, with_pip=True, clear=True)
            for some in packages:
                _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *some)
            _run(python, "-c", f"import {module}")
            installed.touch()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{name} cannot be installed here, so nothing is compared with it: {getattr(error, 'stderr', error)}")
        return None
    return python


def _run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)


# === Layers as a loop ===


def print_graph() -> None:
    unrolled, scanned = (_in_a_process(count_nodes, scan_layers) for scan_layers in (False, True))
    rows = [
        (name, f"{count:,}", f"{scanned[name]:,}", f"{count / scanned[name]:.1f}", "≥ 4")
        for name, count in unrolled.items()
    ]
    columns = ("", "12 copies", "a loop", "copies / loop", "goal")
    _print_table("Nodes of the graph, functions in it included, ALBERT-base", columns, rows)


def count_nodes(scan_layers: bool) -> dict[str, int]:
    """Nodes of parts of a training step, by name."""
    import tensorflow as tf

    # Private, as nobody else needs a step without the loop around it.
    from albert_model.training.loop import TrainingFolders, _Training
    from albert_model.training.settings import TrainingSettings
    from albert_model.training.strategies import make_strategy

    settings = TrainingSettings(batch_size=_BATCH, scan_layers=scan_layers, precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        folders = TrainingFolders(Path(folder, "checkpoints"), Path(folder))
        training = _Training(_base(), settings, 1000, make_strategy(settings), None, folders, ())
        batch = {name: tf.TensorSpec(shape, dtype) for name, shape, dtype in _inputs(_BATCH, _LENGTH)}
        step = training.train_step.get_concrete_function(batch)
        training.checkpoints.close()
    encoder, pieces = training.network.encoder, [tf.TensorSpec((_BATCH, _LENGTH), tf.int64)] * 3

    @tf.function
    def forward(*inputs):
        return encoder(*inputs, training=True)["sequence_output"]

    @tf.function
    def forward_and_backward(*inputs):
        with tf.GradientTape() as tape:
            output = encoder(*inputs, training=True)["sequence_output"]
        return tape.gradient(output, [v.value for v in encoder.trainable_variables], unconnected_gradients="zero")

    return {
        "the training step": _nodes(step),
        "loss and gradients, without the optimizer": sum(_library(step)),
        "the encoder, forward": _nodes(forward.get_concrete_function(*pieces)),
        "the encoder, forward and backward": _nodes(forward_and_backward.get_concrete_function(*pieces)),
    }


def _inputs(batch: int, length: int) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and type of what a training step gets."""
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return [
        *((name, (batch, length), "int64") for name in names),
        *((name, (batch, _PREDICTIONS), "int64") for name in ("masked_lm_positions", "masked_lm_ids")),
        ("masked_lm_weights", (batch, _PREDICTIONS), "float32"),
        *((name, (batch,), "int64") for name in ("sentence_order_label", "sentence_order_weight")),
    ]


def _nodes(function) -> int:
    return len(function.graph.as_graph_def().node) + sum(_library(function))


def _library(function) -> list[int]:
    """Nodes of each function that a graph calls: here the gradients, which are compiled by themselves, and loops."""
    return [len(called.node_def) for called in function.graph.as_graph_def().library.function]


# === Memory, by XLA ===

_VARIANTS = {"12 copies": {}, "a loop": {"scan_layers": True}}
_VARIANTS["a loop, rematerialised"] = {"scan_layers": True, "rematerialize": True}


def print_memory() -> None:
    rows = []
    for length in (128, 512):
        copies, *loops = (_in_a_process(temporary_bytes, length, variant) for variant in _VARIANTS.values())
        rows.append((f"12 copies, S = {length}", f"{copies / 1e6:,.0f}", "", ""))
        for (name, variant), size in zip(list(_VARIANTS.items())[1:], loops, strict=True):
            goal = "≥ 2" if "rematerialize" in variant else ""
            rows.append((f"{name}, S = {length}", f"{size / 1e6:,.0f}", f"{copies / size:.1f}", goal))
    title = f"Temporary memory of loss and gradients, ALBERT-base, batch {_BATCH}, float32, by XLA on JAX"
    _print_table(title, ("", "MB", "times less", "goal"), rows)


def temporary_bytes(length: int, variant: dict[str, bool]) -> int:
    os.environ["KERAS_BACKEND"] = "jax"
    import jax

    from albert_model.network.pretrainer import AlbertPretrainer

    network = AlbertPretrainer(_base(), **variant)
    batch = {name: jax.ShapeDtypeStruct(shape, _narrow(dtype)) for name, shape, dtype in _inputs(_BATCH, length)}
    gradient = jax.jit(jax.grad(jax_loss(network), has_aux=True))
    compiled = gradient.lower(*_values(network), batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def _narrow(dtype: str) -> str:
    """JAX has no int64 unless it is told to."""
    return dtype.replace("64", "32")


def _values(network) -> tuple[list, list]:
    return tuple(
        [variable.value for variable in some] for some in (network.trainable_variables, network.non_trainable_variables)
    )


def jax_loss(network) -> Callable:
    """(trainable, others, batch) → loss, others."""
    from albert_model.network.pretrainer import score_examples

    def loss(trainable, others, batch):
        outputs, others = network.stateless_call(trainable, others, batch, training=True)
        scores = score_examples(outputs, batch)
        mlm, sop = scores["mlm_loss"].sum(), scores["sop_loss"].sum()
        return mlm / batch["masked_lm_weights"].sum() + sop / batch["sentence_order_weight"].sum(), others

    return loss


# === Packed rows ===

_PACKED_LENGTH, _PACKED_BATCH, _PACKED_STEPS = 512, 4, 2
_SHORT = 1000  # characters of a document


def print_packing(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = _in_a_process(write_short, folder)
        settings = {"batch_size": _PACKED_BATCH}
        common = {"config": _base().model_dump(), "settings": settings, "steps": _PACKED_STEPS}
        workers = {name: Worker("ours", common | {"records": some}) for name, some in records.items()}
        turns = take_turns(workers, rounds)
    slots = _PACKED_STEPS * _PACKED_BATCH * _PACKED_LENGTH
    fill = {name: statistics.mean(turn["tokens"] for turn in each) / slots for name, each in turns.items()}
    # Two rounds have other batches: each is taken to be as full as all are together.
    turns = {name: [turn | {"tokens": fill[name] * slots} for turn in each] for name, each in turns.items()}
    rows = []
    for name, each in turns.items():
        speed = statistics.median(_speeds(each, "clock"))
        places = (f"{name}, {records[name]['count']} rows", f"{speed / fill[name]:,.0f}", f"{fill[name]:.0%}")
        rows.append((*places, f"{speed:,.0f}"))
    title = f"Documents of at most {_SHORT} characters, ALBERT-base, S = {_PACKED_LENGTH}, batch {_PACKED_BATCH}"
    _print_table(title, ("", "places/s", "filled", "real tokens/s"), rows)
    ratios = (_ratio(turns, "packed", "padded", seconds) for seconds in _SECONDS)
    goal = f"≥ {0.9 / fill['padded']:.2f}, 0.9 / filled"
    _print_table("Real tokens a second", _RATIO_COLUMNS, [("packed / padded", *ratios, goal)])


def write_short(folder: str) -> dict[str, dict[str, Any]]:
    """Records of the same examples, padded and packed."""
    from albert_model.text.examples import encode_examples, make_examples
    from albert_model.text.packing import pack, predictions_per_row
    from albert_model.text.settings import ExampleSettings
    from albert_model.text.tokenizer import Tokenizer

    padded = ExampleSettings(max_seq_length=_PACKED_LENGTH)
    packed = ExampleSettings(max_seq_length=_PACKED_LENGTH, packing="pack")
    made = make_examples(_short_documents(), Tokenizer.from_file(MODEL), padded, 1, True, Counter())
    values = [value for examples in made for value in encode_examples(examples)]
    rows = pack(values, _PACKED_LENGTH, packed.examples_per_row)
    shape = (_PACKED_LENGTH, predictions_per_row(packed), packed.examples_per_row)
    return {
        "padded": _write_records(Path(folder, "padded"), values, _PACKED_LENGTH, predictions_per_row(padded)),
        "packed": _write_records(Path(folder, "packed"), rows, *shape),
    }


def _short_documents() -> list:
    from albert_model.text import documents

    with gzip.open(LAW) as file:
        found = documents.read_documents(file, LAW.name, "", documents.DocumentSettings(), Counter())
        return [document for document in found if sum(map(len, document.sentences)) <= _SHORT]


# === Accelerator ===

_TOKENS_AT_ONCE = 32_768  # of a batch
_ENQUEUED = 50  # steps


class Accelerated(NamedTuple):
    """What was measured.

    Attributes:
      device: its name.
      tokens_per_second: of a training step, by length.
      utilisation: by length; why it is not known, where it is not.
    """

    device: str
    tokens_per_second: dict[int, float]
    utilisation: dict[int, str]


def print_accelerator() -> None:
    """TensorFlow's GPU, or else that of JAX."""
    found = _in_a_process(measure_tensorflow) or _in_a_process(measure_jax)
    if not found:
        print("no accelerator here")
        return
    rows = [
        (f"S = {length}, batch {_TOKENS_AT_ONCE // length}", f"{speed:,.0f}", found.utilisation[length])
        for length, speed in found.tokens_per_second.items()
    ]
    _print_table(f"Training ALBERT-base in bfloat16 on {found.device}", ("", "tokens/s", "MFU"), rows)


def measure_tensorflow() -> Accelerated | None:
    """The training loop; nothing without TensorFlow, or without a GPU for it."""
    if not importlib.util.find_spec("tensorflow"):
        return None
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    speeds = {length: _loop_speed(length) for length in (128, 512)}
    return Accelerated(f"{device}, TensorFlow", speeds, _utilisations(device, speeds))


def _loop_speed(length: int) -> float:
    rows = _TOKENS_AT_ONCE // length
    with tempfile.TemporaryDirectory() as folder:
        records = write_random(folder, rows, length)
        settings = {"batch_size": rows, "precision": "bfloat16", "strategy": "one"}
        arguments = {"config": _base().model_dump(), "settings": settings, "records": records, "steps": _ENQUEUED}
        turns = take_turns({"ours": Worker("ours", arguments)}, 1)["ours"]
    return turns[0]["tokens"] / turns[0]["clock"]


def measure_jax() -> Accelerated | None:
    """A step in JAX; nothing without it, or without an accelerator for it."""
    if not importlib.util.find_spec("jax"):
        return None
    os.environ["KERAS_BACKEND"] = "jax"
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu":
        return None
    speeds = {length: jax_speed(length, _TOKENS_AT_ONCE // length, _ENQUEUED) for length in (128, 512)}
    return Accelerated(f"{device.device_kind}, JAX", speeds, _utilisations(device.device_kind, speeds))


def jax_speed(length: int, rows: int, steps: int) -> float:
    """Tokens/s of loss, gradients and update, steps enqueued one after another."""
    import jax
    import numpy as np

    step, state = _jax_step()
    random = np.random.default_rng(1)
    limits = {"input_word_ids": _base().vocab_size, "masked_lm_ids": _base().vocab_size, "masked_lm_positions": length}
    batch = {
        name: np.ones(shape, _narrow(dtype))
        if name.endswith(("mask", "weight", "weights"))
        else random.integers(0, limits.get(name, 2), shape).astype(_narrow(dtype))
        for name, shape, dtype in _inputs(rows, length)
    }
    batch = jax.device_put(batch)
    state = jax.block_until_ready(step(state, batch))  # which compiles it
    started = time.perf_counter()
    for _ in range(steps):
        state = step(state, batch)
    jax.block_until_ready(state)
    return steps * rows * length / (time.perf_counter() - started)


def _jax_step() -> tuple[Callable, tuple]:
    """(state, batch) → state, and the first state: variables and those of the optimizer."""
    import jax
    import keras

    from albert_model.network.pretrainer import AlbertPretrainer

    network = AlbertPretrainer(_base(), dtype="mixed_bfloat16")
    optimizer = keras.optimizers.AdamW(1e-5, weight_decay=0.01, global_clipnorm=1.0)
    optimizer.build(network.trainable_variables)
    differentiate = jax.grad(jax_loss(network), has_aux=True)

    def step(state, batch):
        trainable, others, slots = state
        gradients, others = differentiate(trainable, others, batch)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return trainable, others, slots

    first = (*_values(network), [variable.value for variable in optimizer.variables])
    return jax.jit(step, donate_argnums=0), first


def _utilisations(device: str, speeds: dict[int, float]) -> dict[int, str]:
    from albert_model.training import speed

    peak = speed.peak_flops(device)
    if peak is None:
        return dict.fromkeys(speeds, "not known (nor is the peak of the device)")
    costs = {length: speed.flops_per_token(_base(), length, _PREDICTIONS / length) for length in speeds}
    return {length: f"{each * costs[length] / peak:.1%}" for length, each in speeds.items()}


if __name__ == "__main__":
    main()
