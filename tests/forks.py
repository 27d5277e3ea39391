"""Processes of their own that start at once: forks of a process that has TensorFlow, TFX and the project imported.

For tests in which a process ends, is killed, or is one of several. A test about what starting takes or shows starts a
process as users do: see `demo.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.demo import ROOT

# What is imported for all. Importing starts nothing in TensorFlow that a fork would miss.
_MODULES = ["tensorflow", "tfx.v1", "tensorflow_model_analysis", "components.trainer_module"]
_MODULES += ["kfp.pipeline_spec.pipeline_spec_pb2"]
_MODULES += [f"albert_model.{name}" for name in ("network.pretrainer", "weights.source", "weights.conversion")]
_MODULES += [f"pipeline.{name}" for name in ("cli", "example_files", "pipeline", "pretraining", "report")]

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(_MODULES)


class Fork:
    """Calls a function in a process of its own; has what tests use of `subprocess.Popen`."""

    def __init__(self, function: Callable, *arguments: Any, cwd: Path = ROOT, env: Mapping[str, str] | None = None):
        self.args = arguments
        self._folder = tempfile.TemporaryDirectory(prefix="fork-")
        self._written = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for path in self._written:
            path.touch()
        job = (self._written, cwd, dict(env or os.environ), function, arguments)
        self._process = forkserver.Process(target=_call, args=job, daemon=True)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int | None:
        self._process.join()
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, ...]:
        self.wait()
        return tuple(path.read_text() for path in self._written)

    def done(self) -> CompletedProcess:
        """Waits for it."""
        stdout, stderr = self.communicate()
        return CompletedProcess(self.args, self.returncode, stdout, stderr)


def albert_fork(*arguments: object, cwd: Path = ROOT) -> Fork:
    """The command line."""
    return Fork(_albert, list(map(str, arguments)), cwd=cwd)


def _call(written: list[Path], cwd: Path, env: Mapping[str, str], function: Callable, arguments: tuple) -> None:
    for descriptor, path in enumerate(written, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    function(*arguments)


def _albert(words: list[str]) -> None:
    from pipeline.cli import main

    sys.argv = ["albert", *words]
    main(words, prog_name="albert")
