"""Trains a small ALBERT on six spans whose text moves from law to novels, and shows what it keeps and what it forgets.

python benchmarks/repretraining.py                         # 11 trainings and a table
python benchmarks/repretraining.py --picture docs/repretraining.svg
python benchmarks/repretraining.py --steps 20 5            # a look at how it works, which learns nothing

Three ways to go on from the model of the first span: never trained again; trained on each span as it comes, from the
weights of the span before; the same with a share of each training's text replayed from older spans, drawn as
corpus.replay draws it. Both take the same steps. All scores are of documents that no training saw, masked once for all.
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
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import rich.console
import rich.table
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.network.pretrainer import AlbertPretrainer, score_examples
from albert_model.text import mixing
from albert_model.text.documents import SPLITS, Document, DocumentSettings, read_documents, split_of
from albert_model.text.examples import encode_examples, make_examples
from albert_model.text.record_scan import Layout
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary_training import TokenizerSettings
from albert_model.text.vocabulary_training import train as train_vocabulary
from albert_model.training import loop
from albert_model.training.input_pipeline import Bin, evaluation_batches
from albert_model.training.metrics import summarize
from albert_model.training.record_layouts import parser
from albert_model.training.settings import TrainingSettings
from albert_model.weights import network as network_weights
from albert_model.weights.names import Weights

PROJECT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ALBERT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
CORPORA = {name: DATA / "corpora" / f"{file}.txt.gz" for name, file in (("law", "us_code"), ("novels", "novels"))}

SECOND = (0.0, 0.25, 0.5, 0.75, 1.0, 1.0)  # the share of novels in each span
POLICIES = ("never retrained", "retrained", "retrained with replay")
SEED = 12345
EXAMPLES = ExampleSettings(max_seq_length=32, max_predictions_per_seq=5, ngram=1, random_seed=SEED)
CONFIG = AlbertConfig(
    vocab_size=1000,
    embedding_size=64,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=256,
    max_position_embeddings=32,
    hidden_dropout_prob=0.0,  # as ALBERT's second version
    attention_probs_dropout_prob=0.0,
)
SETTINGS = TrainingSettings(
    batch_size=64, optimizer="adamw", learning_rate=0.003, seed=SEED, strategy="one", max_loss_rise=100.0
)
_HELD_OUT = 0.1  # of the documents
_SCORED = 256  # examples scored at once
_BATCH = 32  # documents that are cut at once
_PARSE = parser(Layout(False, EXAMPLES.max_seq_length, EXAMPLES.max_predictions_per_seq))


@dataclass(frozen=True)
class Span:
    """A span's documents to train on, and those held out."""

    number: int
    train: list[Document]
    held_out: list[Document]


@dataclass(frozen=True)
class Point:
    """What a policy's model finds after a span: shares of masked pieces, of its held-out text and of the first's."""

    policy: str
    span: int
    newest: float
    first: float


