import re

import ml_dtypes
import numpy as np
import pytest

from albert_model.errors import InputError
from albert_model.weights.names import parameters
from albert_model.weights.tensors import TRAINING_STATE, Stored, fingerprint, match, renamed
from tests.albert_model.weights.small_models import ALBERT, ENCODER, assert_same, random_weights

WEIGHTS = random_weights(ALBERT)
KERNEL = "bert/pooler/dense/kernel"


def stored(arrays=WEIGHTS, **more) -> Stored:
    """Arrays as a format module finds them, in a file named `file`."""
    arrays = {name: array for name, array in {**arrays, **more}.items() if array is not None}
    return Stored("file", {name: array.shape for name, array in arrays.items()}, arrays.__getitem__)


def matched(source: Stored):
    return match(source, ALBERT, lambda row: row.canonical)


def test_every_array_is_found():
    weights, left_out = matched(stored())
    assert_same(weights, WEIGHTS)
    assert left_out == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({KERNEL: None}, f"{KERNEL} is missing"),
        ({KERNEL: np.zeros((64, 65))}, f"{KERNEL} has shape (64, 65), the config says (64, 64)"),
        ({"bert/pooler/dense/extra": np.zeros(3)}, "bert/pooler/dense/extra is no parameter of this model"),
        (
            {"bert/embeddings/LayerNorm/beta": None, "z": np.zeros(1), "cls/predictions/output_bias": None},
            "bert/embeddings/LayerNorm/beta is missing; cls/predictions/output_bias is missing; "
            "z is no parameter of this model",
        ),
    ],
    ids=["missing", "shape", "unknown", "several"],
)
def test_what_does_not_fit_is_named(change, problem):
    with pytest.raises(InputError) as raised:
        matched(stored(**change))
    assert str(raised.value) == f"file: {problem}"


def test_of_many_problems_some_are_named_and_the_others_counted():
    with pytest.raises(InputError, match=r"; and 20 more$"):
        matched(stored({f"x{i}": np.zeros(1) for i in range(9)}))


def test_parts_that_are_missing_as_a_whole_are_no_problem():
    encoder = random_weights(ALBERT, parts=ENCODER)
    assert_same(matched(stored(encoder))[0], encoder)


STATE = [
    *("global_step", "good_steps", "loss_scale", "beta1_power", "beta2_power", "learning_rate"),
    *(f"{KERNEL}/adam_m", f"{KERNEL}/adam_v", f"{KERNEL}/adam_m_1"),
    *(f"{KERNEL}/lamb_m", f"{KERNEL}/lamb_v", f"{KERNEL}/LAMB", f"{KERNEL}/LAMB_1"),
    *(f"{KERNEL}/Adam", f"{KERNEL}/Adam_1"),
]


def test_a_trainings_state_is_left_out_and_listed():
    weights, left_out = matched(stored(**{name: np.zeros(1) for name in STATE}))
    assert_same(weights, WEIGHTS)
    assert left_out == tuple(sorted(STATE))


@pytest.mark.parametrize("row", parameters(ALBERT), ids=lambda row: row.name)
def test_no_parameter_is_taken_for_a_trainings_state(row):
    assert not TRAINING_STATE.search(row.name)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floats_become_float32(dtype):
    weights, _ = matched(stored(**{KERNEL: WEIGHTS[KERNEL].astype(dtype)}))
    assert weights[KERNEL].dtype == np.float32
    assert np.array_equal(weights[KERNEL], WEIGHTS[KERNEL].astype(dtype).astype(np.float32))


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.ones((64, 64), np.int32), f"{KERNEL} is of type int32, not a float"),
        (np.full((64, 64), np.nan, np.float32), f"{KERNEL} holds NaN or infinite values"),
        (np.full((64, 64), -np.inf, np.float32), f"{KERNEL} holds NaN or infinite values"),
        (np.full((64, 64), 1e300), f"{KERNEL} holds NaN or infinite values"),
    ],
    ids=["integers", "nan", "infinite", "too large for float32"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_values_that_are_no_weights_are_refused_when_they_are_read(array, problem):
    weights, _ = matched(stored(**{KERNEL: array}))
    with pytest.raises(InputError, match=re.escape(f"file: {problem}")):
        weights[KERNEL]


def test_nothing_is_read_before_it_is_asked_for():
    reads = []

    def read(name):
        reads.append(name)
        return WEIGHTS[name]

    weights, _ = matched(Stored("file", stored().shapes, read))
    assert KERNEL in weights
    assert "other" not in weights
    assert len(weights) == len(list(weights)) == 32
    assert weights.keys() == WEIGHTS.keys()
    assert reads == []
    assert np.array_equal(weights[KERNEL], WEIGHTS[KERNEL])
    assert reads == [KERNEL]


def test_two_arrays_cannot_get_one_name():
    both = stored(**{f"module/{KERNEL}": np.zeros(1)})
    with pytest.raises(InputError, match="file: holds a parameter twice"):
        renamed(both, lambda name: name.removeprefix("module/"))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (dict, True),
        (lambda weights: dict(reversed(weights.items())), True),
        (lambda weights: weights | {KERNEL: np.asfortranarray(weights[KERNEL])}, True),
        (lambda weights: weights | {KERNEL: np.nextafter(weights[KERNEL], np.float32(9))}, False),
        (lambda weights: weights | {KERNEL: weights[KERNEL].T}, False),
        (lambda weights: {name: array for name, array in weights.items() if name != KERNEL}, False),
    ],
    ids=["copy", "another order", "another layout", "one bit of each", "transposed", "one less"],
)
def test_a_fingerprint_says_whether_weights_are_the_same(change, same):
    assert (fingerprint(change(WEIGHTS), ALBERT) == fingerprint(WEIGHTS, ALBERT)) == same
