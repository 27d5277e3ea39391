import json

import pytest

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import network as network_weights
from albert_model.weights import package
from albert_model.weights.model import Model
from tests.albert_model.weights.small_models import BERT, assert_same, random_model


@pytest.fixture(scope="module")
def written(small_config, tokenizer, tmp_path_factory):
    """A package and where it was written."""
    weights = network_weights.read(AlbertPretrainer(small_config, seed=5))
    made = Model(small_config, weights, tokenizer.vocabulary)
    folder = tmp_path_factory.mktemp("package")
    package.write(folder, made)
    return made, folder


def test_round_trip(written):
    made, folder = written
    read = package.read(folder)
    assert (read.config, read.tokenizer.fingerprint) == (made.config, made.tokenizer.fingerprint)
    assert_same(read.weights, made.weights)


def test_a_bert_is_read_as_one(tmp_path):
    made = random_model(BERT)
    package.write(tmp_path, made)
    read = package.read(tmp_path)
    assert (read.config, read.vocabulary) == (BERT, made.vocabulary)
    assert_same(read.weights, made.weights)


@pytest.mark.parametrize("name", ["config.json", "vocab/spm.model", "tf2_model_full.h5"])
def test_a_missing_file_is_named(written, tmp_path, name):
    package.write(tmp_path, written[0])
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=str(tmp_path)):
        package.read(tmp_path)


@pytest.fixture
def published(written, tmp_path):
    """A package with a true manifest."""
    package.write(tmp_path, written[0])
    (tmp_path / "MODEL_CARD.md").write_text("A model.")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": package.file_digests(tmp_path)}))
    return tmp_path


def test_a_true_manifest_passes(published):
    assert set(json.loads((published / "manifest.json").read_text())["files"]) == {
        *("MODEL_CARD.md", "config.json", "tf2_model_full.h5"),
        *("vocab/spm.model", "vocab/spm.vocab", "vocab/tokenizer_config.json"),
    }
    package.check_files(published)


def test_every_file_that_is_missing_or_changed_is_named(published):
    (published / "vocab" / "spm.vocab").unlink()
    with (published / "MODEL_CARD.md").open("a") as file:
        file.write("!")
    with pytest.raises(InputError) as raised:
        package.check_files(published)
    problems = "vocab/spm.vocab is missing; MODEL_CARD.md was changed"
    assert str(raised.value) == f"{published}: not as its manifest.json says: {problems}. Fetch it again."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "does not say which files there are"),
        (json.dumps({"files": ["config.json"]}), "does not say which files there are"),
        ("{", "not JSON"),
        ("[]", "should hold a JSON object"),
    ],
)
def test_a_manifest_that_says_nothing_is_refused(published, content, message):
    (published / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=f"manifest.json: {message}"):
        package.check_files(published)
