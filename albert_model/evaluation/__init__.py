"""What a model is worth: figures with intervals, and the rules by which it is blessed. Knows nothing of TFX."""
