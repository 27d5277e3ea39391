import pytest

from albert_model.errors import InputError
from pipeline.local_runner import user_error


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        InputError("a.txt: wrong"),
        chained(RuntimeError("while running"), InputError("a.txt: wrong")),
        RuntimeError(
            "Traceback (most recent call last):\n  File …\n"
            "albert_model.errors.InputError: a.txt: wrong [while running 'ReadDocuments-ptransform-1']\n\nmore"
        ),
        InputError("a.txt: wrong [while running 'ReadDocuments']"),
    ],
    ids=["itself", "as cause", "text of a worker's traceback", "augmented by Beam"],
)
def test_the_users_error_is_found(error):
    assert str(user_error(error)) == "a.txt: wrong"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "a.h5"),
        RuntimeError("Can't write data (file write failed: errno = 28, error message = 'No space'"),
        chained(RuntimeError("while running"), ValueError("/tmp/ckpt; No space left on device [Op:SaveV2]")),
    ],
    ids=["system", "h5", "tensorflow"],
)
def test_a_full_disk_is_said_to_be_one(error):
    assert "No space left on the disk of root or of push.destination" in str(user_error(error))


def test_other_errors_are_not_the_users():
    assert user_error(ValueError("a bug")) is None
