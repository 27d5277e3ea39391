"""Lists of models to convert: a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from albert_model.config import describe
from albert_model.errors import InputError
from albert_model.settings import Settings
from albert_model.weights.settings import ReadOptions


class ConversionEntry(ReadOptions):
    """A model to convert; besides, what `ReadOptions` says of its source.

    Attributes:
      name: of its folder in the output.
      source: as `albert convert` takes it; a relative path counts from the folder that the command is run in.
      model_type: as in `albert convert`.
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    source: str = pydantic.Field(min_length=1)
    model_type: Literal["albert_encoder", "albert"] | None = None


class _ConversionList(Settings):
    models: tuple[ConversionEntry, ...] = pydantic.Field(min_length=1)


def read_conversion_list(path: str | Path) -> tuple[ConversionEntry, ...]:
    """Reads a list: `models:` and under it an entry for each.

    Raises:
      InputError: names the file and what is wrong in it.
    """
    try:
        values: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        models = _ConversionList.model_validate(values).models
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give a YAML list of models.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from error
    names = [model.name for model in models]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: {', '.join(doubled)} stands there more than once.")
    return models
