import json
from pathlib import Path

import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.text.tokenizer import read_vocabulary
from albert_model.weights import package, tf1_checkpoint
from components import ParityReport, Tokenizer, manifests
from components.hub_converter.component import HubConverter
from components.model_layout import package_folder
from tests.albert_model.weights.small_models import random_model, write_checkpoint
from tests.components.local import run_components


def converted(root, source, options="{}"):
    component = HubConverter(source=str(source), options=options, files_fingerprint="")
    return run_components(root, [component])["HubConverter"].outputs


def test_the_model_the_vocabulary_and_the_proof_are_there(checkpoint, tmp_path):
    made, folder = checkpoint
    outputs = converted(tmp_path, folder)
    read = package.read(package_folder(outputs["model"].uri))
    taken = [name for name in made.weights if not name.startswith("cls/seq_relationship")]
    assert all((read.weights[name] == made.weights[name]).all() for name in taken)
    assert read.config == made.config
    manifest = manifests.read(outputs["model"].uri)
    assert manifest["initialised"] == ["sop"]
    fingerprint = made.tokenizer.fingerprint
    assert manifest["tokenizer_fingerprint"] == manifests.read(outputs["tokenizer"].uri)["fingerprint"] == fingerprint
    assert json.loads(Path(outputs["parity"].uri, "parity.json").read_text())["agrees"]
    assert (outputs["tokenizer"].type, outputs["parity"].type) == (Tokenizer.TYPE_NAME, ParityReport.TYPE_NAME)


def test_a_variable_that_is_not_read_fails_it(checkpoint, small_config, tmp_path):
    made, _ = checkpoint
    names = [*made.weights, "bert/encoder/adapter/kernel"]
    arrays = [*made.weights.values(), made.weights["bert/pooler/dense/bias"]]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(array) for array in arrays],
    )
    made.vocabulary.write(tmp_path)
    (tmp_path / "albert_config.json").write_text(small_config.to_json())
    with pytest.raises(InputError, match="bert/encoder/adapter/kernel is no parameter of this model"):
        converted(tmp_path / "root", tmp_path)


def test_a_source_without_a_vocabulary_fails_it(checkpoint, small_config, tmp_path):
    made, _ = checkpoint
    tf1_checkpoint.write(tmp_path / "model.ckpt", made.weights, small_config)
    (tmp_path / "albert_config.json").write_text(small_config.to_json())
    with pytest.raises(InputError, match=r"has no vocabulary. Put its file"):
        converted(tmp_path / "root", tmp_path)


def test_a_wordpiece_vocabulary_is_one_to_train_with(tmp_path):
    made = random_model()
    outputs = converted(tmp_path / "root", write_checkpoint(tmp_path / "source", made))
    tokenizer = read_vocabulary(outputs["tokenizer"].uri)
    assert (tokenizer.vocabulary.kind, tokenizer.pieces) == ("wordpiece", made.vocabulary.pieces)
    assert manifests.read(outputs["model"].uri)["tokenizer_fingerprint"] == tokenizer.fingerprint