def main() -> None:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    print(shlex.join(["python", *sys.argv]))
    print(f"{os.cpu_count()} processors, Python {platform.python_version()}, TensorFlow {tf.__version__}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="repretraining-") as folder:
        points = simulate(Path(folder), *arguments.steps, arguments.replay, arguments.span_bytes)
    print_table(points)
    print(f"seed {SEED}, replay {arguments.replay}, {time.monotonic() - started:,.0f} seconds")
    if arguments.figures:
        arguments.figures.write_text(json.dumps([vars(point) for point in points], indent=1))
    if arguments.picture:
        draw(points, arguments.picture)


def _arguments() -> argparse.Namespace:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument(
        "--steps", type=int, nargs=2, default=(2500, 600), metavar=("FIRST", "LATER"), help="on the first span, on each"
    )
    parse.add_argument("--span-bytes", type=int, default=3_000_000, help="of text in each span (default 3,000,000)")
    parse.add_argument("--replay", type=float, default=0.3, help="share of text from older spans (default 0.3)")
    parse.add_argument("--picture", type=Path, help="draw the curves into this file (.svg, .png)")
    parse.add_argument("--figures", type=Path, help="write the figures into this file (JSON)")
    arguments = parse.parse_args()
    if not 0 < arguments.replay < 1:
        parse.error("--replay: give a share between 0 and 1.")
    if missing := [str(path) for path in CORPORA.values() if not path.is_file()]:
        parse.error(f"{missing[0]}: not there. ALBERT_TEST_DATA names the folder of the texts.")
    return arguments


# === Spans ===


def make_spans(span_bytes: int) -> list[Span]:
    """Spans of about `span_bytes` of text each, no document in two of them."""
    law, novels = (iter(read(name)) for name in CORPORA)
    spans = []
    for number, share in enumerate(SECOND, start=1):
        some = [*_up_to(law, span_bytes * (1 - share)), *_up_to(novels, span_bytes * share)]
        splits: dict[str, list[Document]] = {name: [] for name in SPLITS}
        for document in some:
            splits[split_of(document.document_id, _HELD_OUT)].append(document)
        spans.append(Span(number, splits["train"], splits["eval"]))
    return spans


def read(name: str) -> list[Document]:
    """A text's documents in an order that has nothing to do with what they say."""
    with gzip.open(CORPORA[name]) as file:
        settings = DocumentSettings(max_sentences_per_document=32)
        return sorted(read_documents(file, name, name, settings, Counter()), key=lambda d: d.document_id[::-1])


def _up_to(documents: Iterator[Document], size: float) -> list[Document]:
    """The next documents, of so many bytes or a little more."""
    some: list[Document] = []
    taken = 0
    while taken < size:
        document = next(documents, None)
        if document is None:
            sys.exit("The texts are too short for spans of so many bytes. Give fewer.")
        some.append(document)
        taken += size_of(document)
    return some


def size_of(document: Document) -> int:
    return sum(len(sentence.encode()) for sentence in document.sentences)


def replayed(spans: Sequence[Span], newest: Span, replay: float) -> list[Document]:
    """Training documents of older spans, as DocumentGen draws them."""
    older = [d for span in spans if span.number < newest.number for d in span.train]
    numbers = mixing.replay_numbers([d.document_id for d in older], newest.number)
    sums = mixing.sums_of_buckets(numbers, np.array([size_of(d) for d in older]))
    limit = mixing.replay_limit(sums, sum(map(size_of, newest.train)), replay)
    return [d for d, drawn in zip(older, mixing.is_below(numbers, limit), strict=True) if drawn]


# === Trainings ===


def simulate(folder: Path, first_steps: int, later_steps: int, replay: float, span_bytes: int) -> list[Point]:
    """Trains by all policies; gives their figures, span by span.

    Args:
      folder: for examples and checkpoints.
      first_steps: on the first span.
      later_steps: on each span after it.
      replay: see `mixing.MixingSettings`.
      span_bytes: of text in each span.
    """
    spans = make_spans(span_bytes)
    maker = Maker(folder, spans[0])
    scorer = Scorer()
    held_out = [maker.records(f"held-out-{span.number}", span.held_out).files for span in spans]

    def point(policy: str, number: int, weights: Weights) -> Point:
        newest, first = (scorer.accuracy(weights, files) for files in (held_out[number - 1], held_out[0]))
        logging.info("%s, span %d: %.1f%% of it, %.1f%% of span 1", policy, number, 100 * newest, 100 * first)
        return Point(policy, number, newest, first)

    start = maker.train("first", spans[0].train, first_steps, None)
    points = [point(POLICIES[0], span.number, start) for span in spans]
    for policy, share in zip(POLICIES[1:], (0.0, replay), strict=True):
        weights = start
        points.append(point(policy, 1, weights))
        for span in spans[1:]:
            text = span.train + (replayed(spans, span, share) if share else [])
            weights = maker.train(f"{policy}-{span.number}", text, later_steps, weights)
            points.append(point(policy, span.number, weights))
    return points


class Maker:
    """Makes examples and trains on them.

    Args:
      folder: to write to.
      first: the span that the vocabulary is trained on: it was there before the others came.
    """

    def __init__(self, folder: Path, first: Span):
        self._folder = folder
        sentences = (sentence for document in first.train for sentence in document.sentences)
        self._tokenizer: Tokenizer = train_vocabulary(sentences, CONFIG.vocab_size, TokenizerSettings())

    def records(self, name: str, documents: Sequence[Document], copies: int = 1) -> Bin:
        """A file of the examples of some documents."""
        path = self._folder / f"{name.replace(' ', '-')}.tfrecord"
        made = 0
        with tf.io.TFRecordWriter(str(path)) as writer:
            for first in range(0, len(documents), _BATCH):
                some = documents[first : first + _BATCH]
                for examples in make_examples(some, self._tokenizer, EXAMPLES, copies, True, Counter()):
                    for value in encode_examples(examples):
                        writer.write(value)
                        made += 1
        return Bin((str(path),), made)

    def train(self, name: str, documents: Sequence[Document], steps: int, start: Weights | None) -> Weights:
        """The weights after so many steps on all of the documents, in epochs; from `start`, or from random ones."""
        ordered = sorted(documents, key=lambda d: d.document_id)  # as DocumentGen's shards are: not span by span
        data = loop.TrainingData([self.records(name, ordered)], [], _PARSE, _PARSE)
        epochs = math.ceil(steps / max(1, data.train_bins[0].records // SETTINGS.batch_size))
        settings = SETTINGS.model_copy(update={"epochs": epochs, "max_steps": steps, "log_every": max(1, steps // 2)})
        settings = settings.model_copy(update={"checkpoint_every": steps})
        logging.info("=== %s: %d steps, %d examples", name, steps, data.train_bins[0].records)
        folders = loop.TrainingFolders(self._folder / f"{name}-checkpoints", self._folder / f"{name}-metrics")
        weights, _ = loop.train(CONFIG, settings, data, start, folders)
        return weights


class Scorer:
    """Scores weights, all in one network."""

    def __init__(self):
        self._network = AlbertPretrainer(CONFIG, seed=SEED)
        self._sums = tf.function(lambda batch: score_examples(self._network(batch), batch), reduce_retracing=True)

    def accuracy(self, weights: Weights, files: Sequence[str]) -> float:
        """The share of the masked pieces of some records that are found."""
        network_weights.assign(self._network, weights, "the model to score")
        sums: Counter[str] = Counter()
        for batch in evaluation_batches(files, _PARSE, _SCORED):
            sums.update({name: float(tf.reduce_sum(value)) for name, value in self._sums(batch).items()})
        return summarize(sums)["mlm_accuracy"]


# === What came of it ===


def print_table(points: Sequence[Point]) -> None:
    title = "Masked pieces found: of the span's held-out text / of span 1's"
    table = rich.table.Table(title=title, title_justify="left")
    table.add_column("span")
    table.add_column("novels in it", justify="right")
    for policy in POLICIES:
        table.add_column(policy, justify="right")
    for number, share in enumerate(SECOND, start=1):
        cells = [f"{p.newest:.1%} / {p.first:.1%}" for p in points if p.span == number]
        table.add_row(str(number), f"{share:.0%}", *cells)
    rich.console.Console(width=100).print(table)


def draw(points: Sequence[Point], path: Path) -> None:
    """Beside each other: the newest span's held-out text, and the first span's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, both = pyplot.subplots(1, 2, figsize=(8, 3.8), sharey=True, layout="constrained")
    styles = zip(POLICIES, ("grey", "tab:orange", "tab:blue"), (":", "--", "-"), strict=True)
    for policy, colour, line in styles:
        mine = [point for point in points if point.policy == policy]
        numbers = [point.span for point in mine]
        for axes, values in zip(both, ([p.newest for p in mine], [p.first for p in mine]), strict=True):
            axes.plot(numbers, values, color=colour, linestyle=line, marker="o", markersize=4, label=policy)
    for axes, title in zip(both, ("the newest span's text", "the first span's text: law"), strict=True):
        axes.set(title=title, ylim=0, xticks=range(1, len(SECOND) + 1))
        axes.set_xticklabels([f"{n}\n{share:.0%}" for n, share in enumerate(SECOND, start=1)])
        axes.set_xlabel("after span; novels in it")
        axes.yaxis.set_major_formatter("{x:.0%}")
    both[0].set_ylabel("masked pieces found, held out")
    both[0].legend(frameon=False, loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
