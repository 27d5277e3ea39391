import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import tensorflow as tf
import yaml
from tfx import v1 as tfx
from tfx.types import standard_artifacts

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.publishing import versions
from albert_model.publishing.versions import PushSettings, Versions
from albert_model.weights import network as network_weights
from albert_model.weights import package
from albert_model.weights.model import Model
from components.artifacts import EncoderPackage
from components.encoder_pusher.component import EncoderPusher
from tests.components.local import run_components
from tests.components.published import TRAINING, blessing, infra_blessing, make_run, write_encoder
from tests.forks import Fork


@pytest.fixture(scope="module")
def model(small_config, tokenizer):
    return Model(small_config, network_weights.read(AlbertPretrainer(small_config)), tokenizer.vocabulary)


@pytest.fixture(scope="module")
def encoder(model, tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("package"), model)


@pytest.fixture
def run(encoder, tmp_path):
    """Makes runs, by the names of their models."""
    return lambda name, **more: make_run(tmp_path / "run", encoder, name, **more)


def manifest_of(version):
    return json.loads(Path(version, "manifest.json").read_text())


def test_a_blessed_model_becomes_a_version(run, encoder, model, tmp_path):
    made = run("a")
    pushed = made.push(tmp_path / "new" / "encoders")
    version = tmp_path / "new" / "encoders" / "1"
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert pushed.get_string_custom_property("pushed_version") == "1"
    assert package.file_digests(version).keys() == {*package.file_digests(encoder), "MODEL_CARD.md"}
    assert versions.verify(str(tmp_path / "new" / "encoders")) == (str(version), [])
    assert package.read(version).tokenizer.fingerprint == model.tokenizer.fingerprint


def test_the_manifest_tells_where_it_came_from_and_how_good_it_is(run, tmp_path):
    made = run("a")
    made.push(tmp_path / "to")
    manifest = manifest_of(tmp_path / "to" / "1")
    assert manifest["lineage"] == {"model": made.inputs["model"].uri, **TRAINING}
    assert manifest["spans"] == [2]
    assert manifest["documents"] == {
        "documents": 1249,
        "train_documents": 1210,
        "eval_documents": 39,
        "fingerprint": "bb",
    }
    assert manifest["metrics"]["summary"].startswith("blessed: MLM accuracy")
    assert manifest["metrics"]["texts"][0]["candidate"]["mlm_accuracy"]["value"] == 0.25
    assert (manifest["version"], manifest["licence"], manifest["language"]) == (1, "cc-by-4.0", "en")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_blessing": blessing(False)}, "nothing pushed: the model was not blessed"),
        ({"infra_blessing": infra_blessing(False)}, "nothing pushed: the export did not pass its check"),
        ({"model_blessing": standard_artifacts.ModelBlessing()}, "nothing pushed: the model was not blessed"),
    ],
)
def test_nothing_is_pushed_without_both_blessings(run, tmp_path, caplog, changed, said):
    with caplog.at_level("INFO", "albert.push"):
        pushed = run("a").push(tmp_path / "to", **changed)
    assert caplog.messages == [said]
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "to").exists()


def test_the_same_artifacts_give_the_same_package(run, tmp_path):
    """But for the time, and the digest of the manifest that has it."""
    made = run("a")
    for place in ("to", "there"):
        made.push(tmp_path / place)
    assert package.file_digests(tmp_path / "to" / "1") == package.file_digests(tmp_path / "there" / "1")
    first, second = (manifest_of(tmp_path / place / "1") for place in ("to", "there"))
    assert {key for key in first if first[key] != second[key]} <= {"created", "digest"}


def test_a_model_that_is_the_newest_version_already_is_not_pushed_again(run, tmp_path, caplog):
    """As after a push that was killed before it was recorded; and somebody may have rolled back meanwhile."""
    first, second = run("a"), run("b")
    first.push(tmp_path / "to")
    second.push(tmp_path / "to")
    Versions(str(tmp_path / "to")).rollback(1)
    caplog.clear()
    with caplog.at_level("INFO", "albert.push"):
        again = second.push(tmp_path / "to")
    assert again.get_string_custom_property("pushed_version") == "2"
    assert Versions(str(tmp_path / "to")).numbers() == [1, 2]
    assert caplog.messages == [
        f"nothing pushed: version 2 at {tmp_path / 'to'} is this model already; latest stays 1, as somebody rolled back"
    ]


def test_as_many_versions_are_kept_as_the_settings_say(run, tmp_path):
    for name in "abc":
        run(name).push(tmp_path / "to", keep=2)
    assert Versions(str(tmp_path / "to")).numbers() == [2, 3]


def test_a_destination_elsewhere(run, tmp_path):
    destination = f"ram://{tmp_path.name}/encoders"
    pushed = run("a").push(destination)
    assert pushed.get_string_custom_property("pushed_destination") == f"{destination}/1"
    assert versions.verify(destination) == (f"{destination}/1", [])
    with tf.io.gfile.GFile(f"{destination}/latest") as file:
        assert file.read() == "1\n"


def test_a_package_that_cannot_be_read_is_refused(run, encoder, tmp_path):
    """As on a disk that fails; and nothing of it is published."""
    copy = shutil.copytree(encoder, tmp_path / "package")
    (copy / "huggingface" / "model.safetensors").unlink()
    (copy / "huggingface" / "model.safetensors").symlink_to(tmp_path / "nothing")
    package_ = EncoderPackage()
    package_.uri = str(copy)
    with pytest.raises(InputError, match=r"huggingface/model.safetensors: cannot be read .* The package is incomplete"):
        run("a").push(tmp_path / "to", package=package_)
    assert [path.name for path in (tmp_path / "to").iterdir()] == [".lock"]


