import pytest
from tfx.types import standard_artifacts

from components.blessed_model import BlessedBefore


def artifact(kind, number, **properties):
    made = kind()
    made.id = number
    for key, value in properties.items():
        made.set_int_custom_property(key, value)
    return made


MODELS = [artifact(standard_artifacts.Model, i) for i in (10, 20, 30)]
BLESSINGS = [
    artifact(standard_artifacts.ModelBlessing, 11, current_model_id=10, blessed=1),
    artifact(standard_artifacts.ModelBlessing, 21, current_model_id=20, blessed=1),
    artifact(standard_artifacts.ModelBlessing, 31, current_model_id=30, blessed=0),
]


def resolve(reference):
    inputs = {
        "model": list(MODELS),
        "model_blessing": list(BLESSINGS),
        "reference": [artifact(standard_artifacts.Examples, reference)],
    }
    outputs = BlessedBefore().resolve_artifacts(None, inputs)
    return [a.id for a in outputs["model"]], [a.id for a in outputs["model_blessing"]]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [(40, ([20], [21])), (25, ([20], [21])), (20, ([10], [11])), (15, ([10], [11])), (10, ([], [])), (5, ([], []))],
    ids=["newest blessed", "not blessed ones do not count", "never itself", "older text", "the first", "none"],
)
def test_the_newest_blessed_model_before_the_reference(reference, expected):
    assert resolve(reference) == expected
