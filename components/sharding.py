"""Writes records to shards whose bytes depend on the records alone.

Only file names, offsets and counts pass through Beam's shuffle. Workers gather records and write them, shard by
shard, to temporary files ("runs", as in external sorting); one task a shard then reads its extents of all runs,
orders the records by key and writes the shard. A bundle that is tried again leaves runs that nothing refers to,
never records twice.

There are as many extents as runs times shards, and the larger the text, the more there are of both. So many shards are
reached in two steps, by groups of shards first: extents stay large enough for object stores, and their number grows
with the text, not with its square.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import struct
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.metrics import Metrics
from tfx import types
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from albert_model.text.documents import SPLITS

_KEY_SUM = "key_sum"
COUNTS = "counts"  # the tag of the output of counts, each a dict of numbers to be summed
_RUN_BYTES = 32 * 1024 * 1024  # of records that a worker gathers before it writes them
_SHARD_BYTES = 64 * 1024 * 1024
_SMALLEST_SHARD_BYTES = 4 * 1024 * 1024
_MOST_SHARDS = 1 << 14  # of a split; of more than a terabyte they are larger
_FAN_OUT = 256  # shards that runs are divided into at once; more are reached by groups
_GROUPS_PER_RUN = 32  # into which one of _RUN_BYTES is divided; for more groups runs are larger
_PIECE_BYTES = 1024 * 1024 * 1024  # of a group, that one task divides into shards
_REQUESTS = 32  # to an object store at once
KEY_BYTES = 16
_HEADER = struct.Struct("<16sI")  # of a record in a run: key, length of the value
_RUN = re.compile("[0-9a-f]{32}")  # its file's name


Join = Callable[[Iterable[bytes]], list[bytes]]


class Record(NamedTuple):
    """What is written.

    Attributes:
      split: the split's name; or `split/name` for shards that are called `name`.
      key: 16 bytes; chooses the shard and the place in it. Of records with equal keys one is kept.
      value: the serialised tf.train.Example. `REMOVAL` in its place removes the record of that key,
        which there must be.
    """

    split: str
    key: bytes
    value: bytes


REMOVAL = b""


class Extent(NamedTuple):
    """Where the records of one shard lie in a run; in bytes."""

    path: str
    offset: int
    length: int


def shards_for(num_bytes: int, workers: int = 1) -> int:
    """Shards for an estimated size; one is held in memory while it is written.

    Args:
      num_bytes: of all records.
      workers: that are to share the reading of shards, as long as there is something for each to do.

    >>> shards_for(10**9), shards_for(10**9, workers=64), shards_for(10**7, workers=64)
    (15, 64, 3)
    """
    most = max(-(-num_bytes // _SHARD_BYTES), min(workers, -(-num_bytes // _SMALLEST_SHARD_BYTES)))
    return max(1, min(most, _MOST_SHARDS))


def mark_examples(examples: types.Artifact) -> None:
    """Says what an Examples artifact written by `WriteShards` holds."""
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)


def split_files(uri: str, split: str) -> list[str]:
    """The shards of a split of an Examples artifact."""
    return sorted(tf.io.gfile.glob(os.path.join(uri, f"Split-{split}", "*")))


class NameFiles(beam.PTransform):
    """→ the files, spread over the workers. Compressed in the job's graph, for which Dataflow allows 10 MB.

    Args:
      files: any number of names, or rows of what JSON can hold.
    """

    def __init__(self, files: Sequence[Any]):
        super().__init__()
        self._names = zlib.compress(json.dumps(list(files)).encode())

    def expand(self, pipeline):
        return (
            pipeline
            | "Names" >> beam.Create([self._names])
            | "DivideNames" >> beam.FlatMap(_decompressed)
            | "SpreadFiles" >> beam.Reshuffle()
        )


def _decompressed(names: bytes) -> list[Any]:
    return json.loads(zlib.decompress(names))


class ReadInBatches(beam.PTransform):
    """TFRecord files → lists of their records, spread over the workers.

    Args:
      files: to read.
      batch: records in a list.
    """

    def __init__(self, files: Sequence[str], batch: int):
        super().__init__()
        self._files, self._batch = list(files), batch

    def expand(self, pipeline):
        return (
            pipeline
            | "ListFiles" >> NameFiles(self._files)
            | "ReadRecords" >> beam.io.ReadAllFromTFRecord()
            | "BatchRecords" >> beam.BatchElements(min_batch_size=self._batch, max_batch_size=self._batch)
        )


class GroupRecords(beam.PTransform):
    """PCollections of lists of `Record` → ((split, shard), extents), a row for each shard, be it empty.

    Args:
      folder: of the runs; to be removed after the pipeline has run.
      shards: number of shards of each split.
    """

    def __init__(self, folder: str, shards: Mapping[str, int]):
        super().__init__()
        self._folder, self._shards = folder, dict(shards)

    def expand(self, collections):
        groups = {split: groups_for(shards) for split, shards in self._shards.items()}
        run_bytes = run_bytes_for(self._shards, groups)
        # Each collection is written on its own: a Flatten of records would hold them all in a local runner's memory.
        extents = [
            batches | f"WriteRuns{i}" >> beam.ParDo(_WriteRuns(self._folder, self._shards, groups, run_bytes))
            for i, batches in enumerate(collections)
        ]
        if groups != self._shards:
            write = _WriteRuns(self._folder, self._shards, self._shards, run_bytes)
            extents = [
                extents
                | "FlattenGroups" >> beam.Flatten()
                | "GroupByGroup" >> beam.GroupByKey()
                | "DivideGroups" >> beam.FlatMapTuple(_pieces)
                | "SpreadPieces" >> beam.Reshuffle()
                | "ReadPieces" >> beam.FlatMapTuple(_batches)
                | "WriteRunsOfGroups" >> beam.ParDo(write)
            ]
        every_shard = (
            collections[0].pipeline
            | "NameSplits" >> beam.Create(self._shards.items())
            | "NameShards" >> beam.FlatMapTuple(_names_of_shards)
        )
        return (
            (*extents, every_shard)
            | beam.Flatten()
            | "GroupByShard" >> beam.GroupByKey()
            | "SkipNames" >> beam.MapTuple(_without_names)
        )


def groups_for(shards: int) -> int:
    """Shards are dealt to as many groups as there are shards in each; to as many as there are where these are few."""
    return shards if shards <= _FAN_OUT else math.isqrt(shards - 1) + 1


def run_bytes_for(shards: Mapping[str, int], groups: Mapping[str, int]) -> int:
    """Runs of more groups are larger, so that an extent stays at a megabyte."""
    return _RUN_BYTES if groups == shards else _RUN_BYTES * -(-max(groups.values()) // _GROUPS_PER_RUN)


def _names_of_shards(split: str, shards: int) -> Iterator[tuple[tuple[str, int], None]]:
    return (((split, shard), None) for shard in range(shards))


def _pieces(place: tuple[str, int], extents: Iterable[Extent]) -> Iterator[tuple[str, list[Extent]]]:
    """Extents of a group → split and extents, of at most _PIECE_BYTES or one."""
    piece: list[Extent] = []
    size = 0
    for extent in extents:
        if piece and size + extent.length > _PIECE_BYTES:
            yield place[0], piece
            piece, size = [], 0
        piece.append(extent)
        size += extent.length
    yield place[0], piece


def _batches(split: str, extents: list[Extent]) -> Iterator[list[Record]]:
    """One for each extent."""
    return ([Record(split, key, value) for key, value in _read(extent)] for extent in extents)


def _without_names(place: tuple[str, int], extents: Iterable[Extent | None]) -> tuple[tuple[str, int], list[Extent]]:
    return place, [extent for extent in extents if extent is not None]


class WriteShards(beam.PTransform):
    """PCollections of lists of `Record` → shards below `uri`; gives counts.

    The counts are those of the records of each split, `duplicates`, `removed` (keys), and `key_sum`; `SPLIT_written`
    (or `SPLIT/NAME_written`) is how many records stand in the files.

    Args:
      uri: of the Examples artifact.
      shards: number of shards of each split; all are written, empty or not.
      join: by split, what makes one record of several: from all values of a shard to those that are written.
    """

    def __init__(self, uri: str, shards: Mapping[str, int], join: Mapping[str, Join] | None = None):
        super().__init__()
        self._uri, self._shards, self._join = uri, dict(shards), dict(join or {})
        self.temporary_folder = os.path.join(uri, ".temporary")

    def expand(self, collections):
        return (
            collections
            | GroupRecords(self.temporary_folder, self._shards)
            | "WriteShard" >> beam.Map(_write_shard, uri=self._uri, shards=self._shards, join=self._join)
        )

    def remove_temporary_files(self) -> None:
        """To be called after the pipeline has run."""
        if not tf.io.gfile.exists(self.temporary_folder):
            return
        names = tf.io.gfile.listdir(self.temporary_folder)
        runs = [os.path.join(self.temporary_folder, name) for name in names if _RUN.fullmatch(name)]
        with ThreadPoolExecutor(_REQUESTS) as pool:  # one after another would take hours in an object store
            list(pool.map(tf.io.gfile.remove, runs))
        if tf.io.gfile.exists(self.temporary_folder):  # an object store's folder ends with its files
            tf.io.gfile.rmtree(self.temporary_folder)


class _WriteRuns(beam.DoFn):
    """Batches of records → (split, part), extent of a run; a part is a shard or a group of shards."""

    def __init__(
        self, folder: str, shards: dict[str, int], parts: dict[str, int] | None = None, run_bytes: int | None = None
    ):
        self._folder, self._shards = folder, shards
        self._parts, self._run_bytes = parts or shards, run_bytes or _RUN_BYTES

    def start_bundle(self):
        self._gathered: dict[tuple[str, int], bytearray] = {}
        self._gathered_bytes = 0
        self._extents = []

    def process(self, batch: Iterable[Record]):
        for split, key, value in batch:
            shard = int.from_bytes(key[:8], "big") % self._shards[split]
            extent = self._gathered.setdefault((split, shard % self._parts[split]), bytearray())
            extent += _HEADER.pack(key, len(value)) + value
            self._gathered_bytes += _HEADER.size + len(value)
        if self._gathered_bytes >= self._run_bytes:
            self._write_run()

    def _write_run(self) -> None:
        tf.io.gfile.makedirs(self._folder)
        path = os.path.join(self._folder, uuid.uuid4().hex)
        offset = 0
        with tf.io.gfile.GFile(path, "wb") as file:
            for place, records in self._gathered.items():
                file.write(bytes(records))
                self._extents.append((place, Extent(path, offset, len(records))))
                offset += len(records)
        self._gathered, self._gathered_bytes = {}, 0

    def finish_bundle(self):
        if self._gathered:
            self._write_run()
        for extent in self._extents:
            yield beam.transforms.window.GlobalWindows.windowed_value(extent)


def _write_shard(
    shard_extents: tuple[tuple[str, int], list[Extent]], uri: str, shards: dict[str, int], join: dict[str, Join]
) -> Counter[str]:
    """((split, shard), extents) → the shard; gives what it counted."""
    (place, shard), extents = shard_extents
    split, _, name = place.partition("/")
    found = 0
    values: dict[bytes, bytes] = {}  # the least of each key, which a removal is: copies take no memory
    for key, value in itertools.chain.from_iterable(map(_read, extents)):
        found += value != REMOVAL
        values[key] = min(value, values.get(key, value))
    kept = sorted(key for key, value in values.items() if value != REMOVAL)
    folder = os.path.join(uri, f"Split-{split}")
    tf.io.gfile.makedirs(folder)
    final = os.path.join(folder, f"{name or 'data'}_tfrecord-{shard:05d}-of-{shards[place]:05d}")
    unfinished = os.path.join(uri, ".temporary", f"{uuid.uuid4().hex}-{split}-{shard:05d}")
    tf.io.gfile.makedirs(os.path.dirname(unfinished))
    written = join.get(split, list)(values[key] for key in kept)
    with tf.io.TFRecordWriter(unfinished) as writer:
        for value in written:
            writer.write(value)
    tf.io.gfile.rename(unfinished, final, overwrite=True)
    return Counter(
        {
            split: len(kept),
            f"{place}_written": len(written),
            _KEY_SUM: sum(int.from_bytes(key, "big") for key in kept),
            "duplicates": found - len(values),
            "removed": len(values) - len(kept),
        }
    )


def _read(extent: Extent) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values."""
    data = _bytes_of(extent)
    position = 0
    while position < extent.length:
        key, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size + length
        yield key, data[position - length : position]


