"""Sums over held-out examples, under many reweightings of their documents, and the figures that they come to.

Intervals are those of the Poisson bootstrap: each document is counted as often as a Poisson draw of mean 1 says, anew
in each replicate. The draws are a function of the document's id, so two models that are scored in different
processes, or on examples of different tokenizers, see the same resampled documents, and the interval of their
difference is that of paired scores. Documents and not examples are drawn, as examples of one document are alike.
Source: Chamandy, Muralidharan, Najmi, Naidu: Estimating Uncertainty for Massive Data Streams, Google, 2012.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from albert_model.text import draws

# What is summed: of each example, the outputs of `score_examples` and of `measure_text`.
SUMS = (
    *("mlm_loss", "mlm_predictions", "mlm_hits", "mlm_characters", "sop_loss", "sop_predictions", "sop_hits"),
    *("tokens", "slots", "unknown_pieces"),
)
REPLICATES = 400
_SEED = 20
_MOST = 12  # a Poisson draw of mean 1 is greater once in 6e10 draws


@dataclass(frozen=True)
class Scores:
    """What a model scored on a text.

    Attributes:
      sums: float64 [1 + R, len(SUMS)]; row 0 as it is, the others each with other counts of the documents.
      documents, examples: how many there were.
    """

    sums: np.ndarray
    documents: int
    examples: int

    @staticmethod
    def none() -> Scores:
        """Of no example."""
        return Scores(np.zeros((1 + REPLICATES, len(SUMS))), 0, 0)


@dataclass(frozen=True)
class Interval:
    """A figure and its two-sided bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(replicates: np.ndarray, confidence: float) -> Interval | None:
        """From the figure itself and R replicates of it, [1 + R]; None where there is nothing to measure."""
        if not math.isfinite(replicates[0]):
            return None
        others = replicates[1:][np.isfinite(replicates[1:])]
        if not len(others):
            return None
        tail = (1 - confidence) / 2
        low, high = np.quantile(others, [tail, 1 - tail])
        return Interval(float(replicates[0]), float(low), float(high))


def document_weights(document_ids: Sequence[str]) -> np.ndarray:
    """float64 [D, 1 + R]: how often each document is counted; column 0 is 1.

    Args:
      document_ids: 128 bits in hex each.
    """
    keys = draws.document_keys(_SEED, document_ids)
    bits = draws.draw(keys[:, None], np.arange(REPLICATES)) >> np.uint64(11)  # 53 bits, exact as float64
    drawn = np.searchsorted(_POISSON, bits.astype(np.float64) / 2**53, side="right")
    return np.concatenate([np.ones((len(keys), 1)), drawn], axis=1)


_POISSON = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(_MOST)])


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of each row of `Scores.sums`: float64 [1 + R] each, NaN where there is nothing to measure.

    `mlm_accuracy`, `mlm_loss` (nats a prediction), `perplexity`, `sop_accuracy`, `sop_loss`, `bits_per_character`
    (of the text that is predicted; white space is no character), `padding_share` (of all positions),
    `unknown_share` (of all pieces).
    """
    of = dict(zip(SUMS, sums.T, strict=True))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mlm_loss = of["mlm_loss"] / of["mlm_predictions"]
        return {
            "mlm_accuracy": of["mlm_hits"] / of["mlm_predictions"],
            "mlm_loss": mlm_loss,
            "perplexity": np.exp(mlm_loss),
            "sop_accuracy": of["sop_hits"] / of["sop_predictions"],
            "sop_loss": of["sop_loss"] / of["sop_predictions"],
            "bits_per_character": of["mlm_loss"] / math.log(2) / of["mlm_characters"],
            "padding_share": 1 - of["tokens"] / of["slots"],
            "unknown_share": of["unknown_pieces"] / of["tokens"],
        }


def intervals(scores: Scores, confidence: float) -> dict[str, Interval | None]:
    """Each figure with its interval."""
    return {name: Interval.of(values, confidence) for name, values in figures(scores.sums).items()}


def differences(candidate: Scores, baseline: Scores, confidence: float) -> dict[str, Interval | None]:
    """Candidate − baseline, of each figure, with the interval of the paired difference."""
    ours, theirs = figures(candidate.sums), figures(baseline.sums)
    return {name: Interval.of(ours[name] - theirs[name], confidence) for name in ours}


def row_of(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """float64 [len(SUMS)] of one example's outputs."""
    return np.array([np.sum(outputs[name], dtype=np.float64) for name in SUMS])
