"""Small random models of every kind that the table of names has rows for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from albert_model.config import AlbertConfig
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights import tf1_checkpoint
from albert_model.weights.model import Model
from albert_model.weights.names import ROLES, Role, parameters

ENCODER: tuple[Role, ...] = ("encoder", "pooler")
WORD_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *"0123456789")
# No two of embedding, hidden and intermediate size are the same, so that a transposition shows in shapes; 16 and 32
# heads are both possible.
ALBERT = AlbertConfig(
    vocab_size=120,
    embedding_size=24,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=16,
    intermediate_size=96,
    max_position_embeddings=20,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.2,
)


def changed(**sizes) -> AlbertConfig:
    return AlbertConfig.from_values(ALBERT.model_dump() | sizes, "a test")


BERT = changed(architecture="bert", embedding_size=64, num_hidden_groups=2)
CONFIGS = {
    "albert": ALBERT,
    "groups and inner layers": changed(num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2),
    "albert without a projection": changed(embedding_size=64),
    "bert": BERT,
    "factorised bert": changed(architecture="bert", num_hidden_groups=2),
}


def word_pieces(count: int) -> Vocabulary:
    """A WordPiece vocabulary of `count` pieces."""
    more = [f"##{letter}{number}" for number in range(count) for letter in "xyz"]
    pieces = [*WORD_PIECES, *more][:count]
    return Vocabulary(("\n".join(pieces) + "\n").encode(), "vocab.txt")


def random_weights(config: AlbertConfig, seed: int = 0, parts: Sequence[Role] = ROLES) -> dict[str, np.ndarray]:
    """Weights under which attention is uneven and activations reach where the two gelus differ."""
    rng = np.random.default_rng(seed)
    return {row.name: _random(rng, row.name, row.shape) for row in parameters(config) if row.role in parts}


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.standard_normal(shape, np.float32) * np.float32(0.2)
    return values + np.float32(1) if name.endswith("gamma") else values


def random_model(config: AlbertConfig = ALBERT, seed: int = 0, parts: Sequence[Role] = ROLES) -> Model:
    return Model(config, random_weights(config, seed, parts), word_pieces(config.vocab_size))


def write_checkpoint(folder: Path, model: Model) -> Path:
    """A folder as Google's archives hold it."""
    folder.mkdir(parents=True)
    kind = model.config.architecture
    (folder / tf1_checkpoint.CONFIG_FILE[kind]).write_text(model.config.to_json())
    if model.vocabulary:
        model.vocabulary.write(folder)
    tf1_checkpoint.write(folder / tf1_checkpoint.FILE_PREFIX[kind], model.weights, model.config)
    return folder


def assert_same(read: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """To the bit."""
    assert read.keys() == expected.keys()
    assert [name for name in expected if not np.array_equal(read[name], expected[name])] == []


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """Within a tolerance of the largest value, or of 1 if all are smaller."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())
