"""The estimate of memory, against what training steps took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from albert_model.config import AlbertConfig
from albert_model.training.memory import accelerator, estimate
from albert_model.training.settings import TrainingSettings
from albert_model.weights import fresh_process
from tests.demo import ROOT

_FACTOR = 1.4  # how far off the estimate may be; docs/image.md says so too
_TINY = AlbertConfig.from_file(ROOT / "configs" / "models" / "tiny.json")
_BASE, _LARGE = AlbertConfig.published("base"), AlbertConfig.published("large")
_AGAIN = {"rematerialize": True}
_LOOP = {"scan_layers": True}
_LOOP_AGAIN = _LOOP | _AGAIN


# MB above the network's own at the peak of a training step on the processor; `measure_memory.py` measures.
@pytest.mark.parametrize(
    ("config", "settings", "length", "predictions", "measured"),
    [
        (_TINY, {"batch_size": 256}, 64, 10, 754),
        (_TINY, {"batch_size": 512}, 64, 10, 1454),
        (_BASE, {"batch_size": 4}, 128, 20, 876),
        (_BASE, {"batch_size": 8}, 128, 20, 1327),
        (_BASE, {"batch_size": 2}, 512, 20, 1431),
        (_BASE, {"batch_size": 4}, 512, 20, 2624),
        (_BASE, {"batch_size": 4} | _AGAIN, 128, 20, 946),
        (_BASE, {"batch_size": 4} | _AGAIN, 512, 20, 1099),
        (_BASE, {"batch_size": 8, "precision": "bfloat16"}, 128, 20, 1150),
        (_BASE, {"batch_size": 2, "precision": "bfloat16"} | _AGAIN, 512, 76, 859),
        (_LARGE, {"batch_size": 2}, 128, 20, 1897),
        (_LARGE, {"batch_size": 4}, 128, 20, 2193),
    ],
)
def test_a_step_takes_about_what_is_estimated(config, settings, length, predictions, measured):
    recipe = TrainingSettings(**settings)
    found = estimate(config, recipe, length, predictions, bfloat16=recipe.precision == "bfloat16")
    assert 1 / _FACTOR < (found.gradients + found.activations) / (measured * 1e6) < _FACTOR


# MB of temporary memory of loss and gradients, float32, as XLA plans it (jax's memory_analysis).
@pytest.mark.parametrize(
    ("settings", "length", "measured"),
    [
        ({"batch_size": 8} | _LOOP, 128, 984),
        ({"batch_size": 4} | _LOOP, 512, 2887),
        ({"batch_size": 8} | _LOOP_AGAIN, 128, 157),
        ({"batch_size": 4} | _LOOP_AGAIN, 512, 367),
    ],
)
def test_a_compiled_step_takes_about_what_is_estimated(settings, length, measured):
    found = estimate(_BASE, TrainingSettings(**settings), length, 20, xla=True)
    assert 1 / 1.15 < found.activations / (measured * 1e6) < 1.15


def test_the_estimate_holds_here():
    """Measured anew, so that it does not outlive the network that it was made for."""
    settings = TrainingSettings(batch_size=256, strategy="one", precision="float32", xla="off")
    measured = _measured(_TINY, settings, 64, 10)
    found = estimate(_TINY, settings, 64, 10)
    assert 1 / _FACTOR < (found.gradients + found.activations) / measured < _FACTOR


def test_what_a_setting_does_to_it():
    def total(devices: int = 1, **settings) -> int:
        return estimate(_BASE, TrainingSettings(batch_size=64, **settings), 512, 76, devices, xla=True).total

    whole = total()
    assert total(devices=4) < whole / 2
    assert total(rematerialize=True) < whole / 2
    assert total(precision="bfloat16") == whole  # it is the caller who knows what the device does


def test_a_batch_in_parts_takes_the_memory_of_a_part():
    whole, part = (
        estimate(_BASE, TrainingSettings(batch_size=4096, accumulation=parts), 512, 76, xla=True) for parts in (1, 512)
    )
    assert (whole.examples, part.examples) == (4096, 8)
    assert part.activations == whole.activations / 512
    assert part.evaluation == whole.evaluation / 512


def test_parameters_are_those_of_the_model():
    found = estimate(_BASE, TrainingSettings(), 512, 76)
    assert 11e6 < found.parameters < 13e6
    assert found.weights == 4 * found.parameters
    assert found.slots == 8 * found.parameters


def test_accelerators_that_are_not_known():
    assert accelerator("nvidia.com/gpu") is None
    assert accelerator("NVIDIA_L4").bfloat16 and not accelerator("NVIDIA_TESLA_V100").bfloat16


def _measured(config: AlbertConfig, settings: TrainingSettings, length: int, predictions: int) -> int:
    program = Path(__file__).with_name("measure_memory.py")
    words = [config.model_dump_json(), settings.model_dump_json(exclude_defaults=True), str(length), str(predictions)]
    done = subprocess.run(
        [sys.executable, str(program), *words], env=fresh_process.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
