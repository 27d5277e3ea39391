"""Trains ALBERT a few steps whenever it is told to. `training.py` runs it, for each library in its environment.

python training_worker.py ours '{"config": …, "settings": …, "records": …, "steps": 3}'
python training_worker.py keras_hub '{"config": …, "batch": 8, "length": 128, "predictions": 20, "steps": 3}'

Once everything is compiled, and then for each line of the standard input, it prints figures as a line of JSON:
`tokens`, which of ours are those that are no padding, and the seconds that they took by the `clock` and of the
`processor`, all threads together. Ours is the loop that pipelines train with, which is stopped where it reports. The
others get random ids, as ours from `training.py`, and predict the same number of pieces, and the order. All use AdamW
with weight decay and gradients that are clipped by their global norm; each as its library has it.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RATE, _DECAY, _NORM = 1e-5, 0.01, 1.0


def main() -> None:
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    {"ours": ours, "keras_hub": keras_hub, "transformers": transformers, "matmuls": matmuls}[name](**arguments)


def take_turns(run: Callable[[], dict[str, float]]) -> None:
    """Runs once, so that everything is compiled, and then as often as there is a line to read."""
    run()
    going_on = answer({})
    while going_on:
        started = times()
        figures = run()
        going_on = answer(since(started) | figures)


def times() -> dict[str, float]:
    return {"clock": time.perf_counter(), "processor": time.process_time()}


def since(started: dict[str, float]) -> dict[str, float]:
    return {name: now - started[name] for name, now in times().items()}


def answer(figures: dict[str, float]) -> bool:
    """Prints figures and waits for its turn; false where there is none any more."""
    print(json.dumps(figures), flush=True)
    return bool(sys.stdin.readline())


# === Ours ===


def ours(config: dict[str, Any], settings: dict[str, Any], records: dict[str, Any], steps: int) -> None:
    """The training loop of this project.

    Args:
      config: fields of `AlbertConfig`.
      settings: fields of `TrainingSettings`.
      records: `files` to train on, `count` of their records, and `layout`, the fields of `Layout`.
      steps: in a turn.
    """
    from albert_model.config import AlbertConfig
    from albert_model.text.record_scan import Layout
    from albert_model.training import loop
    from albert_model.training.input_pipeline import Bin
    from albert_model.training.record_layouts import parser
    from albert_model.training.settings import TrainingSettings

    # One epoch after another until the input ends. Of random ids nothing can be learned, so that no loss is too high.
    recipe = {"optimizer": "adamw", "learning_rate": _RATE, "weight_decay": _DECAY, "clip_norm": _NORM}
    endless = {"epochs": 10**6, "checkpoint_every": 10**9, "log_every": steps, "max_loss_rise": 1e6}
    parse = parser(Layout(**records["layout"]))
    data = loop.TrainingData([Bin(tuple(records["files"]), records["count"])], (), parse, parse)
    with tempfile.TemporaryDirectory() as folder:
        log = logging.getLogger("albert.training")
        log.setLevel(logging.INFO)
        log.addHandler(Turns(Path(folder, "metrics.jsonl")))
        folders = loop.TrainingFolders(Path(folder, "checkpoints"), Path(folder))
        loop.train(AlbertConfig(**config), TrainingSettings(**recipe, **endless, **settings), data, None, folders)


class Turns(logging.Handler):
    """Stops the training loop where it logs figures, which is between two intervals that it measures itself."""

    def __init__(self, metrics: Path):
        super().__init__()
        self._metrics, self._reports, self._started = metrics, 0, times()

    def emit(self, record: logging.LogRecord) -> None:
        lines = self._metrics.read_text().splitlines() if self._metrics.exists() else []
        if len(lines) == self._reports:
            return  # it has logged something else
        self._reports, took = len(lines), since(self._started)
        tokens = json.loads(lines[-1])["tokens_per_second"] * took["clock"]
        if not answer(took | {"tokens": tokens} if self._reports > 1 else {}):
            raise SystemExit
        self._started = times()


# === Others ===


def keras_hub(config: dict[str, Any], batch: int, length: int, predictions: int, steps: int) -> None:
    """AlbertBackbone, the head of AlbertMaskedLM and one for the order, as Keras compiles and trains a model."""
    import keras
    import keras_hub as hub
    import numpy as np

    backbone = hub.models.AlbertBackbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        embedding_dim=config["embedding_size"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        max_sequence_length=config["max_position_embeddings"],
    )
    masked_lm = hub.models.AlbertMaskedLM(backbone)
    encoded = backbone(backbone.input)  # once for both heads: masked_lm.output is of a call of its own
    outputs = {
        "mlm": masked_lm.masked_lm_head(encoded["sequence_output"], masked_lm.input["mask_positions"]),
        "sop": keras.layers.Dense(2)(encoded["pooled_output"]),
    }
    model = keras.Model(masked_lm.input, outputs)
    model.compile(
        optimizer=keras.optimizers.AdamW(_RATE, weight_decay=_DECAY, global_clipnorm=_NORM),
        loss={name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in ("mlm", "sop")},
    )
    draw, pieces = np.random.default_rng(1).integers, (batch, length)
    inputs = {
        "token_ids": draw(5, config["vocab_size"], pieces),
        "segment_ids": draw(0, 2, pieces),
        "padding_mask": np.ones(pieces, int),
        "mask_positions": draw(0, length, (batch, predictions)),
    }
    labels = {"mlm": draw(5, config["vocab_size"], (batch, predictions)), "sop": draw(0, 2, batch)}

    def run() -> dict[str, float]:
        for _ in range(steps):
            model.train_on_batch(inputs, labels)
        return {"tokens": steps * batch * length}

    take_turns(run)


def transformers(config: dict[str, Any], batch: int, length: int, predictions: int, steps: int) -> None:
    """AlbertForPreTraining, which computes logits of all pieces; labels say which of them count."""
    import torch
    from transformers import AlbertConfig, AlbertForPreTraining

    names = ("vocab_size", "embedding_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    sizes = {name: config[name] for name in (*names, "num_attention_heads", "max_position_embeddings")}
    model = AlbertForPreTraining(AlbertConfig(**sizes, hidden_act="gelu_new")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    inputs = {
        "input_ids": torch.randint(5, config["vocab_size"], (batch, length)),
        "token_type_ids": torch.randint(0, 2, (batch, length)),
        "attention_mask": torch.ones(batch, length, dtype=torch.long),
        "labels": torch.full((batch, length), -100),  # which stands for none
        "sentence_order_label": torch.randint(0, 2, (batch,)),
    }
    inputs["labels"][:, :predictions] = inputs["input_ids"][:, :predictions]

    def run() -> dict[str, float]:
        for _ in range(steps):
            optimizer.zero_grad()
            model(**inputs).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _NORM)
            optimizer.step()
        return {"tokens": steps * batch * length}

    take_turns(run)


# === What the machine can do ===


def matmuls(
    config: dict[str, Any], batch: int, length: int, predictions: int, dtype: str, least_seconds: float
) -> None:
    """TensorFlow's products of a training step alone: each forward one, and the two that are its gradients.

    The seconds are those of all the products of a step, though those of one layer alone are run.
    """
    import tensorflow as tf

    steps = []
    for count, left, right in shapes(config, batch, length, predictions):
        a, b = (tf.cast(tf.random.normal(shape), dtype) for shape in (left, right))
        steps += [(count, product) for product in products(a, b)]

    def run() -> dict[str, float]:
        sums = Counter({"tokens": batch * length})
        for count, product in steps:
            for name, seconds in seconds_of(product, least_seconds).items():
                sums[name] += count * seconds
        return sums

    take_turns(run)


def seconds_of(product: Callable[[], Any], least_seconds: float) -> dict[str, float]:
    """Of one, from as many as take the least seconds of the processor."""
    count, started = 0, times()
    while (took := since(started))["processor"] < least_seconds:
        product()
        count += 1
    return {name: seconds / count for name, seconds in took.items()}


def shapes(config: dict[str, Any], batch: int, length: int, predictions: int) -> list[tuple]:
    """How often, and the shapes of the two factors; those that `speed.flops_per_token` counts."""
    hidden, inner, embedding = config["hidden_size"], config["intermediate_size"], config["embedding_size"]
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    rows, masked, head = batch * length, batch * predictions, hidden // heads
    return [
        (layers, (rows, hidden), (hidden, 3 * hidden)),  # query, key and value
        (layers, (batch * heads, length, head), (batch * heads, head, length)),  # scores
        (layers, (batch * heads, length, length), (batch * heads, length, head)),  # context
        (layers, (rows, hidden), (hidden, hidden)),
        (layers, (rows, hidden), (hidden, inner)),
        (layers, (rows, inner), (inner, hidden)),
        (1, (rows, embedding), (embedding, hidden)),
        (1, (masked, hidden), (hidden, embedding)),
        (1, (masked, embedding), (embedding, config["vocab_size"])),
    ]


def products(a, b) -> list[Callable[[], Any]]:
    """a·b, and what gradients take: y·bᵀ and aᵀ·y."""
    import tensorflow as tf

    y = tf.matmul(a, b)
    return [
        lambda: tf.matmul(a, b),
        lambda: tf.matmul(y, b, transpose_b=True),
        lambda: tf.matmul(a, y, transpose_a=True),
    ]


if __name__ == "__main__":
    main()
