import hashlib
import shutil
import tarfile

import numpy as np
import pytest

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights import huggingface, keras_h5, package, saved_model, source, tf2_checkpoint
from albert_model.weights import network as network_weights
from albert_model.weights.settings import ReadOptions
from tests.albert_model.weights.small_models import (
    ALBERT,
    BERT,
    assert_same,
    changed,
    random_model,
    word_pieces,
    write_checkpoint,
)

MODEL = random_model()


def write_tf2_checkpoint(folder, network):
    package.write_around(folder, MODEL)
    tf2_checkpoint.write(folder / "model.ckpt", network)


def write_saved_model(folder, network):
    saved_model.write(folder, network, MODEL.vocabulary.write(folder.parent / "scratch"))


def write_package(folder, _network):
    package.write_encoder(folder, MODEL)
    package.write_manifest(folder, {})


def write_keras_h5(folder, _network):
    package.write_around(folder, MODEL)
    keras_h5.write(folder / "tf2_model.h5", MODEL.weights, ALBERT, full=False)
    keras_h5.write(folder / "tf2_model_full.h5", MODEL.weights, ALBERT, full=True)


WRITERS = {
    "tf1_checkpoint": lambda folder, _: write_checkpoint(folder, MODEL),
    "tf2_checkpoint": write_tf2_checkpoint,
    "saved_model": write_saved_model,
    "keras_h5": write_keras_h5,
    "huggingface": lambda folder, _: huggingface.write(folder, MODEL.weights, ALBERT, MODEL.vocabulary),
    "package": write_package,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a folder for each format."""
    root = tmp_path_factory.mktemp("formats")
    network = MODEL.network()
    for name, write in WRITERS.items():
        write(root / name, network)
    return root


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "albert", MODEL)


def read(path, **options):
    """What was opened; every weight could be read."""
    with source.opened(str(path), ReadOptions(**options)) as opened:
        assert all(array.size for array in opened.model.weights.values())
        return opened


# === Formats ===


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_known_by_its_folder(written, name):
    with source.opened(str(written / name)) as opened:
        assert (opened.format, opened.name, opened.model.source) == (name, str(written / name), str(written / name))
        assert opened.model.config == ALBERT
        assert opened.model.vocabulary == MODEL.vocabulary
        assert opened.model.roles == ("encoder", "pooler", "mlm", "sop")
        assert_same(opened.model.weights, MODEL.weights)


@pytest.mark.parametrize(
    ("path", "name", "roles"),
    [
        ("keras_h5/tf2_model.h5", "keras_h5", ("encoder", "pooler")),
        ("keras_h5/tf2_model_full.h5", "keras_h5", ("encoder", "pooler", "mlm", "sop")),
        ("tf1_checkpoint/model.ckpt-best", "tf1_checkpoint", ("encoder", "pooler", "mlm", "sop")),
        ("tf1_checkpoint/model.ckpt-best.index", "tf1_checkpoint", ("encoder", "pooler", "mlm", "sop")),
        ("tf2_checkpoint/model.ckpt", "tf2_checkpoint", ("encoder", "pooler", "mlm", "sop")),
        ("huggingface/model.safetensors", "huggingface", ("encoder", "pooler", "mlm", "sop")),
        ("huggingface/config.json", "huggingface", ("encoder", "pooler", "mlm", "sop")),
        ("package/huggingface", "huggingface", ("encoder", "pooler", "mlm", "sop")),
        ("package/tf2_model.h5", "keras_h5", ("encoder", "pooler")),
    ],
)
def test_a_file_or_prefix_is_enough(written, path, name, roles):
    with source.opened(str(written / path)) as opened:
        assert (opened.format, opened.model.config, opened.model.roles) == (name, ALBERT, roles)
        assert_same(opened.model.weights, MODEL.only(roles).weights)


@pytest.mark.parametrize("name", ["tf1_checkpoint", "saved_model", "huggingface"])
def test_an_archive_is_enough(written, tmp_path, name):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(written / name, "albert_base")
    digest = hashlib.sha256((tmp_path / "a.tar.gz").read_bytes()).hexdigest()
    with source.opened(str(tmp_path / "a.tar.gz"), ReadOptions(sha256=digest)) as opened:
        assert (opened.format, opened.name) == (name, str(tmp_path / "a.tar.gz"))
        assert_same(opened.model.weights, MODEL.weights)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such file or folder. What can be read: "),
        (lambda path: path.mkdir(), "holds nothing that can be read as a model. What can be read: "),
        (lambda path: path.write_text("text"), "cannot be read as a model. What can be read: "),
    ],
    ids=["missing", "empty folder", "text"],
)
def test_what_holds_no_model_is_refused(tmp_path, make, message):
    make(tmp_path / "thing")
    with pytest.raises(InputError, match=f"^{tmp_path / 'thing'}: {message}"):
        read(tmp_path / "thing")


def test_a_package_with_a_changed_file_is_refused(written, tmp_path):
    folder = shutil.copytree(written / "package", tmp_path / "package")
    with (folder / "tf2_model.h5").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=f"{folder}: not as its manifest.json says: tf2_model.h5 was changed"):
        read(folder)


# === Configs ===


def test_the_config_that_is_given_goes_before_the_one_that_is_there(checkpoint):
    assert read(checkpoint, config=changed(num_attention_heads=8)).model.config.num_attention_heads == 8


@pytest.mark.parametrize("config", [ALBERT, BERT], ids=["albert", "bert"])
def test_an_activation_that_is_asked_for_is_noted(tmp_path, config):
    folder = write_checkpoint(tmp_path / "model", random_model(config))
    opened = read(folder, hidden_act="gelu_erf")
    assert opened.model.config == config.model_copy(update={"hidden_act": "gelu_erf"})
    assert opened.notes == ("hidden_act gelu_erf as asked for, the config says gelu",)
    assert read(folder, hidden_act="gelu").notes == ()


@pytest.mark.parametrize(
    ("name", "path", "parameter"),
    [
        ("tf1_checkpoint", "albert_config.json", "bert/embeddings/word_embeddings"),
        ("tf2_checkpoint", "config.json", "bert/embeddings/word_embeddings"),
        ("saved_model", "assets.extra/config.json", "bert/embeddings/word_embeddings"),
        ("keras_h5", "config.json", "bert/embeddings/word_embeddings"),
    ],
)
def test_a_config_that_contradicts_shapes_is_refused_with_the_variable(written, tmp_path, name, path, parameter):
    folder = shutil.copytree(written / name, tmp_path / "copy")
    (folder / path).write_text(changed(vocab_size=121).to_json())
    with pytest.raises(InputError, match=rf"{parameter} has shape \(120, 24\), the config says \(121, 24\)"):
        read(folder)


@pytest.mark.parametrize("name", ["tf2_checkpoint", "keras_h5"])
def test_without_a_config_one_is_asked_for(written, tmp_path, name):
    folder = shutil.copytree(written / name, tmp_path / "copy")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=f"{folder}: has no albert_config.json, .*Give the config with --config"):
        read(folder)
    assert read(folder, config=ALBERT).model.config == ALBERT


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not JSON"), ('{"hiden_size": 3}', "hiden_size: is not a known key"), ("[1]", "should hold a JSON object")],
)
def test_a_broken_config_is_named(checkpoint, content, message):
    (checkpoint / "albert_config.json").write_text(content)
    with pytest.raises(InputError, match=rf"{checkpoint / 'albert_config.json'}: .*{message}"):
        read(checkpoint)


# === Vocabularies ===


def test_a_model_may_come_without_a_vocabulary(checkpoint):
    for path in checkpoint.glob("vocab*"):
        path.unlink()
    assert read(checkpoint).model.vocabulary is None


def test_a_vocabulary_with_more_pieces_than_rows_is_refused(checkpoint):
    word_pieces(121).write(checkpoint)
    for any_vocabulary in (False, True):
        with pytest.raises(InputError, match=r"vocab\.txt has 121 pieces, the weights have rows for 120\."):
            read(checkpoint, any_vocabulary=any_vocabulary)


def test_a_vocabulary_with_fewer_pieces_than_rows_is_taken_when_asked(checkpoint):
    word_pieces(119).write(checkpoint)
    with pytest.raises(InputError, match=r"vocab\.txt has 119 pieces, .* say --any-vocabulary"):
        read(checkpoint)
    assert len(read(checkpoint, any_vocabulary=True).model.vocabulary.pieces) == 119


def test_a_vocabulary_that_has_the_released_ones_name_must_be_it(tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path / "albert", random_model(changed(vocab_size=1000)))
    (folder / "vocab.txt").unlink()
    Vocabulary(tokenizer.vocabulary.content, "30k-clean.model").write(folder)
    with pytest.raises(InputError, match=r"30k-clean\.model is not the vocabulary of the released ALBERT models"):
        read(folder)
    assert read(folder, any_vocabulary=True).model.vocabulary.content == tokenizer.vocabulary.content
    (folder / "30k-clean.model").rename(folder / "spm.model")
    assert read(folder).model.vocabulary.content == tokenizer.vocabulary.content


# === Checksums ===


def test_an_archive_of_another_checksum_is_refused_before_it_is_opened(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"a\.tar\.gz: its SHA-256 is [0-9a-f]{64}, expected 00"):
        read(tmp_path / "a.tar.gz", sha256="00" * 32)


def test_a_folder_has_no_checksum(checkpoint):
    with pytest.raises(InputError, match="albert: is no file, and a SHA-256 can be checked of files only"):
        read(checkpoint, sha256="00" * 32)


# === Models in memory ===


def test_what_is_left_out_of_a_model_is_never_read(checkpoint):
    with source.opened(str(checkpoint)) as opened:
        encoder = opened.model.only(("encoder", "pooler"))
        (checkpoint / "model.ckpt-best.data-00000-of-00001").write_bytes(b"")
        assert encoder.roles == ("encoder", "pooler")
        assert len(encoder.weights) == 25
        assert "cls/predictions/output_bias" not in encoder.weights


def test_missing_parts_get_the_values_of_a_new_network():
    complete = MODEL.only(("encoder", "pooler")).complete(seed=3)
    assert (complete.roles, complete.initialised) == (MODEL.roles, ("mlm", "sop"))
    fresh = network_weights.read(AlbertPretrainer(ALBERT, seed=3))
    for name in MODEL.weights:
        expected = MODEL.weights if not name.startswith("cls/") else fresh
        assert np.array_equal(complete.weights[name], expected[name]), name
    assert complete.complete() is complete
