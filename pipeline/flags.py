"""Flags as the scripts have them that commands stand in for. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import difflib
import glob
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click

if TYPE_CHECKING:
    import pydantic

BOOLEAN: dict[str, Any] = {"type": click.BOOL, "is_flag": False, "flag_value": "true", "metavar": "[BOOL]"}
NO_EFFECT: dict[str, Any] = {"expose_value": False, "hidden": True}  # flags that scripts may have
DASHES_OR_UNDERSCORES: dict[str, Any] = {"token_normalize_func": lambda name: name.replace("-", "_")}


# === Commands ===


class ScriptCommand(click.Command):
    """Takes flags as the original scripts do: -flag, --noflag, --flag=false.

    Attributes:
      after: the parameter behind which the flags of settings stand.
      quoted: how a pattern is given, for those whose shell expanded it.
    """

    after: str
    quoted: str

    def flags_of_settings(self) -> Sequence[click.Option]:
        """Made when they are needed, as what says what they are takes time to import."""
        return ()

    def takes_others(self, arguments: list[str]) -> bool:
        """Whether arguments that are not known here are somebody else's."""
        return False

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        parameters = super().get_params(context)
        place = 1 + [parameter.name for parameter in parameters].index(self.after)
        return [*parameters[:place], *self.flags_of_settings(), *parameters[place:]]

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        parameters = self.get_params(context)
        booleans = [parameter.name for parameter in parameters if parameter.metavar == BOOLEAN["metavar"]]
        context.ignore_unknown_options = self.takes_others(arguments)
        context.allow_extra_args = True
        super().parse_args(context, [as_click_has_it(argument, booleans) for argument in arguments])
        self._check_rest(context, [flag.lstrip("-") for parameter in parameters for flag in parameter.opts])
        return context.args

    def _check_rest(self, context: click.Context, ours: list[str]) -> None:
        """Refuses what is neither ours nor others', and of others' flags what looks like a slip in one of ours."""
        if not context.ignore_unknown_options and context.args:
            raise click.UsageError(
                f"{context.args[0]}: belongs to no flag. If it comes of a pattern, quote that: {self.quoted}", context
            )
        for argument in context.args:
            name = argument.partition("=")[0].lstrip("-").replace("-", "_")
            if argument.startswith("-") and (close := difflib.get_close_matches(name, ours, cutoff=0.85)):
                raise click.NoSuchOption(f"--{name}", possibilities=[f"--{each}" for each in close], ctx=context)


def as_click_has_it(argument: str, booleans: Iterable[str | None]) -> str:
    """
    >>> as_click_has_it("--nodo_lower_case", ["do_lower_case"]), as_click_has_it("-ngram=2", [])
    ('--do_lower_case=false', '--ngram=2')
    """
    negated = re.fullmatch(r"--?no[-_]?(.+)", argument)
    if negated and negated[1].replace("-", "_") in booleans:
        return f"--{negated[1]}=false"
    return re.sub(r"^-(?=[A-Za-z]\w)", "--", argument)


# === Flags ===


def flag_of(settings: type[pydantic.BaseModel], field: str, *names: str, **changes: Any) -> click.Option:
    """The flag of a setting.

    Args:
      settings: has the field, whose type, default and description the flag takes over.
      field: its name.
      names: of the flag; the first one is shown. Without any, that of the field.
      changes: of what click is told.
    """
    info = settings.model_fields[field]
    kind = _without_none(info.annotation)
    said: dict[str, Any] = {"type": kind}
    if kind is bool:
        said = BOOLEAN
    elif get_origin(kind) is Literal:
        said = {"type": click.Choice(get_args(kind))}
    shown = info.default is not None
    said = {"default": info.default, "show_default": shown, "help": info.description, **said, **changes}
    return click.Option([field, *(f"--{name}" for name in names or (field,))], **said)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def unsupported(why: str) -> Any:
    """What click is told of a boolean flag that may only be false."""

    def refuse(context: click.Context, option: click.Parameter, value: bool) -> None:
        if value:
            raise click.BadParameter(f"is not supported: {why}", context, option)

    return {**BOOLEAN, "default": False, "callback": refuse, "expose_value": False, "help": f"Not supported: {why}"}


def only(value: float, why: str) -> Any:
    """What click is told of a number that may only have one value."""

    def refuse(context: click.Context, option: click.Parameter, said: float) -> None:
        if said != value:
            raise click.BadParameter(f"can only be {value:g}: {why}", context, option)

    return {
        "type": float,
        "default": value,
        "callback": refuse,
        "expose_value": False,
        "help": f"Only {value:g}: {why}",
    }


# === Values ===


def parts(value: str) -> list[str]:
    """What stands between commas."""
    return [part for part in map(str.strip, value.split(",")) if part]


def is_remote(path: str) -> bool:
    return "://" in path


def remote_files(pattern: str) -> list[str]:
    import tensorflow as tf

    return tf.io.gfile.glob(pattern)


def files(flag: str, values: Iterable[str], ending: str) -> tuple[str, ...]:
    """Every file once, in the order of their names.

    Args:
      flag: whose values they are, for errors.
      values: files and patterns, some separated by commas.
      ending: what files in a folder may end in, for errors.

    Raises:
      InputError: a pattern has no file, or a folder is named.
    """
    from albert_model.errors import InputError

    found: set[str] = set()
    for pattern in (part for value in values for part in parts(value)):
        if is_remote(pattern):
            paths = remote_files(pattern)
        else:
            paths = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)
        if not paths:
            raise InputError(f"{flag}: no file matches {pattern} (in {Path.cwd()}).")
        for path in paths:
            if Path(path).is_dir():
                raise InputError(f"{flag}: {path} is a folder. Name files in it: '{path.rstrip('/')}/*{ending}'")
        found.update(paths)
    if not found:
        raise InputError(f"{flag}: names no file.")
    return tuple(sorted(found))


def settings_of(
    kind: type[pydantic.BaseModel], values: Mapping[str, Any], command: str, names: Mapping[str, str] | None = None
) -> Any:
    """Checked settings; what is wrong is told with the names of flags.

    Args:
      kind: of settings.
      values: of its fields.
      command: whose flags they are.
      names: of flags, where they are not those of the fields.
    """
    import pydantic

    from albert_model.config import describe
    from albert_model.errors import InputError

    try:
        return kind(**values)
    except pydantic.ValidationError as error:
        fields = "|".join(sorted(kind.model_fields, key=len, reverse=True))
        words = re.sub(rf"\b({fields})\b(?= |:)", lambda found: _flag(found[1], names), describe(error))
        raise InputError(f"{words}. albert {command} --help has what is possible.") from None


@contextlib.contextmanager
def named_as_flags(keys: Iterable[str], names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Errors that name a pipeline's settings name the flags in place of those.

    Args:
      keys: such as `training.batch_size`.
      names: of flags, by that of the setting, where they differ.
    """
    from albert_model.errors import InputError

    try:
        yield
    except InputError as error:
        pattern = "|".join(map(re.escape, sorted(keys, key=len, reverse=True)))
        words = re.sub(rf"\b({pattern})\b", lambda found: _flag(found[1].rpartition(".")[2], names), str(error))
        raise InputError(words) from error


def _flag(field: str, names: Mapping[str, str] | None) -> str:
    return f"--{(names or {}).get(field, field)}"
