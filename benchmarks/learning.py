"""Trains a small ALBERT on English novels, then on the US Code, and shows what it learned of each.

python benchmarks/learning.py                        # trainings, scores, tables: 40 minutes on two processors
python benchmarks/learning.py --picture docs/learning.svg
python benchmarks/learning.py --steps 200 200 100    # a look at how it works, which learns nothing

The model of the novels is trained on the US Code from its weights, as a pipeline does with the model it pushed last,
and a new one beside it from random weights, with the same steps. Then the first training again, shorter, and again with
one mistake at a time, most of them ALBERT-TF2.0's. All scores are of documents that no training saw, masked once for
all. Everything is kept in build/learning, where a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import math
import os
import platform
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import rich.console
import rich.table
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.text import documents
from albert_model.text.examples import encode_examples, make_examples
from albert_model.text.record_scan import Layout
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary_training import TokenizerSettings
from albert_model.text.vocabulary_training import train as train_vocabulary
from albert_model.training import loop, optimizers
from albert_model.training.evaluation import evaluate
from albert_model.training.input_pipeline import Bin
from albert_model.training.lamb import lamb_update
from albert_model.training.record_layouts import parser
from albert_model.training.settings import TrainingSettings
from albert_model.weights.names import Weights
from albert_model.weights.settings import ReadOptions
from albert_model.weights.source import opened

PROJECT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ALBERT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
CORPORA = {name: DATA / "corpora" / f"{file}.txt.gz" for name, file in (("novels", "novels"), ("law", "us_code"))}
FOLDER = PROJECT / "build" / "learning"

SEED = 12345
EXAMPLES = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10, dupe_factor=4, random_seed=SEED)
CONFIG = AlbertConfig(
    vocab_size=4096,
    embedding_size=64,
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=512,
    max_position_embeddings=64,
    hidden_dropout_prob=0.0,  # as ALBERT's second version: no text is seen often enough to be learned by heart
    attention_probs_dropout_prob=0.0,
)
SETTINGS = TrainingSettings(
    batch_size=32,
    learning_rate=0.005,
    warmup_steps=200,
    seed=SEED,
    strategy="one",
    max_eval_batches=16,
    max_loss_rise=100.0,  # what a mistake does is to be seen
)
_HELD_OUT = 0.05  # of the documents
_SCORED = 2048  # held-out examples of each text
_POINTS = 6  # of each curve
_BATCH = 32  # documents that are cut at once
_LINES = 20  # of progress in a training
_WIDTH = 100  # characters of a table
_VOCABULARY_EVERY = 10  # of the novels, the documents that the vocabulary is trained on
_PARSE = parser(Layout(False, EXAMPLES.max_seq_length, EXAMPLES.max_predictions_per_seq))


@dataclass(frozen=True)
class Training:
    """One training, and what is done otherwise in it.

    Attributes:
      name: in tables, and of its folder.
      text: trained on.
      steps: how many.
      start: the training whose last weights it starts from; None: random ones.
      settings: other than SETTINGS.
      examples: other than EXAMPLES.
      points: how often it is scored.
    """

    name: str
    text: str
    steps: int
    start: Training | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, Any] = field(default_factory=dict)
    points: int = 1

    @property
    def folder(self) -> Path:
        return FOLDER / f"{self.name.replace(' ', '-').replace(',', '')}-{self.steps}"


def trainings(first: int, second: int, short: int) -> tuple[list[Training], list[Training]]:
    """Those of the two texts, and those with a mistake each."""
    novels = Training("novels", "novels", first, points=_POINTS)
    law = Training("novels, then law", "law", second, start=novels, points=_POINTS)
    alone = Training("law alone", "law", second, points=_POINTS)
    mistakes = [
        Training("no mistake", "novels", short),
        Training("no mistake, another seed", "novels", short, settings={"seed": SEED + 1}),
        Training("Adam where LAMB was meant", "novels", short, settings={"optimizer": "adamw"}),
        Training("norms and biases decayed and scaled", "novels", short, settings={"optimizer": _ALL_ADAPTED}),
        Training("gradients not clipped", "novels", short, settings={"clip_norm": 1e9}),
        Training("long n-grams favoured", "novels", short, examples={"favor_shorter_ngram": False}),
    ]
    return [novels, law, alone], mistakes


_ALL_ADAPTED = "lamb without exclusions"


def _lamb_without_exclusions(weight, gradient, m, v, learning_rate, step, weight_decay: float, adapted: bool):
    return lamb_update(weight, gradient, m, v, learning_rate, weight_decay, True)


def main() -> None:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # which warns that each score is a graph of its own
    print(shlex.join(["python", *sys.argv]))
    print(f"{os.cpu_count()} processors, Python {platform.python_version()}, TensorFlow {tf.__version__}")
    optimizers.RULES = {**optimizers.RULES, _ALL_ADAPTED: _lamb_without_exclusions}
    loop.RULES = optimizers.RULES
    texts, mistakes = trainings(*arguments.steps)
    started = time.monotonic()
    results = {one.name: run(one) for one in [*texts, *mistakes]}
    print_texts(texts, results)
    print_mistakes(mistakes, results)
    print(f"seed {SEED}, settings {SETTINGS.model_dump(exclude_defaults=True)}")
    print(f"{time.monotonic() - started:,.0f} seconds")
    if arguments.picture:
        draw(texts, results, arguments.picture)


def _arguments() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = ("NOVELS", "LAW", "MISTAKES")
    parse.add_argument("--steps", type=int, nargs=3, default=(6000, 2500, 800), metavar=steps, help="of the trainings")
    parse.add_argument("--picture", type=Path, help="draw the curves into this file (.svg, .png)")
    parse.add_argument("--new", action="store_true", help="leave alone what an earlier run did: begin again")
    arguments = parse.parse_args()
    if missing := [str(path) for path in CORPORA.values() if not path.is_file()]:
        parse.error(f"{missing[0]}: not there. ALBERT_TEST_DATA names the folder of the texts.")
    if arguments.new:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    return arguments


# === Data ===


def read_split(text: str, split: str) -> list[documents.Document]:
    with gzip.open(CORPORA[text]) as file:
        read = documents.read_documents(file, text, text, documents.DocumentSettings(), Counter())
        return [one for one in read if documents.split_of(one.document_id, _HELD_OUT) == split]


def tokenizer() -> Tokenizer:
    """Trained on novels alone: it was there before the law came."""
    path = FOLDER / "novels.model"
    if not path.exists():
        some = read_split("novels", "train")[::_VOCABULARY_EVERY]
        sentences = (sentence for document in some for sentence in document.sentences)
        path.write_bytes(train_vocabulary(sentences, CONFIG.vocab_size, TokenizerSettings()).vocabulary.content)
    return Tokenizer.from_file(path)


def records(text: str, split: str, other: dict[str, Any] | None = None) -> Bin:
    """A file of a text's examples, made if it is not there."""
    settings = EXAMPLES.model_copy(update=other or {})
    name = "-".join([text, split, *(f"{key}-{value}" for key, value in (other or {}).items())])
    path, count = FOLDER / f"{name}.tfrecord", FOLDER / f"{name}.json"
    if not count.exists():
        made = 0
        with tf.io.TFRecordWriter(str(path)) as writer:
            for value in _encoded(read_split(text, split), settings, settings.dupe_factor if split == "train" else 1):
                writer.write(value)
                made += 1
        count.write_text(json.dumps(made))
    return Bin((str(path),), json.loads(count.read_text()))


