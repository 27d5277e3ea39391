"""The recipe once more, in float64 numpy, written from its description."""

import numpy as np


def reference_step(weights, gradients, m, v, learning_rate, decay, clip):
    """LAMB of google-research/albert in float64.

    All arguments but the last three are dicts by parameter name; weights, m and v are updated.
    """
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    for name, gradient in gradients.items():
        gradient = gradient * min(1.0, clip / norm)
        m[name] = 0.9 * m[name] + 0.1 * gradient
        v[name] = 0.999 * v[name] + 0.001 * gradient**2
        update = m[name] / (np.sqrt(v[name]) + 1e-6)
        ratio = 1.0
        if "LayerNorm" not in name and "bias" not in name:
            update = update + decay * weights[name]
            ratio = np.linalg.norm(weights[name]) / np.linalg.norm(update)
        weights[name] = weights[name] - learning_rate * ratio * update
