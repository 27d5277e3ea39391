"""Whether a container can start what a compiled pipeline names: classes, modules, functions and their signatures.

A program of its own, so that it can run in any environment that has this project and TFX, and in an empty folder, where
a checkout's modules are not found by chance:

    python -m pipeline.cloud.importable names.json answers.json

Both files are JSON: of kinds, the names in lists; the answers by name, null or why not.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

Kind = Literal["module", "executor", "artifact", "run_fn", "preprocessing_fn"]
Names = Mapping[Kind, Sequence[str]]
Answers = dict[Kind, dict[str, str | None]]
_NOT_INHERITED = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONSAFEPATH")
_LINES = 15  # of what a process said, where it failed


def clean_environment() -> dict[str, str]:
    """This process' variables, without those that add modules, on the processor."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return kept | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def ask(names: Names, python: str = sys.executable, variables: Mapping[str, str] | None = None) -> Answers:
    """Asks an environment for names, from an empty folder.

    Args:
      names: by kind.
      python: of the environment.
      variables: of the process; none: those of `clean_environment`.

    Raises:
      RuntimeError: the process did not come to an answer; with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="albert-check-") as folder:
        asked, answered, empty = (Path(folder, name) for name in ("names.json", "answers.json", "empty"))
        empty.mkdir()
        asked.write_text(json.dumps(names), encoding="utf-8")
        done = subprocess.run(
            [python, "-m", __name__, str(asked), str(answered)],
            cwd=empty,
            env=clean_environment() if variables is None else variables,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode or not answered.exists():
            said = "\n".join(done.stderr.splitlines()[-_LINES:])
            raise RuntimeError(f"{python} ended with code {done.returncode}:\n{said}")
        return json.loads(answered.read_text(encoding="utf-8"))


def why_not(kind: Kind, name: str) -> str | None:
    """None where this process can import it and it is what it should be."""
    try:
        return _CHECKS[kind](name)
    except Exception as error:  # a module may raise anything when it is imported
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {(str(cause).splitlines() or ['no message'])[0]}"


# === What is looked at ===


def _module(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else "there is no such module"


def _executor(path: str) -> str | None:
    from tfx.dsl.components.base import base_executor
    from tfx.utils import import_utils

    found = import_utils.import_class_by_path(path)
    return None if _is_class(found, base_executor.BaseExecutor) else "is no executor of TFX"


def _artifact(title: str) -> str | None:
    """A type by the title that the compiled pipeline has for it; TFX's own have another path than their title."""
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.types import artifact
    from tfx.utils import import_utils

    found = import_utils.import_class_by_path(compiler_utils.TITLE_TO_CLASS_PATH.get(title, title))
    return None if _is_class(found, artifact.Artifact) else "is no artifact type of TFX"


def _run_fn(path: str) -> str | None:
    return _takes(path, ("fn_args",), {})


def _preprocessing_fn(path: str) -> str | None:
    return _takes(path, ("inputs",), {"custom_config": {}}) and _takes(path, ("inputs",), {})


def _takes(path: str, positional: tuple[str, ...], named: dict[str, Any]) -> str | None:
    module, _, name = path.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    if not callable(function):
        return "is no function"
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError as error:
        return f"takes other arguments than TFX gives it: {error}"
    return None


def _is_class(found: Any, base: type) -> bool:
    return inspect.isclass(found) and issubclass(found, base)


_CHECKS: Mapping[Kind, Callable[[str], str | None]] = {
    "module": _module,
    "executor": _executor,
    "artifact": _artifact,
    "run_fn": _run_fn,
    "preprocessing_fn": _preprocessing_fn,
}


def _main(asked: str, answered: str) -> None:
    names: Names = json.loads(Path(asked).read_text(encoding="utf-8"))
    answers = {kind: {name: why_not(kind, name) for name in some} for kind, some in names.items()}
    Path(answered).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
