"""Transform's `preprocessing_fn`: compact records to the model's inputs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from albert_model.training.compact_inputs import compact_inputs


def preprocessing_fn(inputs: dict[str, tf.SparseTensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Pads to static shapes; see `compact_inputs`.

    Args:
      inputs: the features of `albert_model.text.examples`, as sparse tensors.
      custom_config: `max_seq_length`, `max_predictions` and `examples_per_row`.
    """
    return compact_inputs(
        inputs, custom_config["max_seq_length"], custom_config["max_predictions"], custom_config["examples_per_row"]
    )
