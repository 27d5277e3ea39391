"""Prints how many examples a core makes a second, beside NVIDIA LDDL, and what Beam adds to that.

python benchmarks/examples.py              # our core and LDDL, round by round: 6 minutes, 2 more the first time
python benchmarks/examples.py --no-lddl    # our core alone: 2 minutes
python benchmarks/examples.py --beam       # then the component, with one worker and with two: 10 minutes more
python benchmarks/examples.py --memory     # then its memory at its peak: 2 minutes more

Each round takes the seconds of the processor, in a process of its own that does nothing else; the median of the rounds
counts. A rate is a slope between two numbers of copies of the text, so that what is done once (imports, reading,
tokenising) drops out. Examples are made, serialised and written to a TFRecord file, LDDL's to Parquet. The text is
novels.txt.gz of the test data, whose folder ALBERT_TEST_DATA says.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import rich
import rich.table

PROJECT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ALBERT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
NOVELS = DATA / "corpora" / "novels.txt.gz"
LAW = DATA / "corpora" / "us_code.txt.gz"
MODEL = DATA / "tokenizer" / "30k-clean.model"

LDDL = PROJECT / "build" / "lddl"
# LDDL names mpi4py, cchardet and others too, which its pairs and masks do without.
_LDDL_PACKAGES = (
    *("dask==2021.7.1", "distributed==2021.7.1", "nltk==3.10.4", "numpy==1.24.4", "pandas==1.5.3", "pyarrow==14.0.2"),
    *("tokenizers==0.23.3", "transformers==4.16.2"),
)
_LDDL_DIFFERS = """\
What differs. LDDL: pairs for next-sentence prediction, trimmed; single WordPieces masked (30,000 of them, trained on
the text); text in Parquet; tokens that were cut before. It predicts 15 % of an example's pieces unless told otherwise.
Ours: pairs in order or swapped; n-grams of whole words masked; ids in TFRecord."""

_BATCH = 32  # documents, as in PretrainingExampleGen
_SHORT_COPIES, _LONG_COPIES = (10, 50), 240  # of the Beam jobs: by slope; for one worker two minutes or more
_MEMORY_COPIES = 8


class Case(NamedTuple):
    """Examples of one kind, and from how many copies of the text to how many the slope is taken."""

    name: str
    length: int
    predictions: int
    masked: bool
    copies: tuple[int, int]
    goal: str = ""


_STATIC, _DEFERRED, _MANY = "static masks, S = 512, P = 20", "deferred masks, S = 512", "static masks, S = 512, P = 77"
_WHOLE = "the first, one copy with tokenising"
_WRITING = "serialising and writing alone, "
_CASES = (
    Case(_STATIC, 512, 20, True, (1, 9), "≥ 20,000"),
    Case(_DEFERRED, 512, 20, False, (1, 17), "≥ 80,000"),
    Case("static masks, S = 128, P = 20", 128, 20, True, (1, 5), "≥ 45,000"),
    Case(_MANY, 512, 77, True, (1, 5)),
)
_VERSUS = (  # LDDL's name, ours, goal
    ("static, P = 20", _STATIC, "≥ 3"),
    ("static, P = 77", _MANY, "≥ 3"),
    ("deferred", _DEFERRED, "≥ 1.8"),
    (_WHOLE, _WHOLE, ""),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often the core is measured (default 3)")
    parser.add_argument("--no-lddl", action="store_true", help="leave LDDL out; installing it takes 450 MB in build/")
    parser.add_argument("--beam", action="store_true", help="measure the component on Beam; takes 8 GB of disk")
    parser.add_argument("--memory", action="store_true", help="measure the component's memory")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(shlex.join(["python", *sys.argv]))
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {_versions()}")
    with_lddl = not arguments.no_lddl and install_lddl()
    rounds = [(_in_a_process(measure_core), measure_lddl() if with_lddl else None) for _ in range(arguments.rounds)]
    ours = [figures for figures, _ in rounds]
    print_core(ours)
    if with_lddl:
        print_beside_lddl(ours, [figures for _, figures in rounds])
    if arguments.beam:
        print_beam(_median(ours, _STATIC))
    if arguments.memory:
        print_memory()


def _versions() -> str:
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("numpy", "sentencepiece", "tfx-bsl", "apache-beam"))


def _in_a_process(function, *arguments):
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


# === Our core ===


def measure_core() -> dict[str, float]:
    """Examples a second, by name."""
    from albert_model.text.tokenizer import Tokenizer

    documents, tokenizer = read_documents(NOVELS), Tokenizer.from_file(MODEL)
    make(documents[:_BATCH], tokenizer, _CASES[0], 1)  # what a process does once
    rates, writing = {}, {}
    for case in _CASES:
        # A tokenizer of its own for each, as one remembers what it has seen.
        few, many = (make(documents, Tokenizer.from_file(MODEL), case, copies) for copies in case.copies)
        rates[case.name] = (many[0] - few[0]) / (many[1] - few[1])
        if case.name == _STATIC:
            rates[_WHOLE] = few[0] / few[1]
        if case.name in (_STATIC, _DEFERRED):
            writing[_WRITING + case.name.split()[0]] = write_alone(documents, tokenizer, case)
    return rates | writing


def read_documents(path: Path) -> list:
    from albert_model.text import documents

    with gzip.open(path) as file:
        return list(documents.read_documents(file, path.name, "", documents.DocumentSettings(), Counter()))


def make(documents: list, tokenizer, case: Case, copies: int) -> tuple[int, float]:
    """Examples that were made, serialised and written, and the seconds of the processor."""
    import tensorflow as tf

    from albert_model.text.examples import encode_examples

    started, count = time.process_time(), 0
    with tempfile.NamedTemporaryFile() as file, tf.io.TFRecordWriter(file.name) as writer:
        for examples in _examples(documents, tokenizer, case, copies):
            count += len(examples)
            for record in encode_examples(examples):
                writer.write(record)
    return count, time.process_time() - started


def write_alone(documents: list, tokenizer, case: Case) -> float:
    """Examples a second where they have been made before: no generator of such records is faster."""
    import tensorflow as tf

    from albert_model.text.examples import encode_examples

    made = list(_examples(documents, tokenizer, case, 1))
    started = time.process_time()
    with tempfile.NamedTemporaryFile() as file, tf.io.TFRecordWriter(file.name) as writer:
        for examples in made:
            for record in encode_examples(examples):
                writer.write(record)
    return sum(map(len, made)) / (time.process_time() - started)


def _examples(documents: list, tokenizer, case: Case, copies: int):
    from albert_model.text.examples import make_examples
    from albert_model.text.settings import ExampleSettings

    settings = ExampleSettings(max_seq_length=case.length, max_predictions_per_seq=case.predictions)
    for first in range(0, len(documents), _BATCH):
        batch = documents[first : first + _BATCH]
        yield from make_examples(batch, tokenizer, settings, copies, case.masked, Counter())


def print_core(rounds: list[dict[str, float]]) -> None:
    goals = {case.name: case.goal for case in _CASES} | {_WHOLE: "≥ 10,000"}
    rows = [(name, f"{_median(rounds, name):,.0f}", goals.get(name, "")) for name in rounds[0]]
    _print_table("Our core, examples/s of one processor", ("", "examples/s", "goal"), rows)


def _median(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(figures[name] for figures in rounds)


def _print_table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = rich.table.Table(columns[0], title=title, title_justify="left")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    rich.print(table)


# === NVIDIA LDDL ===


def install_lddl() -> bool:
    """Makes LDDL's own environment; says why where that does not go."""
    installed = LDDL / "installed"
    try:
        if not installed.exists():
            venv.create(LDDL, with_pip=True, clear=True)
            pip = (LDDL / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            _output_of(*pip, *_LDDL_PACKAGES)
            _output_of(*pip, "--no-deps", "lddl==0.1.0")
            _output_of(LDDL / "bin" / "python", "-c", "import lddl.dask.bert.pretrain")
            installed.touch()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"LDDL cannot be installed here, so nothing is compared with it: {getattr(error, 'stderr', error)}")
        return False
    return True


