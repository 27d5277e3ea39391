"""Prints how long records take to shards, and the memory that a process needs more for it.

python benchmarks/sharding.py                             # two sizes
python benchmarks/sharding.py --megabytes 600 --shards 400
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rich
import rich.table

_SIZES = ((80, 2), (600, 10), (600, 400))  # megabytes, shards
_RECORDS = 1000  # of a kilobyte each, in a batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, help="of records; without it several sizes, each in its own process")
    parser.add_argument("--shards", type=int, default=1, help="to write them to")
    arguments = parser.parse_args()
    if arguments.megabytes:
        print(json.dumps(measure(arguments.megabytes, arguments.shards)))
    else:
        print_table()


def print_table() -> None:
    table = rich.table.Table(title="Records to shards, one process", title_justify="left")
    for column in ("MB of records", "shards", "seconds", "MB of memory more"):
        table.add_column(column, justify="right")
    for megabytes, shards in _SIZES:
        command = [sys.executable, __file__, "--megabytes", str(megabytes), "--shards", str(shards)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        table.add_row(str(megabytes), str(shards), f"{figures['seconds']:.1f}", f"{figures['memory']:.0f}")
    rich.print(table)


def measure(megabytes: int, shards: int) -> dict[str, float]:
    """Seconds, and megabytes of memory beyond what the imports take, with Beam's FnApiRunner."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from components.sharding import WriteCounts, WriteShards

    before, started = peak_memory(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        write = WriteShards(folder, {"train": shards})
        with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
            batches = pipeline | beam.Create(range(megabytes)) | beam.Reshuffle() | beam.Map(make_batch)
            _ = ((batches,) | write,) | WriteCounts(str(Path(folder, "counts.json")), "albert.benchmark")
    return {"seconds": time.monotonic() - started, "memory": peak_memory() - before}


def make_batch(number: int) -> list:
    """A megabyte of records with keys as evenly spread as those of examples."""
    from components.sharding import Record

    keys = (hashlib.blake2b(f"{number} {i}".encode(), digest_size=16).digest() for i in range(_RECORDS))
    return [Record("train", key, key * 62) for key in keys]


def peak_memory() -> float:
    """Megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
