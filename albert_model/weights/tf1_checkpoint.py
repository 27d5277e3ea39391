"""TF1 checkpoints with the names of google-research/albert and google-research/bert."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from albert_model.config import PUBLISHED_SIZES, AlbertConfig, Architecture
from albert_model.errors import InputError
from albert_model.weights.names import WORD_EMBEDDINGS, Weights, parameters
from albert_model.weights.tensors import Stored, match, renamed

# What google-research's own tarballs call them.
FILE_PREFIX = {"albert": "model.ckpt-best", "bert": "bert_model.ckpt"}
CONFIG_FILE = {"albert": "albert_config.json", "bert": "bert_config.json"}
_SHARD = re.compile(r"\.data-(\d{5})-of-(\d{5})$")
_NAMED = re.compile(r'^model_checkpoint_path: "([^"]+)"', re.M)
_LAYER = re.compile(r"bert/encoder/layer_(\d+)/")
_GROUP = re.compile(r"bert/encoder/transformer/group_(\d+)/inner_group_(\d+)/")
_DAMAGE = (tf.errors.OpError, ValueError, RuntimeError, IndexError)  # what the reader raises, the last where data end
_KERAS_NORM = re.compile(r"(.*/)layer_normalization(?:_(\d+))?/(gamma|beta)$")


def find(folder: str | Path) -> Path:
    """The prefix of the checkpoint in a folder: the one that its `checkpoint` file names, or the only one.

    Raises:
      InputError: there is none, or there are several and no file says which.
    """
    folder = Path(folder)
    state = folder / "checkpoint"
    if state.is_file() and (found := _NAMED.search(state.read_text(errors="replace"))):
        named = folder / Path(found[1]).name  # the path may be absolute and from another machine
        if named.with_name(named.name + ".index").is_file():
            return named
        raise InputError(f"{state}: names {found[1]}, and there is no {named.name}.index beside it.")
    prefixes = sorted(path.with_suffix("") for path in folder.glob("*.index"))
    if len(prefixes) != 1:
        names = ", ".join(prefix.name for prefix in prefixes) or "none"
        raise InputError(
            f"{folder}: should hold one checkpoint (*.index), holds {names}. Give the path of one of them."
        )
    return prefixes[0]


def open_stored(prefix: str | Path) -> Stored:
    """The variables of a checkpoint, TF1 or TF2, under the names that they have there.

    Raises:
      InputError: a file of it is missing or damaged; names the file.
    """
    prefix = Path(prefix)
    _check_shards(prefix)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    except _DAMAGE as error:
        raise InputError(f"{prefix}.index: not a checkpoint that can be read ({_reason(error)}).") from error

    def read(name: str) -> np.ndarray:
        try:
            return reader.get_tensor(name)
        except _DAMAGE as error:
            raise InputError(
                f"{prefix}: variable {name} cannot be read ({_reason(error)}). The checkpoint is truncated or "
                "damaged; fetch it again."
            ) from error

    return Stored(str(prefix), shapes, read)


def _reason(error: Exception) -> str:
    message = getattr(error, "message", None) or str(error)
    return message.splitlines()[0] if message else type(error).__name__


def _check_shards(prefix: Path) -> None:
    if not prefix.with_name(prefix.name + ".index").is_file():
        raise InputError(f"{prefix}.index: there is no such file. Give the path of a checkpoint without its .index.")
    shards = {
        match_[1]: match_[2]
        for path in prefix.parent.glob(f"{prefix.name}.data-*")
        if (match_ := _SHARD.search(path.name))
    }
    count = int(next(iter(shards.values()), "1"))
    for number in range(count):
        if f"{number:05d}" not in shards:
            raise InputError(f"{prefix}.data-{number:05d}-of-{count:05d}: this part of the checkpoint is missing.")


def plain_names(stored: Stored) -> Stored:
    """Without the scope that hub modules add, and with Google's names of norms that TF2 code named by itself."""
    stored = renamed(stored, lambda name: name.removeprefix("module/"))
    norms = dict(_google_norms(stored.shapes))
    return renamed(stored, lambda name: norms.get(name, name))


