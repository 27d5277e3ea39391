"""Learning rate as a function of the step."""

from __future__ import annotations

import tensorflow as tf


def warmup_then_decay(step: tf.Tensor, peak: float, warmup_steps: int, total_steps: int) -> tf.Tensor:
    """Linear from 0 to `peak` over the warm-up, then linear to 0 at `total_steps` (ALBERT's `polynomial`, power 1).

    As in google-research/albert the decay counts from step 0, so the rate drops a little where the warm-up ends.

    Args:
      step: int scalar, steps already taken.
      peak: the highest rate.
      warmup_steps: 0 for none.
      total_steps: where the rate reaches 0.

    Returns:
      float32 scalar.
    """
    step = tf.cast(step, tf.float32)
    decayed = peak * tf.maximum(0.0, 1.0 - step / float(total_steps))
    if warmup_steps == 0:
        return decayed
    return tf.where(step < warmup_steps, peak * step / float(warmup_steps), decayed)
