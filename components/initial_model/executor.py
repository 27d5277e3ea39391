"""Chooses the model that training starts from."""

from __future__ import annotations

import logging
from pathlib import Path

from tfx import types

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.weights import package
from components import manifests
from components.model_layout import package_folder, serving_folder

_log = logging.getLogger("albert.start")
RANDOM = "random"
BLESSED = "blessed model"


def choose(output: types.Artifact, blessed_model: types.Artifact | None, model_config: str) -> None:
    """Writes the package to start from, if there is one, and a manifest that says where it is from.

    Raises:
      InputError: the blessed model is another network than the config's.
    """
    Path(serving_folder(output.uri)).mkdir(parents=True)
    if blessed_model is None:
        _log.info("starting from random weights: no blessed model yet")
        manifests.write(output, {"source": RANDOM})
        return
    start = package.read(package_folder(blessed_model.uri))
    _check_same_network(start.config, AlbertConfig.model_validate_json(model_config), blessed_model.uri)
    package.write(package_folder(output.uri), start)
    _log.info("starting from the blessed model %s", blessed_model.uri)
    manifests.write(
        output,
        {"source": BLESSED, "model_uri": blessed_model.uri, "tokenizer_fingerprint": start.tokenizer.fingerprint},
    )


def _check_same_network(blessed: AlbertConfig, wanted: AlbertConfig, uri: str) -> None:
    """What the weights were made for must be the same; dropout and the like may change."""
    old, new = blessed.network(), wanted.network()
    different = [f"{key} {old[key]} there, {new[key]} here" for key in old if old[key] != new[key]]
    if different:
        raise InputError(
            f"model: differs from the blessed model that training would start from, {uri}: {'; '.join(different)}. "
            "Use its config, or set start: random."
        )
