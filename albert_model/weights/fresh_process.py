"""SavedModels whose bytes do not depend on what a process did before.

TensorFlow and Keras number functions and layers as a process makes them, and a SavedModel has these numbers in names.
So one that is published is written by a process of its own, which makes nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_LINES = 20  # of what the process said, where it failed


def environment(**more: str) -> dict[str, str]:
    """That of a process with this project's code: as here, but on the processor, whatever is here.

    Args:
      more: variables besides.
    """
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow", "PYTHONPATH": os.pathsep.join(paths)}
    return os.environ | fixed | more


def write_saved_model(package: str | Path, path: str | Path) -> None:
    """Writes the SavedModel of a model that lies in a folder.

    Args:
      package: as `albert_model.weights.package.write` wrote it.
      path: the SavedModel's folder.

    Raises:
      RuntimeError: the process failed; says why.
    """
    same_order = environment(PYTHONHASHSEED="0", TF_CPP_MIN_LOG_LEVEL="3")  # of sets
    command = [sys.executable, "-P", "-m", __name__, str(Path(package).absolute()), str(Path(path).absolute())]
    done = subprocess.run(command, env=same_order, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[-_LINES:])
        raise RuntimeError(f"{path}: the process that writes it ended with code {done.returncode}.\n{said}")


def _main(folder: str, path: str) -> None:
    from albert_model.config import AlbertConfig
    from albert_model.text import vocabulary
    from albert_model.weights import keras_h5, network, package, saved_model

    config = AlbertConfig.from_file(Path(folder, package.CONFIG))
    weights, _ = keras_h5.read(Path(folder, keras_h5.FULL_FILE), config)  # one array at a time is in memory twice
    pieces = vocabulary.find(Path(folder, package.VOCABULARY))
    asset = Path(folder, package.VOCABULARY, pieces.file_name) if pieces else None
    saved_model.write(path, network.loaded(config, weights, folder), asset)


if __name__ == "__main__":
    _main(*sys.argv[1:])
