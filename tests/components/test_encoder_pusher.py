import hashlib
import json
import os
import signal

import pytest

from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import keras_h5, package
from albert_model.weights import network as network_weights
from albert_model.weights.model import Model
from components.encoder_pusher import executor
from components.encoder_pusher.executor import publish, versions
from tests.forks import Fork, forkserver


@pytest.fixture(scope="module")
def source(small_config, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    weights = network_weights.read(AlbertPretrainer(small_config))
    package.write(folder, Model(small_config, weights, tokenizer.vocabulary))
    (folder / "training.json").write_text('{"steps": 3}')
    return str(folder)


def test_a_version_is_complete_and_its_manifest_true(source, tmp_path):
    version = publish(tmp_path / "new" / "encoders", source, "models/7")
    assert version.name == "1"
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["lineage"] == {"model": "models/7", "steps": 3}
    files = {str(p.relative_to(version)) for p in version.rglob("*") if p.is_file()}
    assert files == manifest["files"].keys() | {"manifest.json"}
    assert {"config.json", "vocab/spm.model", "tf2_model.h5", "tf2_model_full.h5", "saved_model/saved_model.pb"} < files
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((version / name).read_bytes()).hexdigest() == digest
    assert package.read(version).tokenizer.fingerprint == package.read(source).tokenizer.fingerprint


def test_versions_count_up_and_what_is_pushed_stays(source, tmp_path):
    first = publish(tmp_path, source, "a")
    before = (first / "manifest.json").read_bytes()
    assert publish(tmp_path, source, "b").name == "2"
    (tmp_path / "notes").mkdir()
    assert versions(tmp_path) == [1, 2]
    assert (first / "manifest.json").read_bytes() == before


def test_a_model_that_is_the_newest_version_already_is_not_pushed_again(source, tmp_path):
    """As after a push that was killed before it was recorded."""
    assert publish(tmp_path, source, "a").name == "1"
    assert publish(tmp_path, source, "a").name == "1"
    assert versions(tmp_path) == [1]


def test_a_model_that_an_older_version_holds_is_not_pushed_over_the_newest(source, tmp_path):
    for model in "aba":
        publish(tmp_path, source, model)
    assert versions(tmp_path) == [1, 2]


def test_numbers_that_are_no_versions_are_left_alone(source, tmp_path):
    (tmp_path / "2024").mkdir()
    (tmp_path / "2025").write_text("")
    assert publish(tmp_path, source, "a").name == "2026"
    assert versions(tmp_path) == [2026]


def test_a_number_that_another_writer_took_meanwhile_is_passed_over(source, tmp_path, monkeypatch):
    publish(tmp_path, source, "a")
    publish(tmp_path, source, "b")
    seen = iter([[1], [1, 2]])
    monkeypatch.setattr(executor, "_numbers", lambda _: next(seen))
    monkeypatch.setattr(executor, "_version_of", lambda *_: None)
    assert publish(tmp_path, source, "c").name == "3"


def test_two_writers_at_once_get_a_version_each(source, tmp_path):
    with forkserver.Pool(2) as pool:
        names = [path.name for path in pool.starmap(publish, [(tmp_path, source, "a"), (tmp_path, source, "b")])]
    assert sorted(names) == ["1", "2"]
    manifests = [json.loads((tmp_path / n / "manifest.json").read_text()) for n in names]
    assert [m["lineage"]["model"] for m in manifests] == ["a", "b"]


def test_a_failure_leaves_nothing_behind(source, tmp_path, monkeypatch):
    publish(tmp_path, source, "a")

    def full_disk(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras_h5, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        publish(tmp_path, source, "b")
    assert [child.name for child in tmp_path.iterdir()] == ["1"]


def _killed_before_the_rename(destination, source):
    write = executor._write
    executor._write = lambda *arguments: (write(*arguments), os.kill(os.getpid(), signal.SIGKILL))
    publish(destination, source, "b")


def test_a_writer_that_is_killed_publishes_nothing(source, tmp_path):
    publish(tmp_path, source, "a")
    process = Fork(_killed_before_the_rename, tmp_path, source).done()
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert versions(tmp_path) == [1]
    assert publish(tmp_path, source, "b").name == "2"
