"""Text files to files of pre-training examples on Beam: for text that is much, or not on this machine.

The same records in the same order as `pipeline.example_files` gives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam
import tensorflow as tf
from apache_beam.utils import shared
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

from albert_model.text.documents import DocumentSettings
from albert_model.text.examples import decode_documents, make_examples
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer
from components.document_gen import executor as document_gen
from components.document_gen.reading import Source
from components.sharding import COUNTS, Record, WriteCounts, WriteShards, read_counts, shards_for, split_files
from pipeline.example_files import DOMAIN, MAKING, Job, Tell, count

_SPLIT = "train"
_BATCH = 32  # documents made into examples at once
_BYTES_PER_TEXT_BYTE = 2  # of records, one copy
_BLOCK_BYTES = 1 << 24


def write_examples(job: Job, paths: Sequence[str], options: Sequence[str], tell: Tell) -> Counter[str]:
    """Makes the examples of a job and writes them.

    Args:
      job: its inputs are on file systems that TensorFlow knows.
      paths: files to write, in place of the job's outputs. What waits on disk waits beside the first; all workers
        reach it.
      options: Beam's, each with its dashes.
      tell: see `Tell`; of Beam nothing is known but that it is at work.

    Returns:
      The counts of `pipeline.example_files.write_examples`.
    """
    folder = os.path.join(os.path.dirname(paths[0]), f"waiting-{uuid.uuid4().hex}")
    documents, examples = os.path.join(folder, "documents"), os.path.join(folder, "examples")
    try:
        tell("reading documents", 0, 0)
        read = _DocumentGen(options).write(documents, job)
        tell("reading documents", 1, 1)
        tell(MAKING, 0, 0)
        size = read.pop("text_bytes") * job.examples.dupe_factor * _BYTES_PER_TEXT_BYTE
        made = _write_examples(job, split_files(documents, _SPLIT), examples, paths, shards_for(size), options)
        tell(MAKING, 1, 1)
    finally:
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)
    return read + made


@contextlib.contextmanager
def written_aside(finals: Sequence[str]) -> Iterator[list[str]]:
    """As `pipeline.example_files.written_aside`, on any file system that TensorFlow knows."""
    folder = os.path.join(os.path.dirname(finals[0]), f".unfinished-{uuid.uuid4().hex}")
    tf.io.gfile.makedirs(folder)
    try:
        aside = [os.path.join(folder, f"{number:05d}") for number in range(len(finals))]
        yield aside
        for path, final in zip(aside, finals, strict=True):
            tf.io.gfile.makedirs(os.path.dirname(final))
            _move(path, final)
    finally:
        tf.io.gfile.rmtree(folder)


def _move(path: str, final: str) -> None:
    try:
        tf.io.gfile.rename(path, final, overwrite=True)
    except tf.errors.OpError:  # from one file system to another
        tf.io.gfile.copy(path, final, overwrite=True)


class _DocumentGen(document_gen.Executor):
    """The pipeline's reader of documents, without a pipeline around it."""

    def __init__(self, options: Sequence[str]):
        context = BaseBeamExecutor.Context(make_beam_pipeline_fn=lambda: beam.Pipeline(argv=list(options)))
        super().__init__(context)

    def write(self, uri: str, job: Job) -> Counter[str]:
        """Writes every document of a job once, into the split `train`; gives the counts of what was read."""
        text = Source(job.inputs, os.path.dirname(job.inputs[0]))
        counts = self.write_documents(uri, [text], 0.0, job.documents)
        names = ("text_bytes", "cut_documents", "invalid_utf8_lines", "replaced_utf8_lines")
        read = {"documents": counts[_SPLIT], "duplicate_documents": counts["duplicates"]}
        return Counter(read | {name: counts[name] for name in names})


