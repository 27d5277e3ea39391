"""Training: ALBERT's optimizer and schedule, input, checkpoints, and the loop, on tf.distribute."""
