"""The text of older spans that is trained on beside the newest one."""

from __future__ import annotations

import json
import logging
import os
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.text import mixing
from albert_model.text.documents import Document, DocumentSettings
from albert_model.text.span_patterns import SpanPattern
from components.document_gen.reading import (
    Older,
    ReadText,
    Source,
    bytes_of,
    documents_of,
    domain_base,
    size_of,
    text_size,
    without_leftovers,
)
from components.sharding import (
    Extent,
    GroupRecords,
    Record,
    read_columns,
    read_counts,
    shards_for,
    sum_counts,
)

_log = logging.getLogger("albert.documents")
_SIZES = "sizes"  # what the records of documents' sizes have for a split
_SIZE = struct.Struct("<BI")  # of a record's value: 1 for a document to draw, 0 for another; bytes of its text
_TEXT_BYTES_PER_RECORD_BYTE = 8  # where documents have a third of a kilobyte; most have more


@dataclass(frozen=True)
class OlderSpans:
    """Older spans beside a newest one.

    Attributes:
      newest: number of the newest span.
      settings: how much is taken of which.
      window: sources of the spans in the window, all of whose training documents are taken.
      archive: sources of older spans, of whose training documents some are drawn.
      share: that the drawn ones have of the training text, each document counted once.
    """

    newest: int
    settings: mixing.MixingSettings
    window: list[Source]
    archive: list[Source]
    share: float = 0.0

    @property
    def sources(self) -> list[Source]:
        return [*self.window, *self.archive]

    def drawn_below(self, limit: int, share: float) -> OlderSpans:
        """With so many documents of the archive; see `mixing.replay_limit`."""
        archive = [source._replace(older=source.older._replace(limit=limit)) for source in self.archive if source.older]
        return replace(self, archive=archive, share=share)


def find(pattern: SpanPattern, newest: int, settings: mixing.MixingSettings, eval_fraction: float) -> OlderSpans:
    """Looks for the older spans' files.

    Raises:
      InputError: a span's number is not written as the pattern says.
    """
    files = _files_by_span(pattern)
    window, archive = mixing.divide(sorted(files), newest, settings.window)
    if len(window) < settings.window - 1:
        _log.warning("corpus.window is %d, but only %d older spans are there", settings.window, len(window))
    older = {
        span: _source(pattern, files[span], Older(span, newest, mixing.ALL, eval_fraction))
        for span in (*window, *(archive if settings.replay else ()))
    }
    return OlderSpans(newest, settings, [older[s] for s in window], [older[s] for s in archive if s in older])


def _files_by_span(pattern: SpanPattern) -> dict[int, list[str]]:
    """The files of each span's highest version."""
    files: dict[int, list[str]] = {}
    for path in tf.io.gfile.glob(pattern.literal(None)):
        if place := pattern.place(path):
            files.setdefault(place.span, []).append(path)
    return {span: without_leftovers(pattern.newest(paths)) for span, paths in files.items()}


def _source(pattern: SpanPattern, files: list[str], older: Older) -> Source:
    place = pattern.place(files[0]) if files else None
    literal = pattern.literal(older.span, place.version if place and pattern.has_version else None)
    base = domain_base(literal)
    if other := [path for path in files if not path.startswith(os.path.join(base, ""))]:
        raise InputError(
            f"{other[0]}: is of span {older.span}, whose files the pattern has at {literal}. Rename the folder, or "
            "write {SPAN:2} into corpus.pattern for numbers such as 02."
        )
    return Source(files, base, older)


