"""The demo and the command line, run as users run them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

ALBERT = ROOT / ".venv" / "bin" / "albert"
QUICK = {"examples.dupe_factor": 3}
QUICK |= {"training.max_steps": 200, "training.warmup_steps": 20, "training.checkpoint_every": 50}


def demo_command(root: Path, spans: list[int], **settings) -> list[str]:
    values = {"root": root, "push.destination": root / "encoders", **QUICK, **settings}
    overrides = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    spans_ = [word for span in spans for word in ("--span", str(span))]
    return [str(ALBERT), "pipeline", "run", "--config", "configs/pipelines/demo.yaml", *spans_, *overrides]


def albert(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(ALBERT), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)


@dataclass(frozen=True)
class Demo:
    """A finished demo: span 1, span 2, span 2 again."""

    root: Path
    output: str
    temporary: Path  # what was its folder for temporary files

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def versions(self) -> list[str]:
        return sorted(child.name for child in self.encoders.iterdir() if child.name.isdecimal())