def _encoded(chosen: list[documents.Document], settings: ExampleSettings, copies: int) -> Iterable[bytes]:
    vocabulary = tokenizer()
    for first in range(0, len(chosen), _BATCH):
        for examples in make_examples(chosen[first : first + _BATCH], vocabulary, settings, copies, True, Counter()):
            yield from encode_examples(examples)


# === Trainings ===


def run(training: Training) -> dict[str, Any]:
    """Trains and scores, or gives what was found before: `seconds` of training, and the `curve`."""
    result = training.folder / "result.json"
    if not result.exists():
        logging.info("=== %s: %d steps on %s", training.name, training.steps, training.text)
        seconds = train(training)
        curve = [score(training, step) for step in checkpoints(training)]
        result.write_text(json.dumps({"seconds": seconds, "curve": curve}))
    return json.loads(result.read_text())


def train(training: Training) -> float:
    """Leaves a checkpoint for each point of the curve; gives the seconds."""
    data = loop.TrainingData(
        [records(training.text, "train", training.examples)], records(training.text, "eval").files, _PARSE, _PARSE
    )
    settings = SETTINGS.model_copy(
        update={
            "epochs": math.ceil(training.steps / (data.train_bins[0].records // SETTINGS.batch_size)),
            "max_steps": training.steps,
            "checkpoint_every": math.ceil(training.steps / training.points),
            "keep_checkpoints": training.points,
            "log_every": max(1, training.steps // _LINES),
            **training.settings,
        }
    )
    weights = weights_at(training.start, training.start.steps) if training.start else None
    started = time.monotonic()
    folders = loop.TrainingFolders(training.folder / "checkpoints", training.folder / "metrics")
    loop.train(CONFIG, settings, data, weights, folders)
    return time.monotonic() - started


def checkpoints(training: Training) -> list[int]:
    """Steps, in order."""
    return sorted(int(path.stem.split("-")[1]) for path in training.folder.glob("checkpoints/ckpt-*.index"))


def weights_at(training: Training, step: int) -> Weights:
    path = training.folder / "checkpoints" / f"ckpt-{step}"
    with opened(str(path), ReadOptions(config=CONFIG, any_vocabulary=True)) as source:
        return {name: source.model.weights[name] for name in source.model.weights}


def score(training: Training, step: int) -> dict[str, Any]:
    """Figures of a step, by text."""
    weights = weights_at(training, step)
    scores = {
        text: evaluate(CONFIG, weights, records(text, "eval").files, _PARSE, _SCORED, max_batches=1) for text in CORPORA
    }
    logging.info(
        "step %d: %s", step, ", ".join(f"{text} {figures['mlm_accuracy']:.1%}" for text, figures in scores.items())
    )
    return {"step": step, **scores}


# === What came of it ===


def print_texts(texts: list[Training], results: dict[str, Any]) -> None:
    rows = [
        (one.name, f"{one.steps:,}", text, *_cells(results[one.name]["curve"][-1], text))
        for one in texts
        for text in CORPORA
    ]
    _print_table("What a small ALBERT knows of a text", ("trained on", "steps", "scored on", *_FIGURES), rows)


def print_mistakes(mistakes: list[Training], results: dict[str, Any]) -> None:
    rows = [(one.name, *_cells(results[one.name]["curve"][-1], one.text)) for one in mistakes]
    title = f"One mistake at a time: {mistakes[0].steps:,} steps on novels, scored on novels"
    _print_table(title, ("", *_FIGURES), rows)


_FIGURES = ("MLM accuracy", "perplexity", "SOP accuracy")


def _cells(point: dict[str, Any], text: str) -> tuple[str, ...]:
    figures = point[text]
    return f"{figures['mlm_accuracy']:.1%}", f"{math.exp(figures['mlm_loss']):.1f}", f"{figures['sop_accuracy']:.1%}"


def _print_table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = rich.table.Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in (*_FIGURES, "steps") else "left")
    for row in rows:
        table.add_row(*row)
    rich.console.Console(width=_WIDTH).print(table)


def draw(texts: list[Training], results: dict[str, Any], path: Path) -> None:
    """Held-out MLM accuracy of both texts: novels, then law beside law alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    novels, law, alone = texts
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for text, colour in zip(CORPORA, ("tab:blue", "tab:orange"), strict=True):
        first, then = (_line(one, results, text) for one in (novels, law))
        moved = [(step + novels.steps, value) for step, value in [(0, first[-1][1]), *then]]
        axes.plot(*zip(*first, *moved, strict=True), color=colour, marker="o", label=f"{text}, held out")
    beside = [(step + novels.steps, value) for step, value in _line(alone, results, "law")]
    axes.plot(
        *zip(*beside, strict=True), color="tab:orange", linestyle=":", marker=".", label="law, from random weights"
    )
    axes.axvline(novels.steps, color="grey", linewidth=1)
    axes.set(xlabel="steps: novels, then law", ylabel="masked pieces found", xlim=0, ylim=0)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    print(f"wrote {path}")


def _line(training: Training, results: dict[str, Any], text: str) -> list[tuple[int, float]]:
    return [(point["step"], point[text]["mlm_accuracy"]) for point in results[training.name]["curve"]]


if __name__ == "__main__":
    main()
