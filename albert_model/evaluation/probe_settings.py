"""Settings of the probe: quick classifiers on top of a model, on a labelled set of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pydantic

from albert_model.errors import InputError
from albert_model.settings import Settings

# Rates and epochs where nothing is said: of a linear head on fixed features, and of a whole network.
_RATES = {True: 0.01, False: 5e-5}
_EPOCHS = {True: 30, False: 3}


class ProbeSettings(Settings):
    """How quick classifiers are trained on top of a model and of the model before it, and what they may lose."""

    path: str = pydantic.Field(
        min_length=1,
        description="Labelled examples, a .tsv: text and label, or text, text_b and label, with or without a header.",
    )
    test_path: str | None = pydantic.Field(
        default=None, min_length=1, description="Examples to test with, laid out as those of `path`."
    )
    test_fraction: float = pydantic.Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of `path` to test with where there is no `test_path`. A hash of the text decides, so that "
        "the split is the same for all models and runs.",
    )
    frozen: bool = pydantic.Field(
        default=True,
        description="Train a linear head on fixed features (fast), and not a copy of the whole network.",
    )
    seeds: int = pydantic.Field(
        default=5, ge=2, le=100, description="Classifiers that are trained on each model; their spread is reported."
    )
    epochs: int | None = pydantic.Field(
        default=None,
        ge=1,
        description=f"Times that training goes through the examples; {_EPOCHS[True]} frozen, else {_EPOCHS[False]}.",
    )
    learning_rate: float | None = pydantic.Field(
        default=None, gt=0, description=f"Peak of the learning rate; {_RATES[True]} frozen, else {_RATES[False]}."
    )
    batch_size: int = pydantic.Field(default=32, ge=1, description="Examples in a step.")
    max_seq_length: int = pydantic.Field(
        default=128,
        ge=8,
        description="Pieces of an example, special ones included; longer ones are cut. A model with fewer positions "
        "gets as many as it has.",
    )
    max_loss: float = pydantic.Field(
        default=0.0, ge=0, le=1, description="By how much the mean accuracy may be below the model before's."
    )

    @property
    def stated_epochs(self) -> int:
        """Epochs, said or not."""
        return self.epochs or _EPOCHS[self.frozen]

    @property
    def stated_learning_rate(self) -> float:
        """Learning rate, said or not."""
        return self.learning_rate or _RATES[self.frozen]

    def with_paths(self, change: Callable[[str], str]) -> Self:
        """These settings with each path changed."""
        test_path = None if self.test_path is None else change(self.test_path)
        return self.model_copy(update={"path": change(self.path), "test_path": test_path})

    @property
    def files_fingerprint(self) -> str:
        """Changes when the files do.

        Raises:
          InputError: one cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for key, path in (("path", self.path), ("test_path", self.test_path)):
            if path is not None:
                digest.update(hashlib.blake2b(read_bytes(path, key)).digest())
        return digest.hexdigest()


def read_bytes(path: str, key: str) -> bytes:
    """A file that a key of the settings names.

    Raises:
      InputError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). {key} should be a .tsv file.") from error
