"""A model as a folder of its own: `config.json`, `vocab/`, `tf2_model_full.h5`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from albert_model.config import AlbertConfig
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.text.tokenizer import Tokenizer, read_vocabulary, write_vocabulary
from albert_model.weights import keras_h5, network
from albert_model.weights.names import Weights

CONFIG = "config.json"
VOCABULARY = "vocab"
FULL_WEIGHTS = "tf2_model_full.h5"


@dataclass(frozen=True)
class Package:
    """All that a model is."""

    config: AlbertConfig
    tokenizer: Tokenizer
    weights: Weights

    def network(self) -> AlbertPretrainer:
        """The live network with these weights."""
        made = AlbertPretrainer(self.config)
        network.assign(made, self.weights, "package")
        return made


def write(folder: str | Path, package: Package) -> None:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(package.config.to_json())
    write_vocabulary(folder / VOCABULARY, package.tokenizer)
    keras_h5.write(folder / FULL_WEIGHTS, package.weights, package.config, full=True)


def read(folder: str | Path) -> Package:
    """Reads what `write` wrote.

    Raises:
      InputError: a file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    config = AlbertConfig.from_file(folder / CONFIG)
    weights = keras_h5.read_full(folder / FULL_WEIGHTS, config)
    return Package(config, read_vocabulary(folder / VOCABULARY), weights)
