"""Text files to files of pre-training examples, in one process and without Beam.

Memory does not grow with the text: documents are read some at a time, and records wait on disk until they are put
into the order of their keys. The records and their order are those that Beam writes to as many files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from albert_model.text import lines
from albert_model.text.documents import Document, DocumentSettings, read_documents
from albert_model.text.examples import Examples, encode_examples, make_examples
from albert_model.text.padded import encode_padded
from albert_model.text.settings import ExampleSettings
from albert_model.text.tfrecords import write_tfrecords
from albert_model.text.tokenizer import Tokenizer

DOMAIN = "default"
Layout = Literal["padded", "compact"]
# Told of a step: its name, how much is done, and of how much.
Tell = Callable[[str, int, int], None]

MAKING = "making examples"
_DOCUMENTS_AT_ONCE = 32
_BUCKETS = 64  # into which records are sorted before each is ordered by itself in memory
_GATHERED_BYTES = 32 * 1024 * 1024
_HEADER = struct.Struct("<16sI")  # of a record on disk: key, length of the value


@dataclass(frozen=True)
class Job:
    """What is to be made of what.

    Attributes:
      inputs: text files, plain or gzipped; local, or of any file system that Beam knows where Beam runs.
      outputs: TFRecord files. An example's key says to which it goes.
      tokenizer: encodes the text.
      documents: how text becomes documents.
      examples: how documents become examples.
      layout: padded as in google-research/albert, or compact as in the pipeline.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tokenizer: Tokenizer
    documents: DocumentSettings
    examples: ExampleSettings
    layout: Layout

    def encode(self, examples: Examples) -> list[bytes]:
        """Serialised records."""
        if self.layout == "compact":
            return encode_examples(examples)
        return encode_padded(examples, self.tokenizer, self.examples)


def text_bytes(inputs: Sequence[str]) -> int:
    """Bytes of text in local files; of gzipped ones about."""
    return sum(lines.text_bytes(path, Path(path).stat().st_size) for path in inputs)


def write_examples(job: Job, paths: Sequence[Path], tell: Tell) -> Counter[str]:
    """Makes the examples of a job and writes them.

    Args:
      job: its inputs are local.
      paths: files to write, in place of the job's outputs. What waits on disk waits beside the first.
      tell: see `Tell`.

    Returns:
      Counts: `documents`, `duplicate_documents`, `examples`, `tokens`, `predictions`, `swapped`, `ordered`, and what
      reading and cutting leave out or break.

    Raises:
      InputError: a file is no text; names it.
    """
    counts: Counter[str] = Counter()
    documents = _without_duplicates(_read(job, counts, tell), counts)
    with tempfile.TemporaryFile(dir=paths[0].parent) as file:
        waiting = _Waiting(file, len(paths))
        while batch := list(itertools.islice(documents, _DOCUMENTS_AT_ONCE)):
            for examples in make_examples(batch, job.tokenizer, job.examples, job.examples.dupe_factor, True, counts):
                count(examples, counts)
                waiting.add(examples.keys, job.encode(examples))
        written = itertools.count(1)
        for output, path in enumerate(paths):
            write_tfrecords(path, _told(waiting.records(output), written, counts["examples"], tell))
    return counts


def _told(records: Iterator[bytes], written: Iterator[int], total: int, tell: Tell) -> Iterator[bytes]:
    for record in records:
        yield record
        tell("writing", next(written), total)


def count(examples: Examples, counts: Counter[str]) -> None:
    """Adds to the counts what these examples hold."""
    assert examples.masked_lm_ids is not None
    counts["examples"] += len(examples)
    counts["tokens"] += len(examples.input_ids.values)
    counts["predictions"] += len(examples.masked_lm_ids.values)
    counts["swapped"] += int(examples.sentence_order_label.sum())
    counts["ordered"] += int(examples.sentence_order_weight.sum())