def measure_lddl() -> dict[str, float]:
    """Examples a second, by name."""
    worker = Path(__file__).with_name("lddl_worker.py")
    printed = _output_of(LDDL / "bin" / "python", "-W", "ignore", worker, NOVELS, LDDL / "vocab.txt")
    figures = json.loads(printed.splitlines()[-1])
    tokenising = figures.pop("tokenising")
    rates = {name: (many[0] - few[0]) / (many[1] - few[1]) for name, (few, many) in figures.items()}
    count, seconds = figures["static, P = 20"][0]
    return rates | {_WHOLE: count / (tokenising + seconds)}


def _output_of(*command: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def print_beside_lddl(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    rows = []
    for name, our_name, goal in _VERSUS:
        ratio = statistics.median(a[our_name] / b[name] for a, b in zip(ours, theirs, strict=True))
        rows.append(
            (our_name, f"{_median(theirs, name):,.0f}", f"{_median(ours, our_name):,.0f}", f"{ratio:.1f}", goal)
        )
    columns = ("", "LDDL", "ours", "ours / LDDL", "goal")
    _print_table("Beside NVIDIA LDDL 0.1.0, examples/s of one processor", columns, rows)
    print(_LDDL_DIFFERS)


# === The component on Beam ===


class Job(NamedTuple):
    """What a run of PretrainingExampleGen took.

    Attributes:
      examples: that were made.
      seconds: of the component, by the clock.
      processor: seconds of the processor, of the whole process.
      memory: of the process and its children at its peak, shared pages counted once; in bytes.
    """

    examples: int
    seconds: float
    processor: float
    memory: int


def print_beam(core: float) -> None:
    few, many = (_in_a_process(run_job, (NOVELS,), 1, copies, "in_memory", 1) for copies in _SHORT_COPIES)
    rate = (many.examples - few.examples) / (many.processor - few.processor)
    one, two = (_in_a_process(run_job, (NOVELS,), 1, _LONG_COPIES, "multi_processing", n) for n in (1, 2))
    rows = [
        ("one process, by slope", f"{rate:,.0f}", f"{rate / core:.0%} of the core", "≥ 60 %"),
        (f"one worker, {one.seconds:.0f} s", f"{one.examples / one.seconds:,.0f}", "", ""),
        (
            *(f"two workers, {two.seconds:.0f} s", f"{two.examples / two.seconds:,.0f}"),
            *(f"{one.seconds / two.seconds:.2f} × one", "≥ 1.6 ×"),
        ),
    ]
    _print_table("PretrainingExampleGen on Beam, static masks, S = 512", ("", "examples/s", "", "goal"), rows)


def print_memory() -> None:
    jobs = [_in_a_process(run_job, (NOVELS, LAW), part, _MEMORY_COPIES, "in_memory", 1) for part in (4, 1)]
    growth = jobs[1].memory / jobs[0].memory - 1
    rows = [
        ("a quarter of two corpora, 11 MB", f"{jobs[0].memory / 1e6:,.0f}", "", ""),
        ("all, 44 MB", f"{jobs[1].memory / 1e6:,.0f}", f"{growth:+.0%}", "≤ 15 %"),
    ]
    _print_table(f"Memory at its peak, {_MEMORY_COPIES} copies, one worker", ("text", "MB", "growth", "goal"), rows)


def run_job(corpora: tuple[Path, ...], part: int, copies: int, mode: str, workers: int) -> Job:
    """Text to documents to examples, in a folder of its own.

    Args:
      corpora: the text.
      part: take each document whose number this divides.
      copies: dupe factor.
      mode, workers: how Beam's FnApiRunner runs.
    """
    from tfx import v1 as tfx

    from pipeline.lineage import Lineage

    with tempfile.TemporaryDirectory() as root, PeakMemory() as peak:
        write_corpus(Path(root), corpora, part)
        metadata = str(Path(root, "metadata.sqlite"))
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="benchmark",
            pipeline_root=root,
            components=_components(root, copies),
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata),
            beam_pipeline_args=[
                *("--runner=FnApiRunner", f"--direct_running_mode={mode}", f"--direct_num_workers={workers}")
            ],
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        lineage = Lineage(metadata)
        node = lineage.nodes(lineage.run_ids[-1])["PretrainingExampleGen"]
        count = node.outputs["examples"].custom_properties["examples"].int_value
    return Job(count, node.seconds, time.process_time(), peak.bytes)


_FILES = 8  # of text, so that workers have something to share


def write_corpus(root: Path, corpora: tuple[Path, ...], part: int) -> None:
    for corpus in corpora:
        folder = root / "span-1" / corpus.name.split(".")[0]
        folder.mkdir(parents=True)
        texts = gzip.decompress(corpus.read_bytes()).split(b"\n\n")[::part]
        for number in range(_FILES):
            (folder / f"{number}.txt").write_bytes(b"\n\n".join(texts[number::_FILES]) + b"\n")


def _components(root: str, copies: int) -> list:
    from tfx import v1 as tfx

    from albert_model.text.documents import DocumentSettings
    from albert_model.text.settings import ExampleSettings
    from albert_model.text.tokenizer import Tokenizer, write_vocabulary
    from components import artifacts
    from components.document_gen.component import DocumentGen
    from components.pretraining_example_gen.component import PretrainingExampleGen

    vocabulary = Path(root, "vocab")
    write_vocabulary(vocabulary, Tokenizer.from_file(MODEL))
    tokenizer = tfx.dsl.Importer(str(vocabulary), artifacts.Tokenizer).with_id("Tokenizer")
    documents = DocumentGen(root, "span-{SPAN}/*/*.txt", 0.02, DocumentSettings().model_dump_json())
    examples = PretrainingExampleGen(
        documents=documents.outputs["examples"],
        tokenizer=tokenizer.outputs["result"],
        settings=ExampleSettings(dupe_factor=copies).model_dump_json(),
    )
    return [documents, tokenizer, examples]


class PeakMemory:
    """Looks at the memory of the process and its children while a block runs."""

    _SECONDS = 0.2  # between two looks

    def __enter__(self) -> PeakMemory:
        self.bytes, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        import psutil

        process = psutil.Process()
        while not self._done.wait(self._SECONDS):
            sizes = []
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):  # it has ended
                    sizes.append(each.memory_full_info().pss)
            self.bytes = max(self.bytes, sum(sizes))


if __name__ == "__main__":
    main()
