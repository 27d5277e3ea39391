"""Chooses the model that training starts from."""

from __future__ import annotations

import logging

import tensorflow as tf
from tfx import types

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from components import manifests
from components.model_layout import holds_model, origin_of, package_folder, serving_folder
from components.remote import read_package, write_package

_log = logging.getLogger("albert.start")
RANDOM = "random"
BLESSED = "blessed model"
CONVERTED = "converted model"


def choose(
    output: types.Artifact,
    blessed_model: types.Artifact | None,
    converted_model: types.Artifact | None,
    model_config: str,
    extend_vocabulary: bool = False,
) -> None:
    """Writes the package to start from, if there is one, and a manifest that says where it is from.

    Raises:
      InputError: the model to start from is another network than the config's.
    """
    tf.io.gfile.makedirs(serving_folder(output.uri))
    chosen = blessed_model if holds_model(blessed_model) else converted_model
    if chosen is None:
        _log.info("starting from random weights: no blessed model yet")
        manifests.write(output, {"source": RANDOM})
        return
    source = BLESSED if chosen is blessed_model else CONVERTED
    start = read_package(package_folder(chosen.uri))
    _check_same_network(
        start.config, AlbertConfig.model_validate_json(model_config), source, chosen.uri, extend_vocabulary
    )
    write_package(package_folder(output.uri), start)
    origin = origin_of(chosen.uri)
    _log.info("starting from the %s %s", source, origin)
    facts = {"source": source, "model_uri": origin, "tokenizer_fingerprint": start.tokenizer.fingerprint}
    fresh = [] if source == BLESSED else manifests.read(chosen.uri)["initialised"]
    manifests.write(output, facts | {"fresh_heads": fresh})


def _check_same_network(start: AlbertConfig, wanted: AlbertConfig, source: str, uri: str, extend: bool) -> None:
    """What the weights were made for must be the same; dropout and the like may change."""
    old, new = start.network(), wanted.network()
    different = {key for key in old if old[key] != new[key]}
    grows = old["vocab_size"] < new["vocab_size"]
    if extend and grows:
        different -= {"vocab_size"}
    if different:
        said = "; ".join(f"{key} {old[key]} there, {new[key]} here" for key in old if key in different)
        raise InputError(
            f"model: differs from the {source} that training would start from, {uri}: {said}. Use its config, or set "
            + ("tokenizer.extend: true." if different == {"vocab_size"} and grows else "start: random.")
        )
