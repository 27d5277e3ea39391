"""Prints what sizes of text take: hours of cores and GPUs, disk, and what goes through Beam's shuffle.

python benchmarks/scale.py                                           # 1 GB, 100 GB and 10 TB
python benchmarks/scale.py --text 30GB --cores 32 --copies 2 --near-duplicates
python benchmarks/scale.py --core-hour-price 0.05 --gpu-hour-price 3 # prices of yours

Rates are megabytes of text a second of one core, as scale_rates.py measured them; docs/scale.md says on what. Give your
own. Nothing was run at these sizes: this is arithmetic on the rates of small runs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import rich.console
import rich.table

from albert_model.config import AlbertConfig
from albert_model.training.speed import flops_per_token

_BASE = Path(__file__).parent.parent / "configs" / "models" / "base_v2.json"
_LENGTH, _PREDICTIONS, _BATCH = 512, 20, 4096
_RANGE_BYTES = 32 * 1024 * 1024  # of text that one task reads, so that its run holds no more
_ROW_BYTES = 150  # of an extent in the shuffle: split, shard, the file's name, two numbers
_ID_BYTES = 60  # of an example's document in StatisticsGen's count of different values
_BANDS, _BAND_BYTES = 14, 164  # records that near-duplicate search writes of a document; key, length, id and sketch
_UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}
# Option, value measured on English novels (docs/scale.md), what it is.
_RATES = (
    ("documents", 22.8, "MB/s of DocumentGen"),
    ("near-duplicates-rate", 8.61, "MB/s of what near-duplicate search adds"),
    ("first-copy", 12.5, "MB/s of PretrainingExampleGen, one copy, tokenising included"),
    ("next-copy", 45.7, "MB/s of each further copy"),
    ("statistics", 31.3, "MB/s of text whose examples StatisticsGen reads"),
    ("transform", 7.75, "MB/s of text whose examples Transform analyses"),
    ("evaluation", 500, "tokens/s that the Evaluator scores with ALBERT-base"),
    ("bytes-per-token", 4.06, "of text"),
    ("padding", 0.134, "share of padding in training batches; about 0.02 where examples are packed"),
    ("document-bytes", 1.02, "bytes of documents for each byte of text"),
    ("example-bytes", 0.538, "bytes of examples for each byte of text, one copy"),
    ("document-size", 4000, "bytes of text in a document, on average"),
)
_OPTIONS = (
    ("epochs", 1, "training.epochs"),
    ("models", 2, "that the Evaluator scores: the new one and the one before"),
    ("mfu", 0.4, "share of the GPU's arithmetic that is used: assumed, not measured"),
    ("gpu-flops", 989e12, "dense bfloat16 of a GPU; the default is an H100's"),
    ("eight-gpus", 0.95, "share of eight times one GPU's speed: assumed, not measured"),
    ("core-hour-price", None, "adds a row"),
    ("gpu-hour-price", None, "adds a row"),
)


class Case(NamedTuple):
    """Bytes of text, those of it that are held out, and cores to share the work of Beam's components."""

    text: float
    held_out: float
    cores: float


class Plan(NamedTuple):
    """What a size of text takes.

    Attributes:
      core_hours: by component.
      numbers: bytes and counts, by name.
      gpu_hours: of training on one GPU.
      hours_on_eight: of training on eight GPUs together.
    """

    core_hours: dict[str, float]
    numbers: dict[str, float]
    gpu_hours: float
    hours_on_eight: float


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(words)
    console = rich.console.Console()
    cases = cases_of(arguments)
    plans = [plan(case, arguments) for case in cases]
    for table in (
        _beam_table(cases, plans, arguments),
        _files_table(cases, plans),
        _gpu_table(cases, plans, arguments),
    ):
        console.print(table)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="+", type=size, default=[1e9, 1e11, 1e13], help="sizes, such as 30GB")
    parser.add_argument("--held-out", nargs="+", type=size, help="of each: held out (default: see the table)")
    parser.add_argument("--cores", nargs="+", type=float, help="for each: of Beam's workers (default: see the table)")
    parser.add_argument("--copies", type=int, default=1, help="examples.dupe_factor (default 1)")
    parser.add_argument("--near-duplicates", action="store_true", help="corpus.near_duplicates: drop")
    for name, default, what in (*_RATES, *_OPTIONS):
        shown = "" if default is None else f" (default {default:g})"
        parser.add_argument(f"--{name}", type=float, default=default, help=what + shown)
    return parser.parse_args(words)


def size(text: str) -> float:
    """Bytes.

    >>> size("30GB"), size("0.5 TB")
    (30000000000.0, 500000000000.0)
    """
    found = re.fullmatch(r"([0-9.]+) ?([kMGT]?B)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} should be a size such as 30GB")
    return float(found[1]) * _UNITS[found[2]]


