from pathlib import Path

import pytest
import yaml

from albert_model.errors import InputError
from pipeline.settings import load_settings
from tests.demo import ROOT

DEMO = ROOT / "configs" / "pipelines" / "demo.yaml"


@pytest.fixture(autouse=True)
def _in_the_projects_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_pipeline_that_ships_is_valid(path):
    assert load_settings(path).name


def test_paths_are_made_absolute_and_remote_ones_left_alone():
    settings = load_settings(DEMO, {"push.destination": "gs://bucket/encoders"})
    assert load_settings(DEMO, {"root": "~/x"}).root == str(Path.home() / "x")
    assert settings.root == str(ROOT / "runs" / "demo")
    assert settings.corpus.path == str(ROOT / "tests" / "data" / "postgresql-manual")
    assert settings.push.destination == "gs://bucket/encoders"


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings(DEMO).training.batch_size = 3


def test_overrides_go_before_the_file():
    settings = load_settings(DEMO, {"training.batch_size": 7, "tokenizer.do_lower_case": False})
    assert (settings.training.batch_size, settings.tokenizer.do_lower_case) == (7, False)


def test_numbers_may_be_written_as_yaml_reads_them_as_text():
    """YAML takes 1e-4, without a point, for a word."""
    assert load_settings(DEMO, {"training.learning_rate": yaml.safe_load("1e-4")}).training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.batch_sise": 3}, "training.batch_sise: is not a known key"),
        ({"trainin": {}}, "trainin: is not a known key"),
        ({"training.batch_size": "many"}, "training.batch_size: Input should be a valid integer"),
        ({"training.batch_size": 0}, "training.batch_size: Input should be greater than or equal to 1 (got 0)"),
        (
            {"training.strategy": "two"},
            "training.strategy: Input should be 'one', 'mirror', 'multiworker' or 'tpu' (got 'two')",
        ),
        ({"corpus.eval_fraction": 1.5}, "corpus.eval_fraction: Input should be less than or equal to 0.999 (got 1.5)"),
        ({"training.learning_rate": float("inf")}, "training.learning_rate: Input should be a finite number (got inf)"),
        ({"root": ""}, "root: String should have at least 1 character"),
        ({"name": "No Spaces!"}, "name: String should match pattern"),
        ({"push": None}, "push: Input should be a valid dictionary"),
        ({"model": "configs/models/none.json"}, "model: configs/models/none.json: cannot be read"),
        (
            {"examples.max_seq_length": 256},
            "examples.max_seq_length 256 is more than max_position_embeddings 128 of the model",
        ),
        (
            {"examples.max_predictions_per_seq": 62},
            "examples: max_predictions_per_seq 62 does not fit max_seq_length 64",
        ),
        (
            {"model": {"vocab_size": 100, "embedding_size": 8, "hidden_size": 30, "num_hidden_layers": 1}},
            "model.num_attention_heads: Field required; model.intermediate_size: Field required",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused_with_file_key_and_expectation(overrides, message):
    with pytest.raises(InputError) as error:
        load_settings(DEMO, overrides)
    assert str(error.value).startswith(f"{DEMO}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("key", ["name", "root", "corpus", "model", "push"])
def test_missing_keys_are_named(tmp_path, key):
    values = yaml.safe_load(DEMO.read_text())
    del values[key]
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(InputError, match=f"{key}: Field required"):
        load_settings(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name: [", "not YAML"),
        (b"- a\n- b\n", "should hold keys and values"),
        (b"", "should hold keys and values"),
        (b"name: caf\xe9", "not YAML"),
        (b"!!python/object/apply:os.system ['true']", "not YAML"),
    ],
    ids=["broken", "list", "empty", "not utf-8", "code"],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path, text, message):
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=message):
        load_settings(path)


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read"):
        load_settings("nowhere.yaml")
