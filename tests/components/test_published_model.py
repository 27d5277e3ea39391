import json

import pytest
from tfx.types import standard_artifacts

from albert_model.errors import InputError
from albert_model.publishing.versions import Versions
from components import manifests
from components.model_layout import NO_MODEL, holds_model, origin_of, package_folder
from components.published_model import executor


def artifact(kind, uri):
    made = kind()
    made.uri = str(uri)
    return made


@pytest.fixture
def model(tmp_path):
    return artifact(standard_artifacts.Model, tmp_path / "found")


def documents_of(folder, fingerprint):
    folder.mkdir()
    found = artifact(standard_artifacts.Examples, folder)
    manifests.write(found, {"fingerprint": fingerprint})
    return found


@pytest.fixture
def push(tmp_path):
    """Makes a version of a text; gives the URI of the model that it is of."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "config.json").write_text("{}")

    def pushed(fingerprint):
        uri = tmp_path / f"model-of-{fingerprint}"
        folder = tmp_path / package_folder(str(uri))
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        more = {"lineage": {"model": str(uri)}, "documents": {"fingerprint": fingerprint}}
        Versions(str(tmp_path / "encoders")).push(str(package), "card", more, keep=9)
        return str(uri)

    return pushed


def test_without_a_version_it_says_that_there_is_none(model, tmp_path):
    executor.find(model, str(tmp_path / "encoders"), documents=documents_of(tmp_path / "a", "a"))
    assert json.loads((tmp_path / "found" / "manifest.json").read_text())["source"] == NO_MODEL
    assert not holds_model(model)


def test_the_served_version_is_the_start_and_a_rollback_changes_it(push, model, tmp_path):
    first, second = push("a"), push("b")
    documents = documents_of(tmp_path / "c", "c")
    executor.find(model, str(tmp_path / "encoders"), documents=documents)
    assert origin_of(model.uri) == second
    Versions(str(tmp_path / "encoders")).rollback(1)
    later = artifact(standard_artifacts.Model, tmp_path / "later")
    executor.find(later, str(tmp_path / "encoders"), documents=documents)
    assert origin_of(later.uri) == first


def test_text_that_was_pushed_starts_from_what_was_there_before_it(push, model, tmp_path):
    first, _, _ = push("a"), push("b"), push("c")
    executor.find(model, str(tmp_path / "encoders"), documents=documents_of(tmp_path / "b", "b"))
    assert origin_of(model.uri) == first


def test_a_candidate_is_not_compared_with_itself(push, model, tmp_path):
    first, second = push("a"), push("b")
    candidate = artifact(standard_artifacts.Model, second)
    executor.find(model, str(tmp_path / "encoders"), candidate=candidate)
    assert origin_of(model.uri) == first


def test_a_model_that_is_gone_is_passed_over(push, model, tmp_path):
    first, second = push("a"), push("b")
    (tmp_path / package_folder(second) / "config.json").unlink()
    executor.find(model, str(tmp_path / "encoders"), documents=documents_of(tmp_path / "c", "c"))
    assert origin_of(model.uri) == first


def test_a_base_model_that_is_named_is_taken_and_copied(push, model, tmp_path):
    first, _ = push("a"), push("b")
    executor.find(model, str(tmp_path / "encoders"), first, documents_of(tmp_path / "c", "c"))
    assert origin_of(model.uri) == first
    assert holds_model(model)
    assert (tmp_path / package_folder(model.uri) / "config.json").read_text() == "{}"


def test_without_knowing_what_is_served_nothing_is_started_from(push, model, tmp_path):
    """Else a damaged file would mean training from scratch."""
    push("a")
    (tmp_path / "encoders" / "latest").unlink()
    with pytest.raises(InputError, match="latest: is missing"):
        executor.find(model, str(tmp_path / "encoders"), documents=documents_of(tmp_path / "c", "c"))
