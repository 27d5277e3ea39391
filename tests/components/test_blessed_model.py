import json
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components import manifests
from components.blessed_model import BlessedBefore
from components.model_layout import package_folder

# Models by id: the text and the vocabulary that they were trained with, their longest input, whether blessed.
MODELS = {
    10: ("text 1", "vocabulary", 64, 1),
    20: ("text 2", "vocabulary", 64, 1),
    30: ("text 3", "vocabulary", 64, 0),
}


@pytest.fixture
def store(tmp_path):
    """The artifacts of a root with these models."""
    return [model_at(tmp_path / str(number), number, *traits[:3]) for number, traits in MODELS.items()]


def model_at(folder, number, text, vocabulary, length):
    model = artifact(standard_artifacts.Model, number, folder)
    package = Path(package_folder(model.uri))
    training = {
        "tokenizer_fingerprint": vocabulary,
        "examples": {
            "documents_fingerprint": text,
            "settings": {"max_seq_length": length, "max_predictions_per_seq": 10},
        },
    }
    package.mkdir(parents=True)
    (package / "training.json").write_text(json.dumps(training))
    return model


def artifact(kind, number, folder="", **properties):
    made = kind()
    made.id, made.uri = number, str(folder)
    for key, value in properties.items():
        made.set_int_custom_property(key, value)
    return made


def documents_at(folder, number, text):
    folder.mkdir()
    documents = artifact(standard_artifacts.Examples, number, folder)
    manifests.write(documents, {"fingerprint": text})
    return documents


def resolve(store, reference):
    blessings = [
        artifact(standard_artifacts.ModelBlessing, number + 1, current_model_id=number, blessed=traits[3])
        for number, traits in MODELS.items()
    ]
    inputs = {"model": list(store), "model_blessing": blessings, "reference": [reference]}
    outputs = BlessedBefore().resolve_artifacts(None, inputs)
    assert [b.id for b in outputs["model_blessing"]] == [m.id + 1 for m in outputs["model"]]
    return [m.id for m in outputs["model"]]


@pytest.mark.parametrize(
    ("number", "text", "expected"),
    [
        (40, "text 4", [20]),
        (25, "text 4", [20]),
        (15, "text 2", [10]),
        (40, "text 2", [10]),
        (40, "text 1", []),
        (5, "text 1", []),
    ],
    ids=[
        *("newest blessed", "not blessed ones do not count", "run again", "same text in other files"),
        *("the first text in other files", "the first run again"),
    ],
)
def test_where_training_starts(store, tmp_path, number, text, expected):
    assert resolve(store, documents_at(tmp_path / "documents", number, text)) == expected


@pytest.mark.parametrize(
    ("number", "vocabulary", "length", "expected"),
    [
        (40, "vocabulary", 64, [20]),
        (40, "vocabulary", 32, [20]),
        (20, "vocabulary", 64, [10]),
        (10, "vocabulary", 64, []),
        (40, "another", 64, [20]),
        (40, "vocabulary", 128, [20]),
        (15, "vocabulary", 64, [20]),
    ],
    ids=[
        *("newest blessed", "shorter inputs", "never itself", "the first", "other vocabulary", "longer inputs"),
        "one that was refused before is judged again by the newest",
    ],
)
def test_what_a_model_is_compared_with(store, tmp_path, number, vocabulary, length, expected):
    candidate = model_at(tmp_path / "candidate", number, "text 4", vocabulary, length)
    assert resolve(store, candidate) == expected


def test_a_blessed_model_that_is_gone_is_left_out_and_said_so(store, tmp_path, caplog):
    (tmp_path / "20").rename(tmp_path / "elsewhere")
    assert resolve(store, documents_at(tmp_path / "documents", 40, "text 4")) == [10]
    assert "is gone from its folder" in caplog.text
