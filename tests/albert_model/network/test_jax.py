"""The network on Keras' JAX backend, in a process of its own: a process has one backend."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.demo import ROOT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")


def run(*arguments: str) -> str:
    # Compiling takes longer than computing here.
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_training_forms():
    assert " passed" in run(
        "-m", "pytest", "-p", "no:cacheprovider", "tests/albert_model/network/test_training_forms.py"
    )


def test_needs_no_tensorflow():
    code = "import albert_model.network.pretrainer, sys; print('jax' in sys.modules, 'tensorflow' in sys.modules)"
    assert run("-c", code).split()[-2:] == ["True", "False"]
