"""More shards than runs are divided into at once, and more files than stand in a job's graph as they are."""

import math

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from components import sharding
from components.sharding import Extent, NameFiles, ReadInBatches, shards_for
from tests.components.test_sharding import IN_MEMORY, RECORDS, REMOVAL, Record, batches, write

SHARDS = {"train": 50, "eval": 2}


@pytest.fixture
def at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.components.test_sharding.SHARDS", SHARDS)
    return write(tmp_path / "at_once", batches(10))


@pytest.fixture
def runs(monkeypatch):
    """The bytes of all extents of each step."""
    gathered = []
    plain = sharding._WriteRuns.finish_bundle

    def finish_bundle(self):
        for element in plain(self):
            gathered.append((self._parts == self._shards, *element.value))
            yield element

    monkeypatch.setattr(sharding._WriteRuns, "finish_bundle", finish_bundle)
    return gathered


def test_two_steps_give_the_same_bytes_and_counts(tmp_path, at_once, runs, monkeypatch):
    monkeypatch.setattr(sharding, "_FAN_OUT", 10)
    monkeypatch.setattr(sharding, "_PIECE_BYTES", 500)
    assert write(tmp_path / "twice", batches(10)) == at_once
    groups = {place for is_last, place, _ in runs if not is_last}
    assert groups <= {*(("train", group) for group in range(8)), ("eval", 0), ("eval", 1)}
    assert len(groups) == 10
    assert sum(extent.length for is_last, _, extent in runs if is_last) == sum(
        extent.length for is_last, _, extent in runs if not is_last
    )
    assert not (tmp_path / "twice" / ".temporary").exists()


def test_removals_and_equal_keys_meet_in_the_second_step(tmp_path, at_once, monkeypatch):
    monkeypatch.setattr(sharding, "_FAN_OUT", 1)
    removals = [Record(split, key, REMOVAL) for split, key, _ in RECORDS[:20]]
    kept, counts = write(tmp_path / "removed", batches(3, removals + RECORDS + RECORDS))
    expected, _ = write(tmp_path / "expected", batches(10, RECORDS[20:]))
    assert kept == expected != at_once[0]
    assert (counts["train"], counts["eval"], counts["duplicates"], counts["removed"]) == (162, 18, 200, 20)


def test_extents_of_a_terabyte_are_large_enough_for_an_object_store():
    shards = {"train": shards_for(10**12), "eval": 1}
    groups = {split: sharding.groups_for(count) for split, count in shards.items()}
    run_bytes = sharding.run_bytes_for(shards, groups)
    assert groups["train"] == 123
    assert run_bytes / groups["train"] > 1_000_000
    assert run_bytes < 150_000_000
    few = {"train": 256, "eval": 1}
    assert sharding.run_bytes_for(few, few) == sharding._RUN_BYTES


@pytest.mark.parametrize("shards", [1, 2, 256, 257, 1000, 1 << 14])
def test_groups(shards):
    groups = sharding.groups_for(shards)
    assert groups == shards if shards <= 256 else groups == math.ceil(math.sqrt(shards))
    assert {shard % groups for shard in range(shards)} == set(range(groups))


def test_pieces_of_a_group_are_bounded_and_whole(monkeypatch):
    monkeypatch.setattr(sharding, "_PIECE_BYTES", 10)
    extents = [Extent(f"run-{i}", 0, length) for i, length in enumerate([4, 6, 1, 12, 3])]
    pieces = list(sharding._pieces(("train", 3), iter(extents)))
    assert [(split, [extent.length for extent in piece]) for split, piece in pieces] == [
        ("train", [4, 6]),
        ("train", [1]),
        ("train", [12]),
        ("train", [3]),
    ]


def test_the_largest_text_has_no_more_shards_than_there_are_at_most():
    assert [shards_for(n) for n in (10**12, 10**13, 10**15)] == [14902, 1 << 14, 1 << 14]


def test_a_hundred_thousand_names_take_little_of_a_graph():
    """Dataflow refuses a graph of more than 10 MB."""
    names = [f"gs://a-bucket/a-corpus/span-1/domain-{i % 7}/part-{i:05d}.txt" for i in range(100_000)]
    pipeline = beam.Pipeline(options=PipelineOptions(IN_MEMORY))
    _ = pipeline | ReadInBatches(names, 32)
    assert len(pipeline.to_runner_api().SerializeToString()) < 1_000_000
    with beam.Pipeline(options=PipelineOptions(IN_MEMORY)) as pipeline:
        assert_that(pipeline | NameFiles(names[:1000]), equal_to(names[:1000]))