def _write_examples(
    job: Job, files: list[str], uri: str, paths: Sequence[str], shards: int, options: Sequence[str]
) -> Counter[str]:
    """Writes about as many shards as said, since a worker has one in memory, and joins those of each path."""
    places = Places(len(paths), -(-shards // len(paths)))
    write = WriteShards(uri, {_SPLIT: places.outputs * places.parts})
    counts_path = os.path.join(uri, "counts.json")
    with beam.Pipeline(argv=list(options)) as pipeline:
        made = (
            pipeline
            | "ListDocuments" >> beam.Create(files)
            | "SpreadDocuments" >> beam.Reshuffle()
            | "ReadDocuments" >> beam.FlatMap(_read_records)
            | "BatchDocuments" >> beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
            | "MakeExamples" >> beam.ParDo(_MakeExamples(job, places)).with_outputs(COUNTS, main="records")
        )
        written = (made.records,) | write
        _ = (made[COUNTS], written) | WriteCounts(counts_path, "albert.examples")
        _ = (
            written
            | "AwaitShards" >> beam.combiners.Count.Globally()
            | "ListOutputs" >> beam.FlatMap(lambda _: list(enumerate(paths)))
            | "SpreadOutputs" >> beam.Reshuffle()
            | "JoinShards" >> beam.Map(_join_shards, uri=uri, places=places)
        )
    counts = read_counts(counts_path)
    assert counts.pop(_SPLIT) == counts["examples"]
    return counts


class Places(NamedTuple):
    """Shards of which each output is joined, one after another.

    `WriteShards` makes a record's place of its key. So records get other keys, by which each shard has a range of
    the keys of one output, in their order.

    Attributes:
      outputs: number of files.
      parts: shards of each.
    """

    outputs: int
    parts: int

    def key(self, key: bytes) -> bytes:
        """The key that puts a record into its shard, 16 bytes; as good as surely another one for each key."""
        number, shards = int.from_bytes(key[:8], "big"), self.outputs * self.parts
        shard = number % self.outputs + (number * self.parts >> 64) * self.outputs
        placed = number // (2 * shards) * shards + shard  # half of the numbers, so that none is too large
        return placed.to_bytes(8, "big") + key[8:]

    def shards_of(self, output: int) -> range:
        """Those of an output, in order."""
        return range(output, self.outputs * self.parts, self.outputs)


def _join_shards(output_path: tuple[int, str], uri: str, places: Places) -> None:
    output, path = output_path
    shards = split_files(uri, _SPLIT)
    with tf.io.gfile.GFile(path, "wb") as file:
        for shard in places.shards_of(output):
            with tf.io.gfile.GFile(shards[shard], "rb") as part:
                while data := part.read(_BLOCK_BYTES):
                    file.write(data)


def _read_records(path: str) -> Iterator[bytes]:
    """Read with TensorFlow, so that the whole command knows the same file systems."""
    return tf.data.TFRecordDataset(path).as_numpy_iterator()


class _MakeExamples(beam.DoFn):
    """Batches of serialised documents → lists of records; counts on the side. One tokenizer a process."""

    def __init__(self, job: Job, places: Places):
        self._places = places
        self._vocabulary = job.tokenizer.vocabulary
        self._layout = job.layout
        self._settings = job.documents.model_dump_json(), job.examples.model_dump_json()
        self._shared = shared.Shared()

    def setup(self):
        documents, examples = self._settings
        self._job = Job(
            inputs=(),
            outputs=(),
            tokenizer=self._shared.acquire(lambda: Tokenizer.of(self._vocabulary, self._vocabulary.file_name)),
            documents=DocumentSettings.model_validate_json(documents),
            examples=ExampleSettings.model_validate_json(examples),
            layout=self._layout,
        )

    def process(self, batch: list[bytes]):
        counts: Counter[str] = Counter()
        job = self._job
        documents = [dataclasses.replace(document, domain=DOMAIN) for document in decode_documents(batch)]
        for examples in make_examples(documents, job.tokenizer, job.examples, job.examples.dupe_factor, True, counts):
            count(examples, counts)
            keys = map(self._places.key, examples.keys)
            yield [Record(_SPLIT, key, value) for key, value in zip(keys, job.encode(examples), strict=True)]
        yield beam.pvalue.TaggedOutput(COUNTS, counts)