def read_columns(extents: Iterable[Extent], *lengths: int) -> list[np.ndarray]:
    """Keys, uint8 [N, 16], and for each length a column of the values, uint8 [N, length]."""
    data = np.frombuffer(b"".join(map(_bytes_of, extents)), np.uint8)
    rows = data.reshape(-1, _HEADER.size + sum(lengths))
    return [rows[:, :KEY_BYTES], *np.split(rows[:, _HEADER.size :], np.cumsum(lengths)[:-1], axis=1)]


def _bytes_of(extent: Extent) -> bytes:
    with tf.io.gfile.GFile(extent.path, "rb") as file:
        file.seek(extent.offset)
        return file.read(extent.length)


class WriteCounts(beam.PTransform):
    """PCollections of counts → one JSON file with their sums, and Beam's counters while the pipeline runs.

    Args:
      path: of the file.
      namespace: of the counters.
    """

    def __init__(self, path: str, namespace: str):
        super().__init__()
        self._path, self._namespace = path, namespace

    def expand(self, counts):
        return (
            counts
            | beam.Flatten()
            | "PublishCounts" >> beam.Map(_publish, namespace=self._namespace)
            | "SumCounts" >> beam.CombineGlobally(sum_counts)
            | "WriteCounts" >> beam.Map(_write_json, path=self._path)
        )


def _publish(counts: Mapping[str, int], namespace: str) -> Mapping[str, int]:
    for name in counts.keys() - {_KEY_SUM}:  # which has 128 bits
        Metrics.counter(namespace, name).inc(counts[name])
    return counts


def sum_counts(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def _write_json(counts: Mapping[str, int], path: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(counts, file)


def read_counts(path: str) -> Counter[str]:
    """What `WriteCounts` wrote; the file is removed."""
    with tf.io.gfile.GFile(path) as file:
        counts = Counter(json.load(file))
    tf.io.gfile.remove(path)
    return counts
