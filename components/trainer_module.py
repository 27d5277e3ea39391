"""The Trainer's `run_fn`: wires files and settings to `albert_model.training`, and exports the model."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from albert_model.config import AlbertConfig
from albert_model.evaluation.measures import measure_text
from albert_model.network.pretrainer import AlbertPretrainer, score_examples
from albert_model.publishing.stores import store_of
from albert_model.text.characters import characters_of_pieces
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer
from albert_model.training.deferred_masks import DeferredMasks
from albert_model.training.input_pipeline import bins_of, length_of
from albert_model.training.loop import TrainingData, TrainingFolders, train
from albert_model.training.settings import TrainingSettings
from albert_model.training.strategies import is_chief, make_strategy
from albert_model.weights import extension, package, saved_model
from albert_model.weights.model import Model
from albert_model.weights.package import VOCABULARY
from components import manifests
from components.initial_model.executor import RANDOM
from components.model_layout import package_in_serving
from components.remote import folders_here, read_package, read_vocabulary
from components.sharding import split_files

_log = logging.getLogger("albert.training")
EVALUATE_SIGNATURE = "evaluate"
_CONFIG = ("checkpoint_root", "model_config", "settings")
_SECONDS_BETWEEN_LOOKS = 1.0
# What a model remembers of the manifest of its examples.
_EXAMPLES_KEPT = (
    "uri",
    "documents",
    "documents_uri",
    "documents_fingerprint",
    "train_examples",
    "train_records",
    "eval_examples",
    "tokens",
    "settings",
)


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports.

    `custom_config`: `model_config` (JSON of AlbertConfig), `settings` (JSON of TrainingSettings) and
    `checkpoint_root`, the folder under which the checkpoints of unfinished trainings are kept across restarts. It may
    say more, such as which machines to train on.
    """
    config = AlbertConfig.model_validate_json(fn_args.custom_config["model_config"])
    settings = TrainingSettings.model_validate_json(fn_args.custom_config["settings"])
    strategy = make_strategy(settings)  # before all else: several machines find each other first
    examples_uri = os.path.dirname(os.path.dirname(fn_args.train_files[0]))
    examples = manifests.read(examples_uri)
    tokenizer = read_vocabulary(os.path.join(examples_uri, VOCABULARY))
    initial, start = _initial_model(fn_args.base_model, tokenizer, config)

    transform = tft.TFTransformOutput(fn_args.transform_output)
    layer = transform.transform_features_layer()
    records = {length_of(name): count for name, count in examples["train_files"].items()}
    data = TrainingData(
        train_bins=bins_of(split_files(examples_uri, "train"), records),
        eval_files=split_files(examples_uri, "eval"),
        parse_train=_parser(transform, layer, _deferred_masks(examples, tokenizer, settings)),
        parse_eval=_parser(transform, layer),
    )
    checkpoints = os.path.join(fn_args.custom_config["checkpoint_root"], _training_id(fn_args))
    if is_chief(strategy):
        with folders_here() as here:  # so that a checkpoint can be converted
            package.write_around(here.of_output(checkpoints), Model(config, {}, tokenizer.vocabulary))
    folders = TrainingFolders(checkpoints, fn_args.model_run_dir)
    weights, figures = train(
        config, settings, data, initial and initial.weights, folders, strategy, start.get("fresh_heads", [])
    )
    if not is_chief(strategy):
        _wait_for_export(fn_args.serving_model_dir)
        return
    trained = Model(config, weights, tokenizer.vocabulary)
    with folders_here() as here:
        _export(str(here.of_output(fn_args.serving_model_dir)), trained, transform)
    _write_manifest(fn_args.serving_model_dir, start, examples | {"uri": examples_uri}, settings, figures)
    store_of(checkpoints).remove_tree(checkpoints)


