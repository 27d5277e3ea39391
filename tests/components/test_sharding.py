import hashlib
from collections import Counter

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from components import sharding
from components.sharding import REMOVAL, Record, WriteCounts, WriteShards, read_counts, shards_for, split_files

SHARDS = {"train": 3, "eval": 1}
IN_MEMORY = ["--runner=FnApiRunner"]
TWO_PROCESSES = [*IN_MEMORY, "--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def record(i: int) -> Record:
    key = hashlib.blake2b(str(i).encode(), digest_size=16).digest()
    return Record("eval" if i % 10 == 0 else "train", key, b"value %d" % i)


def write(folder, batches, options=IN_MEMORY):
    """Contents of the shards by name, and the counts."""
    transform = WriteShards(str(folder), SHARDS)
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        counts = pipeline | beam.Create(batches) | beam.Reshuffle()
        counts = (counts,) | transform
        _ = (counts,) | WriteCounts(str(folder / "counts.json"), "albert.test")
    transform.remove_temporary_files()
    files = {f"{s}/{p.rsplit('/', 1)[1]}": p for s in SHARDS for p in split_files(str(folder), s)}
    return {name: tf.io.gfile.GFile(path, "rb").read() for name, path in files.items()}, read_counts(
        str(folder / "counts.json")
    )


RECORDS = [record(i) for i in range(200)]


def batches(size, records=RECORDS):
    return [records[i : i + size] for i in range(0, len(records), size)]


@pytest.mark.parametrize(
    ("other", "options"),
    [(batches(200), IN_MEMORY), (batches(1, RECORDS[::-1]), IN_MEMORY), (batches(7), TWO_PROCESSES)],
    ids=["one batch", "backwards one by one", "two processes"],
)
def test_the_bytes_do_not_depend_on_batches_order_or_workers(tmp_path, other, options):
    first, counts = write(tmp_path / "first", batches(10))
    second, other_counts = write(tmp_path / "second", other, options)
    assert first == second
    assert counts == other_counts
    assert (counts["train"], counts["eval"], counts["duplicates"]) == (180, 20, 0)
    assert list(first) == [
        *(f"train/data_tfrecord-0000{i}-of-00003" for i in range(3)),
        "eval/data_tfrecord-00000-of-00001",
    ]
    assert (tmp_path / "second" / ".temporary").exists() is False


def test_of_equal_keys_one_is_kept_and_the_others_are_counted(tmp_path):
    once, _ = write(tmp_path / "once", batches(10))
    twice, counts = write(tmp_path / "twice", batches(10, RECORDS + RECORDS[:30]))
    assert once == twice
    assert (counts["train"], counts["eval"], counts["duplicates"]) == (180, 20, 30)


def test_a_removal_takes_the_record_of_its_key_away(tmp_path):
    kept, _ = write(tmp_path / "kept", batches(10, RECORDS[20:]))
    removals = [Record(split, key, REMOVAL) for split, key, _ in RECORDS[:20]]
    for i, records in enumerate([removals * 2 + RECORDS * 2, RECORDS + removals + RECORDS]):
        files, counts = write(tmp_path / str(i), batches(10, records))
        assert files == kept
        assert (counts["train"], counts["eval"], counts["duplicates"], counts["removed"]) == (162, 18, 200, 20)


def test_all_shards_are_written_even_empty_ones(tmp_path):
    files, counts = write(tmp_path, [[record(1)]])
    assert len(files) == 4
    assert counts["train"] == 1


def test_number_of_shards():
    megabyte = 1024 * 1024
    assert [shards_for(n) for n in (0, 1, 64 * megabyte, 64 * megabyte + 1, 1000 * megabyte)] == [1, 1, 1, 2, 16]


def test_records_are_gathered_into_few_files_whatever_the_number_of_shards(tmp_path, monkeypatch):
    """A run when enough is gathered and one at the end; a file for each record or shard would drown the disk."""
    monkeypatch.setattr(sharding, "_RUN_BYTES", 2500)
    gather = sharding._WriteRuns(str(tmp_path), {"train": 1000, "eval": 1000})
    gather.start_bundle()
    for batch in batches(10):
        gather.process(batch)
    extents = [element.value for element in gather.finish_bundle()]
    assert len(list(tmp_path.iterdir())) == 3
    found = [(split, *record) for (split, _), extent in extents for record in sharding._read(extent)]
    assert sorted(found) == sorted(tuple(record) for record in RECORDS)


def test_the_bytes_do_not_depend_on_how_much_is_gathered(tmp_path, monkeypatch):
    expected, _ = write(tmp_path / "expected", batches(200))
    monkeypatch.setattr(sharding, "_RUN_BYTES", 1)
    often, _ = write(tmp_path / "often", batches(3))
    assert often == expected


def test_counts_are_published_as_counters_of_beam(tmp_path):
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        counts = [Counter(train=2, key_sum=2**127), Counter(train=3)]
        _ = (pipeline | beam.Create(counts),) | WriteCounts(str(tmp_path / "counts.json"), "albert.test")
    counters = pipeline.result.metrics().query(MetricsFilter().with_namespace("albert.test"))["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counters} == {"train": 5}
    assert read_counts(str(tmp_path / "counts.json")) == Counter(train=5, key_sum=2**127)