def _killed_before_latest(destination, encoder, folder):
    def die(self, number):
        os.kill(os.getpid(), signal.SIGKILL)

    Versions._point_to = die
    make_run(folder, encoder, "b").push(destination)


def test_a_push_that_was_killed_is_completed_by_the_next_run(run, encoder, tmp_path):
    run("a").push(tmp_path / "to")
    done = Fork(_killed_before_latest, tmp_path / "to", encoder, tmp_path / "run").done()
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert Versions(str(tmp_path / "to")).latest() == 1
    pushed = make_run(tmp_path / "other", encoder, "c").push(tmp_path / "to")
    assert pushed.get_string_custom_property("pushed_version") == "3"
    assert Versions(str(tmp_path / "to")).numbers() == [1, 2, 3]
    assert Versions(str(tmp_path / "to")).latest() == 3


def test_in_a_pipeline(run, tmp_path):
    """Through TFX's runner, with artifacts of its own."""
    made = run("a")
    types = {**{name: type(a) for name, a in made.inputs.items()}, "package": EncoderPackage}
    importers = {
        name: tfx.dsl.Importer(
            source_uri=made.inputs[name].uri or str(tmp_path / name),
            artifact_type=types[name],
            custom_properties={"blessed": 1} if "blessing" in name else {},
        ).with_id(name)
        for name in made.inputs
    }
    pusher = EncoderPusher(
        **{name: importer.outputs["result"] for name, importer in importers.items()},
        destination=str(tmp_path / "to"),
        settings=PushSettings().model_dump_json(),
    )
    (tmp_path / "root").mkdir()
    nodes = run_components(tmp_path / "root", [*importers.values(), pusher])
    properties = nodes["EncoderPusher"].outputs["pushed_model"].custom_properties
    assert (properties["pushed"].int_value, properties["pushed_version"].string_value) == (1, "1")
    assert nodes["EncoderPusher"].inputs["model"].uri == made.inputs["model"].uri
    assert manifest_of(tmp_path / "to" / "1")["spans"] == []  # which DocumentGen's driver would say


def test_a_flipped_byte_in_any_file_is_noticed(run, tmp_path):
    """Of a real package."""
    run("a").push(tmp_path / "to")
    version = tmp_path / "to" / "1"
    for path in [path for path in version.rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        (problem,) = versions.verify(str(version))[1]
        assert problem.startswith(str(path.relative_to(version)))
        path.write_bytes(whole)
    assert versions.verify(str(version))[1] == []


# === The card ===


@pytest.fixture(scope="module")
def version(encoder, tmp_path_factory):
    """The second version, compared with the first."""
    folder = tmp_path_factory.mktemp("published")
    first = make_run(folder / "run", encoder, "a")
    first.push(folder / "to")
    make_run(folder / "run", encoder, "b", baseline=first.inputs["model"].uri).push(folder / "to")
    return folder / "to" / "2"


@pytest.fixture(scope="module")
def card(version):
    return (version / "MODEL_CARD.md").read_text()


def test_the_card_begins_with_what_hubs_read(card):
    _, front, _ = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "cc-by-4.0",
        "language": "en",
        "tags": ["albert", "fill-mask", "feature-extraction", "pretraining", "keras", "tensorflow", "transformers"],
    }


def test_the_card_tells_of_data_recipe_figures_and_lineage(card, version):
    assert "| documents | 1,249: 1,210 to train on, 39 held out |" in card
    assert "| documents dropped | duplicate documents 3 |" in card
    assert "| started from | blessed model runs/Trainer/model/1 |" in card
    assert "| this text | all | 39 | 444 | 25.0% (24.0 to 26.0) | 0.25 (0.24 to 0.26) |" in card
    assert "The model before: version 1." in card
    assert "| this text | all | +5.00 (+4.00 to +6.00) |" in card
    assert "90.0% ± 1.0% of 100 told right." in card
    assert f"| model | `{manifest_of(version)['lineage']['model']}` |" in card


def test_a_hostile_domain_stays_in_its_cell(card):
    assert r"| this text | law\|\<b\> | 39 |" in card
    assert "<b>" not in card


def test_a_domain_that_is_all_of_its_text_is_not_told_twice(card):
    assert "| this text | trade | 39 |" in card
    assert "| text before | all | 39 |" in card
    assert "| text before | law" not in card


def test_a_first_model_has_nothing_to_be_compared_with(version):
    card = (version.parent / "1" / "MODEL_CARD.md").read_text()
    assert "There was no model before." in card


BLOCKS = ["Keras", "TensorFlow", "Serving", "ALBERT-TF2.0", pytest.param("Hugging Face", marks=pytest.mark.interop)]


@pytest.mark.parametrize("way", BLOCKS)
def test_each_way_to_load_it_works(card, version, monkeypatch, capsys, way):
    """As it stands in the card, in the folder of the card."""
    if way == "Hugging Face":
        pytest.importorskip("transformers")
    (section,) = [part for part in card.split("\n### ") if part.startswith(way) and "```python" in part]
    (snippet,) = [part.partition("```")[0] for part in section.split("```python\n")[1:]]
    monkeypatch.chdir(version)
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})
    shown = capsys.readouterr().out
    assert {"ALBERT-TF2.0": "25\n"}.get(way, "32") in shown
    assert versions.verify(str(version)) == (str(version), [])
