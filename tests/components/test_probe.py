import json
import logging
from pathlib import Path

import pytest
from tfx import v1 as tfx
from tfx.types import standard_artifacts

from albert_model.errors import InputError
from albert_model.evaluation.probe_settings import ProbeSettings
from albert_model.weights import package
from albert_model.weights.model import Model
from components import ProbeResult
from components.model_layout import package_folder
from components.probe.component import Probe
from tests.albert_model.weights.small_models import ALBERT, random_model, random_weights
from tests.components.local import run_components
from tests.demo import ROOT

SETTINGS = ProbeSettings(path=str(ROOT / "tests/data/probe/manual.tsv"), seeds=2, epochs=2, max_seq_length=64)


@tfx.dsl.components.component
def Trained(
    model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    source: tfx.dsl.components.Parameter[str],
):
    """A model that lies somewhere."""
    package.write(package_folder(model.uri), package.read(source))


def trained(name, folder, model):
    package.write(folder / name, model)
    return Trained(source=str(folder / name)).with_id(name)


@pytest.fixture
def candidate(small_config, tokenizer, tmp_path):
    return trained("candidate", tmp_path, Model(small_config, random_weights(small_config), tokenizer.vocabulary))


def run(folder, components, settings=SETTINGS, **models):
    inputs = {name: component.outputs["model"] for name, component in models.items()}
    settings_json = settings.model_dump_json()
    probe = Probe(settings=settings_json, files_fingerprint=settings.files_fingerprint, **inputs)
    return run_components(folder / "root", [*components, probe])["Probe"].outputs["probe"]


def test_both_models_are_probed_each_with_its_own_vocabulary(candidate, tmp_path, caplog):
    before = trained("before", tmp_path, random_model(ALBERT))
    with caplog.at_level(logging.INFO, "albert.probe"):
        output = run(tmp_path, [candidate, before], model=candidate, baseline_model=before)
    assert output.type == ProbeResult.TYPE_NAME
    found = json.loads(Path(output.uri, "probe.json").read_text())
    assert found["settings"] == SETTINGS.model_dump()
    assert found["labels"] == ["index", "replication", "security", "types"]
    assert found["train_examples"] + found["test_examples"] == 480
    assert found["dropped"] == {"empty": 0}
    for name in ("candidate", "baseline"):
        assert found[name].keys() == {"accuracies", "mean", "spread"}
        assert len(found[name]["accuracies"]) == 2
    assert found["candidate"] != found["baseline"]
    (line,) = (m for m in caplog.messages if m.startswith("probe: accuracy"))
    assert f"{100 * found['candidate']['mean']:.1f} %" in line


def test_on_a_first_run_there_is_no_baseline(candidate, tmp_path):
    output = run(tmp_path, [candidate], model=candidate)
    assert json.loads(Path(output.uri, "probe.json").read_text())["baseline"] is None


def test_a_file_that_cannot_be_used_fails_it(candidate, tmp_path):
    (tmp_path / "a.tsv").write_text("some text\tlabel a\nno label\n")
    settings = SETTINGS.model_copy(update={"path": str(tmp_path / "a.tsv")})
    with pytest.raises(InputError, match=r"a\.tsv, line 2: has 1 column, the lines before have 2"):
        run(tmp_path, [candidate], settings, model=candidate)