def _initial_model(base_model: str, tokenizer: Tokenizer, config: AlbertConfig) -> tuple[Model | None, dict[str, Any]]:
    """The package to start from, if any, with a row for each piece, and InitialModel's manifest."""
    start = manifests.read(os.path.dirname(base_model))
    if start["source"] == RANDOM:
        return None, start
    return extension.extended(read_package(package_in_serving(base_model)), tokenizer, config), start


def _training_id(fn_args: FnArgs) -> str:
    """The same for a training that is started again with the same inputs and settings, on whichever machines."""
    inputs = [*fn_args.train_files, fn_args.base_model, fn_args.transform_output]
    text = json.dumps([inputs, {key: fn_args.custom_config[key] for key in _CONFIG}], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _parser(
    transform: tft.TFTransformOutput, layer: tf.Module, masks: DeferredMasks | None = None
) -> Callable[..., dict[str, tf.Tensor]]:
    """Serialised examples (and step and rows, where masks are drawn) → the model's inputs, by Transform's graph."""
    spec = transform.raw_feature_spec()

    def parse(serialized: tf.Tensor, *place: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(serialized, spec)
        return layer(features if masks is None else masks(features, *place))

    return parse


def _deferred_masks(examples: dict[str, Any], tokenizer: Tokenizer, settings: TrainingSettings) -> DeferredMasks | None:
    wanted = ExampleSettings.model_validate(examples["settings"])
    return DeferredMasks(tokenizer, wanted, settings.seed) if wanted.masking == "deferred" else None


def _export(folder: str, trained: Model, transform: tft.TFTransformOutput) -> None:
    """Writes the SavedModel (encoder and evaluation) and, beside its files, the package."""
    network = trained.network()
    with_package = package_in_serving(folder)
    package.write(with_package, trained)
    vocabulary = os.path.join(with_package, VOCABULARY, trained.vocabulary.file_name)
    module = _Evaluation(network, vocabulary, trained.tokenizer, transform)
    signatures = {
        "serving_default": saved_model.encoder_signature(module),
        EVALUATE_SIGNATURE: module.evaluate.get_concrete_function(tf.TensorSpec([None], tf.string, "examples")),
    }
    tf.saved_model.save(module, folder, signatures=signatures)


class _Evaluation(saved_model.EncoderModule):
    """The encoder, and the scores of examples through Transform's graph."""

    def __init__(
        self, network: AlbertPretrainer, vocabulary: str, tokenizer: Tokenizer, transform: tft.TFTransformOutput
    ):
        super().__init__(network, vocabulary)
        self.transform_layer = transform.transform_features_layer()
        parse = _parser(transform, self.transform_layer)
        characters_V, unknown_id = characters_of_pieces(tokenizer), tokenizer.unknown_id

        def scores(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            inputs = parse(examples)
            return score_examples(network(inputs), inputs) | measure_text(inputs, characters_V, unknown_id)

        self._scores = scores

    @tf.function
    def evaluate(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._scores(examples)


def _write_manifest(
    folder: str, start: dict[str, Any], examples: dict[str, Any], settings: TrainingSettings, figures: dict[str, float]
) -> None:
    manifest = {
        "start": start,
        "tokenizer_fingerprint": examples["tokenizer_fingerprint"],
        "examples": {key: examples[key] for key in _EXAMPLES_KEPT},
        "training": settings.model_dump(),
        "steps": figures["steps"],
        "project_version": importlib.metadata.version("albert-pipeline"),
        "last_interval": figures,
    }
    with tf.io.gfile.GFile(os.path.join(package_in_serving(folder), manifests.TRAINING), "w") as file:
        file.write(json.dumps(manifest, indent=2) + "\n")


def _wait_for_export(folder: str) -> None:
    """Until the chief has exported, as each machine's component ends by looking for the model."""
    while not tf.io.gfile.exists(os.path.join(package_in_serving(folder), manifests.TRAINING)):
        time.sleep(_SECONDS_BETWEEN_LOOKS)
