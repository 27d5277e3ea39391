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


def test_other_errors_are_not_the_users():
    assert user_error(ValueError("a bug")) is None
