"""TF-Hub v1 modules google/albert_*/1–3: a TF1 SavedModel with signatures `tokens` and `mlm`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

from albert_model.errors import InputError
from albert_model.network.pretrainer import MLM_POSITIONS
from albert_model.weights import tf1_checkpoint
from albert_model.weights.names import Run
from albert_model.weights.tensors import Stored

_INPUTS = {"input_word_ids": "input_ids", "input_mask": "input_mask", "input_type_ids": "segment_ids"}
_TOKENS, _MLM = "tokens", "mlm"


def is_one(folder: str | Path) -> bool:
    folder = Path(folder)
    return (folder / "saved_model.pb").is_file() and (folder / "tfhub_module.pb").is_file()


def open_stored(folder: str | Path) -> Stored:
    """The variables of a module under the names of google-research's checkpoints."""
    folder = Path(folder)
    if not (folder / "variables").is_dir():
        raise InputError(f"{folder / 'variables'}: there is no such folder; the module is incomplete. Fetch it again.")
    return tf1_checkpoint.plain_names(tf1_checkpoint.open_stored(folder / "variables" / "variables"))


def runner(folder: str | Path) -> Run:
    """Loads a module; gives what it computes by itself."""
    module = hub.load(str(folder))

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds = {theirs: tf.constant(inputs[ours], tf.int32) for ours, theirs in _INPUTS.items()}
        outputs = module.signatures[_TOKENS](**feeds)
        results = {name: outputs[name].numpy() for name in ("sequence_output", "pooled_output")}
        if _MLM in module.signatures:
            positions = tf.constant(inputs[MLM_POSITIONS], tf.int32)
            logits = module.signatures[_MLM](**feeds, mlm_positions=positions)["mlm_logits"].numpy()
            results["mlm_logits"] = logits.reshape(*positions.shape, logits.shape[-1])
        return results

    return run