def draw(
    make_pipeline: Callable[[], beam.Pipeline],
    folder: str,
    newest: Source,
    older: OlderSpans,
    settings: DocumentSettings,
    eval_fraction: float,
    range_bytes: int,
) -> OlderSpans:
    """The older spans with that limit of replay numbers at which the archive has its share of the training text.

    The sizes of all documents are measured, each once, however many spans hold it.

    Args:
      make_pipeline: gives a Beam pipeline.
      folder: for temporary files; it is removed.
      newest: the newest span.
      older: the spans older than that.
      settings: what a sentence and a document is.
      eval_fraction: share of documents that is held out.
      range_bytes: see `ReadText`.
    """
    if not older.archive:
        if older.settings.replay:
            _log.warning("there is no text older than the window, so none is replayed")
        return older
    trained = newest._replace(older=Older(older.newest, older.newest, mixing.ALL, eval_fraction))
    recent = [trained, *older.window]
    tf.io.gfile.makedirs(folder)
    path = os.path.join(folder, "sizes.json")
    shards = shards_for(text_size([*recent, *older.archive]) // _TEXT_BYTES_PER_RECORD_BYTE)
    with make_pipeline() as pipeline:
        records = [
            (pipeline | f"{name}Text" >> ReadText(sources, settings, range_bytes)).documents
            | f"Size{name}Documents" >> beam.Map(_sizes, is_older=name == "Older")
            for name, sources in (("Recent", recent), ("Older", older.archive))
        ]
        _ = (
            tuple(records)
            | "GroupById" >> GroupRecords(folder, {_SIZES: shards})
            | "SumSizes" >> beam.Map(_sums, newest=older.newest)
            | "AddSums" >> beam.CombineGlobally(sum_counts)
            | "WriteSums" >> beam.Map(_write, path=path)
        )
    counts = read_counts(path)
    tf.io.gfile.rmtree(folder)
    archive = np.array([counts[str(bucket)] for bucket in range(mixing.BUCKETS)])
    limit = mixing.replay_limit(archive, counts["recent"], older.settings.replay)
    share = older.settings.replay if limit < mixing.ALL else _share(int(archive.sum()), counts["recent"])
    _say(older, limit, share)
    return older.drawn_below(limit, share)


def _share(archive: int, recent: int) -> float:
    return archive / (archive + recent) if archive else 0.0


def _sizes(batch: list[Document], is_older: bool) -> list[Record]:
    return [
        Record(_SIZES, bytes.fromhex(document.document_id), _SIZE.pack(is_older, size_of(document)))
        for document in batch
    ]


def _sums(shard_extents: tuple[tuple[str, int], list[Extent]], newest: int) -> Counter[str]:
    """((split, shard), extents) → bytes of the documents, each once: of the recent ones, and by bucket to draw from."""
    keys, values = read_columns(shard_extents[1], _SIZE.size)
    order = np.lexsort((values[:, 0], *np.ascontiguousarray(keys).view(">u8").T))  # of equal ids a recent one first
    keys, values = keys[order], values[order]
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    keys, values = keys[first], values[first]
    sizes = np.ascontiguousarray(values[:, 1:]).view("<u4").ravel()
    is_older = values[:, 0] == 1
    numbers = mixing.replay_numbers([key.tobytes().hex() for key in keys[is_older]], newest)
    sums = mixing.sums_of_buckets(numbers, sizes[is_older])
    return Counter({str(b): int(n) for b, n in enumerate(sums) if n}) + Counter(recent=int(sizes[~is_older].sum()))


def _write(counts: Counter[str], path: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(counts, file)


def _say(older: OlderSpans, limit: int, share: float) -> None:
    if limit < mixing.ALL:
        drawn = 100 * limit / mixing.ALL
        _log.info("replaying %.1f%% of the text older than the window, %.0f%% of all", drawn, 100 * share)
    elif share < older.settings.replay:
        _log.warning(
            "corpus.replay is %g, but the text older than the window is %.1f%% of all: the whole of it is replayed",
            *(older.settings.replay, 100 * share),
        )


def describe(spans: OlderSpans, newest: Source, counts: Counter[str]) -> dict[str, Any]:
    """What the documents' manifest says of the spans.

    Of each span: files, and the documents and bytes of text that were taken of it, before duplicates were dropped.
    """
    rows = [
        _row(part, older.span, source, counts[documents_of(older.span)], counts[bytes_of(older.span)])
        for part, sources in (("replay", spans.archive), ("window", spans.window))
        for source in sources
        if (older := source.older)
    ]
    documents, size = (sum(row[key] for row in rows) for key in ("documents", "text_bytes"))
    rows.append(
        _row("newest", spans.newest, newest, counts["taken_documents"] - documents, counts["text_bytes"] - size)
    )
    replayed = sum(row["documents"] for row in rows if row["part"] == "replay")
    return {"spans": rows, "replayed_documents": replayed, "replayed_share": spans.share}


def _row(part: str, span: int, source: Source, documents: int, text_bytes: int) -> dict[str, Any]:
    return {
        "span": span,
        "part": part,
        "files": len(source.files),
        "documents": documents,
        "text_bytes": text_bytes,
    }