def cases_of(arguments: argparse.Namespace) -> list[Case]:
    """One for each size; what was given once counts for all."""
    texts = arguments.text
    columns = [
        texts,
        arguments.held_out or [max(text / 1000, min(text / 100, 1e8)) for text in texts],
        arguments.cores or [8 if text <= 1e10 else 64 if text <= 1e12 else 1024 for text in texts],
    ]
    if any(len(column) not in (1, len(texts)) for column in columns):
        sys.exit(f"--held-out and --cores: give one value, or as many as --text has ({len(texts)})")
    return [Case(*row) for row in zip(*(column * (len(texts) // len(column)) for column in columns), strict=True)]


# === The arithmetic ===


def plan(case: Case, of: argparse.Namespace) -> Plan:
    """What a size of text takes, by the rates `of` the command line."""
    hour = case.text / 1e6 / 3600  # hours of a core that does 1 MB/s
    core_hours = {
        "DocumentGen": hour / of.documents,
        "near duplicates": hour / of.near_duplicates_rate if of.near_duplicates else 0.0,
        "PretrainingExampleGen": hour / of.first_copy + (of.copies - 1) * hour / of.next_copy,
        "StatisticsGen": of.copies * hour / of.statistics,
        "Transform": of.copies * hour / of.transform,
        "Evaluator": of.models * case.held_out / of.bytes_per_token / of.evaluation / 3600,
    }
    tokens = case.text / of.bytes_per_token * of.copies * of.epochs
    places = tokens / (1 - of.padding)
    config = AlbertConfig.from_file(_BASE)
    flops = places * flops_per_token(config, _LENGTH, _PREDICTIONS / _LENGTH)
    gpu_hours = flops / (of.gpu_flops * of.mfu) / 3600
    numbers = {
        "tokens to train on": tokens,
        f"steps of {_BATCH} examples": places / _LENGTH / _BATCH,
        **_files(case.text, places / _LENGTH / of.epochs, of),
    }
    return Plan(core_hours, numbers, gpu_hours, gpu_hours / (8 * of.eight_gpus))


def _files(text: float, examples: float, of: argparse.Namespace) -> dict[str, float]:
    """Bytes and counts of files, and what goes through a shuffle."""
    documents, records = text * of.document_bytes, text * of.example_bytes * of.copies
    shards, steps, extents = _division(documents)
    example_shards, example_steps, example_extents = _division(records)
    bands = text / of.document_size * _BANDS * _BAND_BYTES if of.near_duplicates else 0.0
    band_extents = _division(bands)[2] if bands else 0.0
    return {
        "documents, bytes": documents,
        "documents, shards": shards,
        "examples, bytes": records,
        "examples, shards": example_shards,
        "temporary files, bytes": max(steps * documents + bands, example_steps * records),
        "rows through the shuffle": extents + example_extents + band_extents,
        "through the shuffle, bytes": (extents + example_extents + band_extents) * _ROW_BYTES,
        "through that of StatisticsGen, bytes": examples * _ID_BYTES,
    }


def _division(records: float) -> tuple[int, int, float]:
    """How components/sharding.py would divide so many bytes: shards of a split, steps, and extents of all steps."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from components.sharding import groups_for, run_bytes_for, shards_for

    shards = shards_for(int(records))
    groups = groups_for(shards)
    run_bytes = min(_RANGE_BYTES, run_bytes_for({"train": shards}, {"train": groups}))
    if groups == shards:
        return shards, 1, records / run_bytes * shards
    return shards, 2, records / run_bytes * groups + records / run_bytes_for({"": shards}, {"": groups}) * groups


# === Tables ===


def _beam_table(cases: list[Case], plans: list[Plan], of: argparse.Namespace) -> rich.table.Table:
    table = _table("Beam's components, hours of a core", cases)
    for name in plans[0].core_hours:
        if any(each.core_hours[name] for each in plans):
            _add(table, name, (each.core_hours[name] for each in plans), _short)
    totals = [sum(each.core_hours.values()) for each in plans]
    table.add_section()
    _add(table, "all", totals, _short)
    if of.core_hour_price is not None:
        _add(table, f"at {of.core_hour_price:g} a core and hour", (of.core_hour_price * t for t in totals), _short)
    _add(table, "held-out text", (case.held_out for case in cases), human_bytes)
    _add(table, "cores", (case.cores for case in cases), _short)
    _add(table, "hours on them", (t / case.cores for t, case in zip(totals, cases, strict=True)), _short)
    return table


def _files_table(cases: list[Case], plans: list[Plan]) -> rich.table.Table:
    table = _table("Files and shuffles", cases)
    for name in plans[0].numbers:
        write = human_bytes if "bytes" in name else _short
        _add(table, name.removesuffix(", bytes"), (each.numbers[name] for each in plans), write)
    return table


def _gpu_table(cases: list[Case], plans: list[Plan], of: argparse.Namespace) -> rich.table.Table:
    title = f"Training ALBERT-base at {of.mfu:.0%} of a GPU's {of.gpu_flops / 1e12:.0f} TFLOP/s: assumed, not measured"
    table = _table(title, cases)
    _add(table, "hours on one GPU", (each.gpu_hours for each in plans), _short)
    _add(table, "hours on eight", (each.hours_on_eight for each in plans), _short)
    _add(table, "GPU-hours on eight", (8 * each.hours_on_eight for each in plans), _short)
    if of.gpu_hour_price is not None:
        prices = (of.gpu_hour_price * 8 * each.hours_on_eight for each in plans)
        _add(table, f"at {of.gpu_hour_price:g} a GPU and hour", prices, _short)
    return table


def _table(title: str, cases: list[Case]) -> rich.table.Table:
    table = rich.table.Table("", title=title, title_justify="left")
    for case in cases:
        table.add_column(f"{human_bytes(case.text)} of text", justify="right")
    return table


def _add(table: rich.table.Table, name: str, values: Iterable[float], write: Callable[[float], str]) -> None:
    table.add_row(name, *map(write, values))


def human_bytes(value: float) -> str:
    """In three digits, or as many as it has before the point.

    >>> human_bytes(1e13), human_bytes(5.38e8), human_bytes(0)
    ('10 TB', '538 MB', '0 B')
    """
    unit = next((name for name, factor in _UNITS.items() if value >= factor), "B")
    return f"{_short(value / _UNITS[unit])} {unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
