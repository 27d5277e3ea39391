import json
import logging
from pathlib import Path

import pytest
from tfx import types
from tfx import v1 as tfx
from tfx.components.pusher.executor import Executor as Pusher
from tfx.types import standard_artifacts
from tfx.types.standard_component_specs import INFRA_BLESSING_KEY, MODEL_BLESSING_KEY

from albert_model.publishing.export_check import CHECKS
from albert_model.weights import package
from albert_model.weights.model import Model
from components import EncoderPackage, manifests
from components.export_check import executor
from components.export_check.component import ExportCheck
from components.model_layout import package_folder
from tests.albert_model.weights.small_models import random_weights
from tests.components.local import run_components


@tfx.dsl.components.component
def Trained(
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    blessing: tfx.dsl.components.OutputArtifact[standard_artifacts.ModelBlessing],
    source: tfx.dsl.components.Parameter[str],
):
    """A model that lies somewhere, blessed."""
    package.write(package_folder(model.uri), package.read(source))
    blessing.set_int_custom_property("blessed", 1)


@pytest.fixture(scope="module")
def model(small_config, tokenizer):
    return Model(small_config, random_weights(small_config), tokenizer.vocabulary)


def artifact(kind, folder, **properties):
    made = kind()
    made.uri = str(folder)
    for name, value in properties.items():
        made.set_int_custom_property(name, value)
    return made


@pytest.fixture
def outputs(tmp_path):
    return artifact(EncoderPackage, tmp_path / "package"), artifact(
        standard_artifacts.InfraBlessing, tmp_path / "infra"
    )


def is_pushed(infra_blessing: types.Artifact) -> bool:
    """Whether TFX's Pusher would."""
    blessed = artifact(standard_artifacts.ModelBlessing, "", blessed=1)
    return Pusher().CheckBlessing({MODEL_BLESSING_KEY: [blessed], INFRA_BLESSING_KEY: [infra_blessing]})


def test_a_blessed_model_s_package_is_written_and_checked(model, tmp_path, caplog):
    package.write(tmp_path / "source", model)
    trained = Trained(source=str(tmp_path / "source"))
    check = ExportCheck(model=trained.outputs["model"], model_blessing=trained.outputs["blessing"])
    with caplog.at_level(logging.INFO, "albert.export"):
        run = run_components(tmp_path / "root", [trained, check])["ExportCheck"]
    made, infra = run.outputs["package"], run.outputs["infra_blessing"]
    assert (made.type, infra.type) == (EncoderPackage.TYPE_NAME, "InfraBlessing")
    report = manifests.read_json(infra.uri, "export_check.json")
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"]] == list(CHECKS)
    assert all(check.keys() == {"name", "passed", "said", "seconds"} for check in report["checks"])
    assert {path.name for path in Path(infra.uri).iterdir()} == {"INFRA_BLESSED", "export_check.json"}
    assert infra.custom_properties["blessed"].int_value == 1
    files = {path.name for path in Path(made.uri).iterdir()}
    assert files == {"config.json", "vocab", "tf2_model.h5", "tf2_model_full.h5", "saved_model", "huggingface"}
    (line,) = (record.getMessage() for record in caplog.records if record.name == "albert.export")
    assert line.startswith("export loads and computes as in training: ")


def test_a_model_that_is_not_blessed_gets_no_package(outputs, tmp_path, caplog):
    made, infra = outputs
    trained = artifact(standard_artifacts.Model, tmp_path / "gone")
    refused = artifact(standard_artifacts.ModelBlessing, tmp_path, blessed=0)
    with caplog.at_level(logging.INFO, "albert.export"):
        executor.check(made, infra, trained, refused, 10)
    assert list(Path(made.uri).iterdir()) == []
    assert manifests.read_json(infra.uri, "export_check.json") == {"passed": False, "checks": []}
    assert (Path(infra.uri) / "INFRA_NOT_BLESSED").is_file()
    assert not is_pushed(infra)
    assert [record.getMessage() for record in caplog.records] == ["no package written: the model was not blessed"]


def test_a_package_that_fails_is_not_blessed(outputs, model, tmp_path, monkeypatch, caplog):
    made, infra = outputs
    package.write(package_folder(str(tmp_path / "model")), model)
    trained = artifact(standard_artifacts.Model, tmp_path / "model")
    write_encoder = package.write_encoder

    def damaged(folder, model):
        write_encoder(folder, model)
        (Path(folder) / "tf2_model.h5").write_bytes(b"")

    monkeypatch.setattr(package, "write_encoder", damaged)
    with caplog.at_level(logging.INFO, "albert.export"):
        executor.check(made, infra, trained, artifact(standard_artifacts.ModelBlessing, tmp_path, blessed=1), 600)
    report = json.loads((Path(infra.uri) / "export_check.json").read_text())
    assert not report["passed"]
    failed = {check["name"] for check in report["checks"] if check["passed"] is False}
    assert failed == {"weights", "tf2_model.h5"}
    assert {path.name for path in Path(infra.uri).iterdir()} == {"INFRA_NOT_BLESSED", "export_check.json"}
    assert not is_pushed(infra)
    (line,) = (record for record in caplog.records if record.name == "albert.export")
    assert line.levelname == "ERROR"
    assert "tf2_model.h5: not a complete tf2_model.h5" in line.getMessage()


def test_tfx_s_pusher_takes_its_blessing(outputs):
    _, infra = outputs
    executor._finish(infra, [executor.Check("config", True, "")])
    assert is_pushed(infra)
    assert (Path(infra.uri) / "INFRA_BLESSED").read_text() == ""
