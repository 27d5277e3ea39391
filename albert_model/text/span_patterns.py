"""Path patterns in which a placeholder stands for the span, read as TFX reads them.

`{SPAN}` is a number without leading zeros, `{SPAN:2}` one of that many digits, and `{YYYY}`, `{MM}` and `{DD}` are a
date, whose number is its days since 1970-01-01. `{VERSION}` beside them counts the deliveries of a span, of which the
highest holds. The rules are those of `tfx/components/example_gen/utils.py`.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from albert_model.errors import InputError

_PLACEHOLDER = re.compile(r"\{(SPAN|VERSION)(?::([^}]*))?\}|\{(YYYY|MM|DD)\}")
_DATE = ("YYYY", "MM", "DD")
_DIGITS = {"YYYY": 4, "MM": 2, "DD": 2}
_FIRST_DAY = datetime.date(1970, 1, 1)
_WILDCARDS = {"*": "[^/]*", "?": "[^/]"}
_NUMBER = "[0-9]"


class Place(NamedTuple):
    """Which delivery of which span a path belongs to; the version is 0 where the pattern has none."""

    span: int
    version: int


@dataclass(frozen=True)
class SpanPattern:
    """A folder and a pattern of files below it.

    Attributes:
      base: the folder; it holds no wildcard.
      pattern: of the files, with or without placeholders.

    Raises:
      InputError: the pattern's placeholders are not what TFX takes.
    """

    base: str
    pattern: str

    def __post_init__(self) -> None:
        names = self._names
        if self.pattern.count("{SPAN") != names.count("SPAN") or names.count("SPAN") > 1:
            raise self._error("{SPAN} may stand once, as {SPAN} or {SPAN:2}")
        if set(names) & set(_DATE) and sorted(names) != sorted([*_DATE, *(n for n in names if n == "VERSION")]):
            raise self._error("a date needs {YYYY}, {MM} and {DD}, each once, and no {SPAN} beside them")
        if "VERSION" in names and (not self.has_span or names.count("VERSION") > 1):
            raise self._error("{VERSION} may stand once, beside {SPAN} or a date")
        if any(width is not None and not re.fullmatch("[1-9][0-9]?", width) for width in self._widths.values()):
            raise self._error("the number of digits, as in {SPAN:2}, is one from 1 to 99")
        if "[!" in self.pattern and self.has_span:
            raise self._error("TFX reads [!…] beside a span otherwise; name the characters that may stand there")

    def _error(self, what: str) -> InputError:
        return InputError(f"corpus.pattern: {self.pattern}: {what}.")

    @property
    def has_span(self) -> bool:
        return bool({"SPAN", *_DATE} & set(self._names))

    @property
    def has_version(self) -> bool:
        return "VERSION" in self._names

    @property
    def _names(self) -> list[str]:
        return [match[1] or match[3] for match in _PLACEHOLDER.finditer(self.pattern)]

    @property
    def _widths(self) -> dict[str, str | None]:
        return {match[1]: match[2] for match in _PLACEHOLDER.finditer(self.pattern) if match[1]}

    def literal(self, span: int | None, version: int | None = None) -> str:
        """The pattern of a span's files, from the base on; with its version where one is given, else of any.

        Args:
          span: its number; None: of any span.
          version: its number; None: of any version.

        Raises:
          InputError: the number has more digits than the pattern gives it, or is no date.
        """
        return os.path.join(self.base, self._filled(self._values(span, version)))

    def below_base(self, span: int) -> str:
        """The pattern of a span's files, below the base, for readers that know nothing of spans.

        Raises:
          InputError: as `literal`; or it has {VERSION}, for which files must be looked at.
        """
        if self.has_version:
            raise self._error("{VERSION} cannot be resolved before the run; leave it out of the pattern")
        return self._filled(self._values(span, None))

    def place(self, path: str) -> Place | None:
        """Where a path belongs; None if no number or no date stands where the pattern has one, as `span-3-draft`."""
        return self._place(path, _glob_expression)

    def span_of_literal(self, pattern: str) -> int | None:
        """The span whose `literal` or `below_base` a pattern is; None if it is of none."""
        place = self._place(os.path.join(self.base, pattern), re.escape)
        return place and place.span

    def _place(self, path: str, expression) -> Place | None:
        match = re.fullmatch(re.escape(os.path.join(self.base, "")) + self._expression(expression), path)
        if match is None:
            return None
        found = match.groupdict()
        version = int(found.get("VERSION") or 0)
        if "SPAN" in found:
            return Place(int(found["SPAN"]), version)
        if not self.has_span:
            return None
        try:
            day = datetime.date(*(int(found[name]) for name in _DATE))
        except ValueError:
            return None
        return Place((day - _FIRST_DAY).days, version)

    def newest(self, paths: Iterable[str]) -> list[str]:
        """Of the paths of one span those of its highest version, in order."""
        places = {path: place for path in paths if (place := self.place(path))}
        highest = max((place.version for place in places.values()), default=0)
        return sorted(path for path, place in places.items() if place.version == highest)

    def _values(self, span: int | None, version: int | None) -> dict[str, str]:
        values = {"VERSION": "*" if version is None else self._number("VERSION", version)}
        if span is None:
            return values | {"SPAN": f"{_NUMBER}*"} | {name: _NUMBER * _DIGITS[name] for name in _DATE}
        if "SPAN" in self._names:
            return values | {"SPAN": self._number("SPAN", span)}
        if not self.has_span:
            return values
        try:
            day = _FIRST_DAY + datetime.timedelta(span)
        except OverflowError as error:
            raise InputError(f"corpus.span: {span} is no number of days since 1970-01-01.") from error
        return values | {"YYYY": f"{day.year:04d}", "MM": f"{day.month:02d}", "DD": f"{day.day:02d}"}

    def _number(self, name: str, value: int) -> str:
        width = self._widths.get(name)
        digits = str(value).zfill(int(width or 0))
        if width and len(digits) > int(width):
            raise InputError(f"corpus.pattern: {self.pattern}: {value} has more digits than {{{name}:{width}}} gives.")
        return digits

    def _filled(self, values: dict[str, str]) -> str:
        return _PLACEHOLDER.sub(lambda match: values[match[1] or match[3]], self.pattern)

    def _expression(self, of_text) -> str:
        """The pattern as a regular expression, with a group for each placeholder."""
        parts, end = [], 0
        for match in _PLACEHOLDER.finditer(self.pattern):
            name = match[1] or match[3]
            digits = match[2] or _DIGITS.get(name)
            parts += [of_text(self.pattern[end : match.start()])]
            parts += [f"(?P<{name}>{_NUMBER}{{{digits}}})" if digits else f"(?P<{name}>{_NUMBER}+)"]
            end = match.end()
        return "".join([*parts, of_text(self.pattern[end:])])


def _glob_expression(pattern: str) -> str:
    """A part of a path pattern as a regular expression; wildcards stay within a folder's name."""
    parts = re.split(r"(\*|\?|\[[^]]*\])", pattern)
    return "".join(_WILDCARDS.get(part) or (part if part.startswith("[") else re.escape(part)) for part in parts)
