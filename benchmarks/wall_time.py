"""Prints the wall time of each component of a pipeline, run by run.

python benchmarks/wall_time.py                     # runs the demo in a folder of its own, then prints
python benchmarks/wall_time.py --root runs/demo    # prints what the metadata of earlier runs says
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rich
import rich.table

from pipeline.lineage import Lineage

PROJECT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="the root of a pipeline that has run; without it the demo is run")
    parser.add_argument("--config", default="configs/pipelines/demo.yaml", help="the pipeline to run")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    if arguments.root:
        print_times(Path(arguments.root))
    else:
        with tempfile.TemporaryDirectory() as root:
            seconds = run_demo(arguments.config, root)
            print_times(Path(root))
            print(f"whole command, start of Python and imports included: {seconds:.1f} s")


def run_demo(config: str, root: str) -> float:
    """Runs spans 1, 2 and 2 again, as `make demo` does; gives the seconds it took."""
    command = [sys.executable, "-m", "pipeline.cli", "pipeline", "run", "--config", config]
    command += ["--span", "1", "--span", "2", "--span", "2"]
    command += ["--set", f"root={root}", "--set", f"push.destination={root}/encoders"]
    started = time.monotonic()
    subprocess.run(command, check=True, cwd=PROJECT)
    return time.monotonic() - started


def print_times(root: Path) -> None:
    lineage = Lineage(str(root / "metadata.sqlite"))
    runs = [nodes for run_id in lineage.run_ids if "EncoderPusher" in (nodes := lineage.nodes(run_id))]
    if not runs:
        sys.exit(f"{root}: no run is complete.")
    table = rich.table.Table(title="Seconds by component", title_justify="left")
    table.add_column("component")
    for number, run in enumerate(runs, start=1):
        span = run["DocumentGen"].outputs["examples"].custom_properties["span"].int_value
        table.add_column(f"run {number}, span {span}", justify="right")
    for name in runs[0]:
        table.add_row(name, *(_cell(run, name) for run in runs))
    table.add_section()
    table.add_row("all", *(f"{sum(node.seconds for node in run.values()):.1f}" for run in runs))
    rich.print(table)


def _cell(run: dict, name: str) -> str:
    if name not in run:
        return ""
    return "cached" if run[name].state == "CACHED" else f"{run[name].seconds:.1f}"


if __name__ == "__main__":
    main()
