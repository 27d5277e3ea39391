import json

import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import fresh_process, package
from albert_model.weights import network as network_weights
from albert_model.weights.model import Model
from tests.albert_model.weights.small_models import ALBERT, BERT, assert_same, random_model
from tests.forks import Fork


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
    package.write_manifest(tmp_path, {"lineage": {"source": "a test"}})
    return tmp_path


def test_a_true_manifest_passes(published):
    assert set(json.loads((published / "manifest.json").read_text())["files"]) == {
        *("MODEL_CARD.md", "config.json", "tf2_model_full.h5"),
        *("vocab/spm.model", "vocab/spm.vocab", "vocab/tokenizer_config.json"),
    }
    package.check_files(published)


def test_a_manifest_of_the_first_format_is_read(published):
    """It has no digest of itself."""
    files = package.file_digests(published)
    (published / "manifest.json").write_text(json.dumps({"format_version": 1, "files": files}))
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
        (json.dumps({"files": {"/etc/passwd": ""}, "format_version": 1}), "names files outside of its folder"),
        (json.dumps({"files": {}, "format_version": 2}), "was changed since it was written"),
    ],
)
def test_a_manifest_that_says_nothing_is_refused(published, content, message):
    (published / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=f"manifest.json: {message}"):
        package.check_files(published)


def write_encoder(folder, networks_before):
    """Writes the package in a process that made some networks and functions before."""
    for seed in range(networks_before):
        tf.function(lambda x: x + 1)(tf.constant(seed))
        random_model(ALBERT, seed).network()
    package.write_encoder(folder, random_model(ALBERT))
    package.write_manifest(folder, {})


def test_an_encoder_package_has_the_same_bytes_from_every_process(tmp_path):
    forks = [Fork(write_encoder, tmp_path / str(count), count) for count in (0, 2)]
    for fork in forks:
        done = fork.done()
        assert done.returncode == 0, done.stderr
    files = package.file_digests(tmp_path / "0")
    assert {name.partition("/")[0] for name in files} == {
        *("config.json", "vocab", "tf2_model.h5", "tf2_model_full.h5", "saved_model", "huggingface"),
    }
    assert package.file_digests(tmp_path / "2") == files
    assert (tmp_path / "2" / "manifest.json").read_bytes() == (tmp_path / "0" / "manifest.json").read_bytes()


def test_a_saved_model_that_cannot_be_written_is_an_error(tmp_path):
    """With what the process that writes it said."""
    package.write(tmp_path, random_model(ALBERT))
    (tmp_path / "tf2_model_full.h5").unlink()
    with pytest.raises(RuntimeError, match=r"(?s)saved_model: the process .* ended with code 1.*tf2_model_full\.h5"):
        fresh_process.write_saved_model(tmp_path, tmp_path / "saved_model")