def metadata(examples: int, settings: ExampleSettings) -> str:
    """The JSON that ALBERT-TF2.0's run_pretraining.py is given with --meta_data_file_path."""
    values = {
        "task_type": "albert_pretraining",
        "train_data_size": examples,
        "max_seq_length": settings.max_seq_length,
        "max_predictions_per_seq": settings.max_predictions_per_seq,
    }
    return json.dumps(values, indent=4) + "\n"


@contextlib.contextmanager
def written_aside(finals: Sequence[Path]) -> Iterator[list[Path]]:
    """Paths to write to in place of the final ones, which they replace once everything is written.

    Folders that are missing are made. Where something fails nothing is left but those.
    """
    with contextlib.ExitStack() as stack:
        folders = {}
        for folder in dict.fromkeys(final.parent for final in finals):
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder)
            folders[folder] = Path(stack.enter_context(unfinished))
        aside = [folders[final.parent] / final.name for final in finals]
        try:
            yield aside
        except OSError as error:
            if error.filename is None:  # a full disk, where it does not say which
                raise OSError(error.errno, error.strerror, str(finals[0].parent)) from error
            raise
        for path, final in zip(aside, finals, strict=True):
            os.replace(path, final)


# === Reading ===


def _read(job: Job, counts: Counter[str], tell: Tell) -> Iterator[Document]:
    total = sum(Path(path).stat().st_size for path in job.inputs)
    before = 0
    for path in job.inputs:
        with Path(path).open("rb") as file, lines.decompressed(path, file) as text:
            for document in read_documents(text, path, DOMAIN, job.documents, counts):
                tell(MAKING, before + file.tell(), total)
                yield document
            before += file.tell()
    tell(MAKING, total, total)


def _without_duplicates(documents: Iterator[Document], counts: Counter[str]) -> Iterator[Document]:
    """Documents whose text was not there before; memory holds 16 bytes of each."""
    seen: set[bytes] = set()
    for document in documents:
        identity = bytes.fromhex(document.document_id)
        counts["cut_documents"] += document.continues
        if identity in seen:
            counts["duplicate_documents"] += 1
            continue
        seen.add(identity)
        counts["documents"] += 1
        yield document


# === Ordering ===


class _Waiting:
    """Records on disk, until all are there and can be given in the order of their keys.

    They lie in buckets, each of a range of keys of one output.

    Args:
      file: empty, to be written and read.
      outputs: how many files the records go to.
    """

    def __init__(self, file: BinaryIO, outputs: int):
        self._file = file
        self._outputs, self._buckets = outputs, max(1, _BUCKETS // outputs)
        places = range(outputs * self._buckets)
        self._gathered = [bytearray() for _ in places]
        self._gathered_bytes = 0
        self._extents: list[list[tuple[int, int]]] = [[] for _ in places]

    def add(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        for key, value in zip(keys, values, strict=True):
            number = int.from_bytes(key[:8], "big")
            bucket = number % self._outputs * self._buckets + (number * self._buckets >> 64)
            self._gathered[bucket] += _HEADER.pack(key, len(value)) + value
            self._gathered_bytes += _HEADER.size + len(value)
        if self._gathered_bytes >= _GATHERED_BYTES:
            self._write()

    def _write(self) -> None:
        for bucket, gathered in enumerate(self._gathered):
            if gathered:
                self._extents[bucket].append((self._file.tell(), len(gathered)))
                self._file.write(gathered)
                gathered.clear()
        self._gathered_bytes = 0

    def records(self, output: int) -> Iterator[bytes]:
        """Those of an output, by key."""
        self._write()
        for bucket in range(output * self._buckets, (output + 1) * self._buckets):
            for _, value in sorted(self._read(bucket)):
                yield value

    def _read(self, bucket: int) -> Iterator[tuple[bytes, bytes]]:
        for offset, length in self._extents[bucket]:
            self._file.seek(offset)
            data = self._file.read(length)
            position = 0
            while position < length:
                key, size = _HEADER.unpack_from(data, position)
                position += _HEADER.size + size
                yield key, data[position - size : position]
