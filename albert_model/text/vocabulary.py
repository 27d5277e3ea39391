"""Vocabulary files: a SentencePiece model or a WordPiece list, and whether text is lower-cased for it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import sentencepiece

from albert_model.errors import InputError

CONFIG = "tokenizer_config.json"
RELEASED_NAME = "30k-clean.model"
RELEASED_SIZE = 30000
# Of the vocabulary of all released English ALBERT models.
_RELEASED_SHA256 = "fefb02b667a6c5c2fe27602d28e5fb3428f66ab89c7d6f388e7c8d44a02d0336"
_PATTERNS = ("*.model", "*vocab*.txt")
_UPPER_CASE = re.compile(r"[A-Z]")


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary as a file.

    Attributes:
      content: bytes of the file.
      file_name: the name it came with, `*.model` (SentencePiece) or `*.txt` (WordPiece, a piece a line).
      do_lower_case: whether text is lower-cased before it is cut into pieces.
    """

    content: bytes
    file_name: str
    do_lower_case: bool = True

    @property
    def kind(self) -> Literal["sentencepiece", "wordpiece"]:
        return "sentencepiece" if self.file_name.endswith(".model") else "wordpiece"

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Every piece in the order of its id.

        Raises:
          InputError: the file is not what its name says.
        """
        if self.kind == "sentencepiece":
            processor = self._processor()
            return tuple(processor.id_to_piece(i) for i in range(processor.get_piece_size()))
        try:
            return tuple(line.rstrip("\r") for line in self.content.decode().rstrip("\n").split("\n"))
        except UnicodeDecodeError as error:
            raise InputError(f"{self.file_name}: not a list of pieces in UTF-8 ({error}).") from error

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def is_released(self) -> bool:
        """Whether it is the one of the released English ALBERT models."""
        return self.sha256 == _RELEASED_SHA256

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides how text becomes ids."""
        return hashlib.blake2b(self.content + bytes([self.do_lower_case]), digest_size=16).hexdigest()

    def write(self, folder: str | Path) -> Path:
        """Writes the file, for SentencePiece `.vocab` (pieces and scores) beside it, and `tokenizer_config.json`.

        Returns:
          The path of the file.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.file_name
        path.write_bytes(self.content)
        if self.kind == "sentencepiece":
            processor = self._processor()
            lines = [f"{piece}\t{processor.get_score(i):g}\n" for i, piece in enumerate(self.pieces)]
            path.with_suffix(".vocab").write_text("".join(lines), encoding="utf-8")
        (folder / CONFIG).write_text(json.dumps({"do_lower_case": self.do_lower_case}) + "\n")
        return path

    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(self.content)  # the constructor takes no bytes for no model
        except RuntimeError as error:
            raise InputError(f"{self.file_name}: not a SentencePiece model.") from error
        return processor


def find(folder: str | Path) -> Vocabulary | None:
    """The vocabulary among the files of a folder; None if there is none.

    Raises:
      InputError: there are several different ones.
    """
    folder = Path(folder)
    files = sorted(path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file())
    by_content = {path.read_bytes(): path for path in reversed(files)}
    if not by_content:
        return None
    if len(by_content) > 1:
        names = ", ".join(path.name for path in files)
        raise InputError(f"{folder}: should hold one vocabulary, holds several: {names}. Remove those it is not.")
    ((content, path),) = by_content.items()
    vocabulary = Vocabulary(content, path.name)
    return Vocabulary(content, path.name, _lower_case_said_in(folder, vocabulary.pieces))


def _lower_case_said_in(folder: Path, pieces: Iterable[str]) -> bool:
    """What `tokenizer_config.json` says; without one, whether no ordinary piece has an upper-case letter."""
    config = folder / CONFIG
    if config.is_file():
        try:
            said = json.loads(config.read_bytes()).get("do_lower_case")
        except (ValueError, AttributeError) as error:
            raise InputError(f"{config}: not a tokenizer's config ({error}).") from error
        if isinstance(said, bool):
            return said
    return not any(_UPPER_CASE.search(piece) for piece in pieces if not re.fullmatch(r"\[.*\]|<.*>", piece))


def read(folder: str | Path) -> Vocabulary:
    """The one vocabulary of a folder.

    Raises:
      InputError: there is none, or there are several.
    """
    found = find(folder)
    if found is None:
        raise InputError(f"{folder}: should hold one vocabulary ({' or '.join(_PATTERNS)}), holds none.")
    return found
