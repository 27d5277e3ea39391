"""TF2 object checkpoints: this project's own, those that training leaves, and the ones inside of SavedModels.

A checkpoint of this project has the network as `model` (without heads: its encoder as `encoder`), and the variables by
canonical name as `weights`:

    tf.train.Checkpoint(model=AlbertPretrainer(config)).read(prefix)

restores it, and this module reads it without a network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import keras
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import trackable_object_graph_pb2

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import network as network_weights
from albert_model.weights import tf1_checkpoint
from albert_model.weights.names import HEADS, ROLES, Place, Role, Weights
from albert_model.weights.tensors import Stored, match

FILE_PREFIX = "albert_model.ckpt"
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Keys of what is not among the weights: an optimizer's slots, the step, the state of dropout.
_BESIDE_WEIGHTS = re.compile(r"/\.ATTRIBUTES/")
WEIGHTS = "weights"  # the attribute that holds the variables by canonical name


def write(prefix: str | Path, network: AlbertPretrainer, parts: Iterable[Role] = ROLES) -> None:
    """Writes `prefix.index` and `prefix.data-00000-of-00001` with some parts of a network."""
    root = {"model": network} if set(HEADS) <= set(parts) else {"encoder": network.encoder}
    tf.train.Checkpoint(**root, weights=by_name(network, parts)).write(str(prefix))


def by_name(network: AlbertPretrainer, parts: Iterable[Role] = ROLES) -> dict[str, keras.Variable]:
    """The network's variables by canonical name."""
    wanted = set(parts)
    return {row.name: variable for row, variable in network_weights.variables(network) if row.role in wanted}


def open_stored(prefix: str | Path) -> Stored:
    """The variables of an object checkpoint: those below `weights` by their canonical names, others by their keys; or
    else all by the names that they had when they were made, or by their keys where these do not tell them apart.

    Raises:
      InputError: not such a checkpoint, or a file of it is missing or damaged.
    """
    stored = tf1_checkpoint.open_stored(prefix)
    if GRAPH not in stored.shapes:
        raise InputError(f"{prefix}: is no TF2 object checkpoint.")
    keys = _keys(bytes(stored.read(GRAPH)), str(prefix))
    there = {name: key for name, key in keys.items() if key in stored.shapes}
    shapes = {name: stored.shapes[key] for name, key in there.items()}
    return Stored(stored.source, shapes, lambda name: stored.read(there[name]))


def _keys(serialized: bytes, source: str) -> dict[str, str]:
    """Names to the keys under which the checkpoint holds them."""
    try:
        nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized).nodes
        own = next((child.node_id for child in nodes[0].children if child.local_name == WEIGHTS), None)
        keys = {a.checkpoint_key: a.full_name for node in nodes for a in node.attributes}
        if own is not None:
            named = {
                child.local_name: attribute.checkpoint_key
                for child in nodes[own].children
                for attribute in nodes[child.node_id].attributes
            }
            return named | {key: key for key in keys.keys() - set(named.values())}
        times = Counter(keys.values())
        return {name if name and times[name] == 1 else key: key for key, name in keys.items()}
    except (DecodeError, IndexError) as error:
        raise InputError(f"{source}: its object graph cannot be read ({error}).") from error


def read(stored: Stored, config: AlbertConfig) -> tuple[Weights, tuple[str, ...]]:
    """The weights of one of this project's own checkpoints, whose arrays are as Keras holds them."""
    return match(stored, config, lambda row: Place(row.name, row.keras.transposed, row.keras.shape), _BESIDE_WEIGHTS)