def _google_norms(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`layer_normalization`, `layer_normalization_7`, … → LayerNorm, LayerNorm_1: numbered within their scope."""
    scopes: dict[str, set[int]] = {}
    for name in names:
        if found := _KERAS_NORM.match(name):
            scopes.setdefault(found[1], set()).add(int(found[2] or 0))
    for name in names:
        if found := _KERAS_NORM.match(name):
            place = sorted(scopes[found[1]]).index(int(found[2] or 0))
            yield name, f"{found[1]}LayerNorm{f'_{place}' if place else ''}/{found[3]}"


def architecture(stored: Stored) -> Architecture:
    """BERT or ALBERT, by how the layers are named.

    Raises:
      InputError: neither.
    """
    if WORD_EMBEDDINGS in stored.shapes:
        if any(_LAYER.match(name) for name in stored.shapes):
            return "bert"
        if any(_GROUP.match(name) for name in stored.shapes):
            return "albert"
    some = ", ".join(sorted(stored.shapes)[:3])
    raise InputError(f"{stored.source}: holds no ALBERT and no BERT (it has {some}, …).")


def deduce_config(stored: Stored, version: int = 2) -> AlbertConfig:
    """The config that shapes allow to be known, for files that come without one.

    Layers and heads of an ALBERT leave no trace in shapes: they are taken from the released model of its sizes. A
    BERT's heads are taken to be 64 wide.

    Raises:
      InputError: no released model has these sizes.
    """
    kind = architecture(stored)
    shapes = stored.shapes
    vocab_size, embedding_size = shapes[WORD_EMBEDDINGS]
    sizes = {"vocab_size": vocab_size, "embedding_size": embedding_size}
    sizes["max_position_embeddings"] = shapes.get("bert/embeddings/position_embeddings", (0,))[0]
    sizes["type_vocab_size"] = shapes.get("bert/embeddings/token_type_embeddings", (0,))[0]
    if kind == "bert":
        hidden, intermediate = shapes.get("bert/encoder/layer_0/intermediate/dense/kernel", (0, 0))
        if hidden % 64:
            raise InputError(f"{stored.source}: has no config that tells its number of heads. Give it with --config.")
        layers = 1 + max(int(found[1]) for name in shapes if (found := _LAYER.match(name)))
        sizes |= {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
        values = sizes | {"architecture": kind, "num_attention_heads": hidden // 64}
        return AlbertConfig.from_values(values, stored.source)
    layer = "bert/encoder/transformer/group_0/inner_group_0/ffn_1/intermediate/dense/kernel"
    hidden, intermediate = shapes.get(layer, (0, 0))
    sizes |= {"hidden_size": hidden, "intermediate_size": intermediate}
    return published_config(sizes, version, stored.source)


def published_config(sizes: dict[str, int], version: int, source: str) -> AlbertConfig:
    """The released config that has these sizes.

    Raises:
      InputError: there is none.
    """
    for size in PUBLISHED_SIZES:
        config = AlbertConfig.published(size, version)
        if config.model_dump(include=set(sizes)) == sizes:
            return config
    text = ", ".join(f"{key} {value}" for key, value in sizes.items())
    raise InputError(
        f"{source}: has no config, and no released model has its sizes ({text}). Give its albert_config.json with "
        "--config."
    )


def read(stored: Stored, config: AlbertConfig) -> tuple[Weights, tuple[str, ...]]:
    """The weights among a checkpoint's variables, and the names of those left out.

    Args:
      stored: of `plain_names`.
      config: its sizes.
    """
    return match(stored, config, lambda row: row.tf1)


def write(prefix: str | Path, weights: Weights, config: AlbertConfig) -> None:
    """Writes `prefix.index` and `prefix.data-00000-of-00001`, which TF1 and TF2 both read."""
    rows = [row for row in parameters(config) if row.name in weights]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[row.tf1.name for row in rows],
        shape_and_slices=[""] * len(rows),
        tensors=[tf.constant(row.tf1.put(weights[row.name])) for row in rows],
    )
