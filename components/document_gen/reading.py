"""Text files → documents, on Beam."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import apache_beam as beam
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.text import mixing
from albert_model.text.documents import Document, DocumentSettings, read_documents, split_of
from albert_model.text.lines import decompressed, ranges_of, text_bytes
from components.sharding import COUNTS, NameFiles

_log = logging.getLogger("albert.documents")
_BATCH = 64  # documents encoded at once, at most
_BATCH_BYTES = 1 << 22  # of text, from which fewer are
_LEFTOVERS = ("~", ".bak", ".orig", ".part", ".swp", ".tmp")


class Older(NamedTuple):
    """What is taken of an older span: training documents alone, and of them those that are drawn.

    Attributes:
      span: its number.
      beside: the newest span.
      limit: of replay numbers; see `mixing.replay_limit`.
      eval_fraction: share of documents that is held out.
    """

    span: int
    beside: int
    limit: int
    eval_fraction: float


class Source(NamedTuple):
    """Text files of one span.

    Attributes:
      files: paths, plain or gzipped.
      base: the folders between it and a file are the domain.
      older: None for the newest span, of which every document is taken.
    """

    files: Sequence[str]
    base: str
    older: Older | None = None


class ReadText(beam.PTransform):
    """Text files → `documents`, batches of them; and COUNTS, by path.

    Args:
      sources: what to read.
      settings: what a sentence and a document is.
      range_bytes: of a plain file that one worker reads; other workers read the rest.
    """

    def __init__(self, sources: Sequence[Source], settings: DocumentSettings, range_bytes: int):
        super().__init__()
        self._sources, self._settings, self._range_bytes = sources, settings, range_bytes

    def expand(self, pipeline):
        files = [(path, source.base, source.older) for source in self._sources for path in source.files]
        return (
            pipeline
            | "ListFiles" >> NameFiles(files)
            | "DivideFiles" >> beam.FlatMap(_ranges_of_file, range_bytes=self._range_bytes)
            | "SpreadRanges" >> beam.Reshuffle()
            | "ReadDocuments" >> beam.ParDo(_ReadDocuments(self._settings)).with_outputs(COUNTS, main="documents")
        )


class _Range(NamedTuple):
    path: str
    start: int
    end: int | None
    base: str
    older: Older | None


class _ReadDocuments(beam.DoFn):
    """Ranges of files → batches of documents; counts on the side, by path."""

    def __init__(self, settings: DocumentSettings):
        self._settings = settings.model_dump_json()

    def process(self, part: _Range):
        path, start, end, base, older = part
        settings = DocumentSettings.model_validate_json(self._settings)
        counts: Counter[str] = Counter()
        with open_text(path) as file:
            documents = read_documents(file, path, domain_of(path, base), settings, counts, start, end)
            for batch in _batched(documents):
                counts["cut_documents"] += sum(d.continues for d in batch)
                counts["whole_documents"] += sum(not d.continues for d in batch)
                taken = batch if older is None else _taken(batch, Older(*older), counts)
                counts["taken_documents"] += len(taken)
                counts["sentences"] += sum(len(d.sentences) for d in taken)
                counts["text_bytes"] += sum(map(size_of, taken))
                if taken:
                    yield taken
        yield beam.pvalue.TaggedOutput(COUNTS, (path, counts))


def _taken(batch: list[Document], older: Older, counts: Counter[str]) -> list[Document]:
    """Those documents of an older span that are trained on; the others are counted by reason."""
    training = [d for d in batch if split_of(d.document_id, older.eval_fraction) == "train"]
    numbers = mixing.replay_numbers([d.document_id for d in training], older.beside)
    drawn = mixing.is_below(numbers, older.limit)
    taken = [document for document, is_drawn in zip(training, drawn, strict=True) if is_drawn]
    counts["older_held_out"] += len(batch) - len(training)
    counts["not_replayed"] += len(training) - len(taken)
    counts[documents_of(older.span)] += len(taken)
    counts[bytes_of(older.span)] += sum(map(size_of, taken))
    return taken


def documents_of(span: int) -> str:
    """What counts the documents that were taken of an older span."""
    return f"span_{span}_documents"


def bytes_of(span: int) -> str:
    """What counts the bytes of their text."""
    return f"span_{span}_bytes"


def find_text(pattern: str) -> list[str]:
    """The files that a pattern matches, in order; leftovers of editors and copies are passed over with a warning."""
    return without_leftovers(path for path in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(path))


def without_leftovers(paths: Iterable[str]) -> list[str]:
    found = sorted(paths)
    if leftovers := [path for path in found if path.endswith(_LEFTOVERS)]:
        _log.warning("%s passed over, as it looks like a leftover of an editor or a copy", ", ".join(leftovers))
    return [path for path in found if not path.endswith(_LEFTOVERS)]


def _ranges_of_file(file: tuple[str, str, Older | None], range_bytes: int) -> list[_Range]:
    """Ranges of a plain file. A gzipped one can be read from its start only."""
    path, base, older = file
    size = 0 if path.endswith(".gz") else _length(path)
    return [_Range(path, *each, base, older) for each in ranges_of(size, range_bytes)]


def _length(path: str) -> int:
    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.OpError as error:
        raise _unreadable(path, error) from error


def _batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += size_of(document)
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def size_of(document: Document) -> int:
    """Bytes of its text."""
    return sum(len(sentence.encode()) for sentence in document.sentences)


def text_size(sources: Iterable[Source]) -> int:
    """Bytes of text in all files; of gzipped ones about.

    Raises:
      InputError: a file is gone.
    """
    return sum(text_bytes(path, _length(path)) for source in sources for path in source.files)


@contextlib.contextmanager
def open_text(path: str) -> Iterator[BinaryIO]:
    """Opens a plain or gzipped file to read its text, as bytes.

    Raises:
      InputError: the file cannot be read, or is a damaged gzip file.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file, decompressed(path, file) as text:
            yield text
    except tf.errors.OpError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: tf.errors.OpError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.message}).")


def domain_base(pattern: str) -> str:
    """The part of a path pattern before its first wildcard; folders below it are domains."""
    return os.path.dirname(pattern.split("*")[0].split("?")[0].split("[")[0])


def domain_of(path: str, base: str) -> str:
    """The folder between the span's folder and the file.

    >>> domain_of("/data/span-1/law/acts.txt", "/data/span-1"), domain_of("/data/span-1/acts.txt", "/data/span-1")
    ('law', 'default')
    """
    folder = os.path.relpath(os.path.dirname(path), base)
    return "default" if folder == "." else folder
