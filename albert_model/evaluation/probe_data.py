"""Labelled examples from `.tsv` files, split into those to train with and those to test with."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from albert_model.errors import InputError
from albert_model.evaluation.probe_settings import ProbeSettings, read_bytes
from albert_model.text.lines import read_lines, text_of

MIN_EXAMPLES = 10  # to train with; with fewer, accuracies say nothing
_COLUMNS = {2: ("text", "label"), 3: ("text", "text_b", "label")}
_LAYOUT = "text<TAB>label or text<TAB>text_b<TAB>label"


class Example(NamedTuple):
    """A text with its label. `text_b` is empty where there is one text."""

    text: str
    text_b: str
    label: str


@dataclass(frozen=True)
class ProbeData:
    """Labelled examples.

    Attributes:
      labels: sorted; numbers of labels are places in here.
      train, test: in the order of their files.
      dropped: lines that were left out, by reason: `empty`, and `also in the test file`.
    """

    labels: tuple[str, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    dropped: Mapping[str, int]

    @property
    def majority(self) -> float:
        """The accuracy of always guessing what is most frequent among the examples to train with."""
        (guess, _), *_ = Counter(example.label for example in self.train).most_common(1)
        return sum(example.label == guess for example in self.test) / len(self.test)


def read_data(settings: ProbeSettings) -> ProbeData:
    """Reads and splits the files of the settings.

    Raises:
      InputError: a file cannot be read, a line is not laid out as it should be (names it), there are fewer than
        MIN_EXAMPLES to train with or none to test with, or all of them have one label.
    """
    dropped = Counter({"empty": 0})
    train = read_examples(settings.path, "path", dropped)
    if settings.test_path is None:
        train, test = _split(train, settings.test_fraction)
    else:
        test = read_examples(settings.test_path, "test_path", dropped)
        tested = {_texts(example) for example in test}
        dropped["also in the test file"] = sum(_texts(example) in tested for example in train)
        train = [example for example in train if _texts(example) not in tested]
    _check(settings, train, test)
    labels = tuple(sorted({example.label for example in train}))
    return ProbeData(labels, tuple(train), tuple(test), dict(dropped))


def _check(settings: ProbeSettings, train: Sequence[Example], test: Sequence[Example]) -> None:
    labels = {example.label for example in train}
    if len(train) < MIN_EXAMPLES:
        raise InputError(f"{settings.path}: {len(train)} examples to train with; give {MIN_EXAMPLES} or more.")
    if len(labels) < 2:
        raise InputError(
            f"{settings.path}: all examples to train with have the label {labels.pop()!r}; give two labels."
        )
    if not test:
        where = settings.test_path or settings.path
        remedy = "give more lines" if settings.test_path else "give more lines, a larger test_fraction or a test_path"
        raise InputError(f"{where}: no examples to test with; {remedy}.")
    unknown = sorted({example.label for example in test} - labels)
    if unknown:
        where = settings.test_path or f"{settings.path} (the part to test with)"
        raise InputError(
            f"{where}: label {unknown[0]!r} is of no example to train with. Mend it, or add examples of it."
        )


def _split(examples: Sequence[Example], test_fraction: float) -> tuple[list[Example], list[Example]]:
    """Equal texts land on the same side."""
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        parts[_place(example) < test_fraction].append(example)
    return parts


def _place(example: Example) -> float:
    """A number from 0 to 1 that depends on the texts alone."""
    digest = hashlib.blake2b("\t".join(_texts(example)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _texts(example: Example) -> tuple[str, str]:
    return example.text, example.text_b


# === A file ===


def read_examples(path: str, key: str, dropped: Counter[str]) -> list[Example]:
    """The examples of a file.

    Args:
      path: a `.tsv`, UTF-8. A byte order mark and any line ends will do; white space in texts is collapsed.
      key: of the settings that named it, for errors.
      dropped: lines without any text are counted here, as `empty`.

    Raises:
      InputError: it cannot be read, is not UTF-8, or a line has another number of columns, no text or no label.
    """
    examples: list[Example] = []
    columns: tuple[str, ...] | None = None
    for number, cells in _rows(path, key):
        if not any(cells):
            dropped["empty"] += 1
            continue
        where = f"{path}, line {number}"
        if columns is None:
            columns = _columns(cells, where)
            if _is_header(cells):
                continue
        if len(cells) != len(columns):
            raise InputError(f"{where}: has {_counted(len(cells))}, the lines before have {len(columns)}: {_LAYOUT}.")
        examples.append(_example(dict(zip(columns, cells, strict=True)), where))
    return examples


def _rows(path: str, key: str) -> Iterator[tuple[int, list[str]]]:
    """Lines with their numbers, from 1, in cells."""
    for number, line in enumerate(read_lines(io.BytesIO(read_bytes(path, key))), start=1):
        try:
            text = line.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}, line {number}: not UTF-8 ({error}). Save the file as UTF-8.") from error
        yield number, [text_of(cell) for cell in text.rstrip("\r\n").removeprefix("\ufeff").split("\t")]


def _columns(cells: Sequence[str], where: str) -> tuple[str, ...]:
    """What the columns are, by the first line."""
    if len(cells) not in _COLUMNS:
        raise InputError(f"{where}: has {_counted(len(cells))}, should have 2 or 3: {_LAYOUT}.")
    return tuple(cell.casefold() for cell in cells) if _is_header(cells) else _COLUMNS[len(cells)]


def _is_header(cells: Sequence[str]) -> bool:
    return sorted(cell.casefold() for cell in cells) == sorted(_COLUMNS[len(cells)])


def _counted(columns: int) -> str:
    return f"{columns} column{'s' if columns != 1 else ''}"


def _example(cells: Mapping[str, str], where: str) -> Example:
    for name, cell in cells.items():
        if not cell:
            raise InputError(f"{where}: has no {name}. Fill it in, or remove the line.")
    return Example(cells["text"], cells.get("text_b", ""), cells["label"])
