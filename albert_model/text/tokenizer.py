"""Text to ids: what is asked of a tokenizer, whatever its kind, and which kind a vocabulary needs."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from albert_model.errors import InputError
from albert_model.text import vocabulary as vocabularies
from albert_model.text.ragged import Ragged
from albert_model.text.vocabulary import Vocabulary


class Tokenizer(abc.ABC):
    """Cuts sentences into the pieces of a vocabulary.

    Args:
      vocabulary: of the kind that the class is for.
      source: where it came from, for errors.

    Attributes:
      vocabulary: as given.
      unknown_id, cls_id, sep_id, mask_id: ids of the special pieces. Padding has id 0.

    Raises:
      InputError: a special piece is missing, or has an id that others rely on.
    """

    _FIXED_IDS: ClassVar[dict[str, int]]  # of special pieces; others rely on them
    _UNKNOWN: ClassVar[str]  # the piece for what no other one spells

    def __init__(self, vocabulary: Vocabulary, source: str):
        self.vocabulary = vocabulary
        self._where = source if source.endswith(vocabulary.file_name) else f"{source}: {vocabulary.file_name}"
        self._ids = {piece: i for i, piece in enumerate(vocabulary.pieces)}
        for piece, expected in self._FIXED_IDS.items():
            if self._id_of(piece) != expected:
                raise InputError(
                    f"{self._where}: piece {piece} has id {self._ids[piece]}, should have {expected}. Take the "
                    "vocabulary of a released ALBERT or BERT, or train one with start: random."
                )
        self.unknown_id = self._id_of(self._UNKNOWN)
        self.cls_id, self.sep_id, self.mask_id = (self._id_of(piece) for piece in ("[CLS]", "[SEP]", "[MASK]"))

    def _id_of(self, special: str) -> int:
        if special not in self._ids:
            raise InputError(
                f"{self._where}: has no piece {special}, which pre-training needs. Take the vocabulary of a released "
                "ALBERT or BERT, or train one that has it, as start: random does."
            )
        return self._ids[special]

    @staticmethod
    def from_file(path: str | Path, do_lower_case: bool = True) -> Tokenizer:
        """The tokenizer of a file: `*.model` is SentencePiece, another name WordPiece.

        Raises:
          InputError: it cannot be read, or is no such vocabulary.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        return Tokenizer.of(Vocabulary(content, Path(path).name, do_lower_case), str(path))

    @staticmethod
    def of(vocabulary: Vocabulary, source: str) -> Tokenizer:
        """The tokenizer of a vocabulary that came from `source`."""
        # Both are made of this class; and what the other kind needs is not imported.
        if vocabulary.kind == "sentencepiece":
            from albert_model.text.sentencepiece_tokenizer import SentencePieceTokenizer

            return SentencePieceTokenizer(vocabulary, source)
        from albert_model.text.wordpiece_tokenizer import WordPieceTokenizer

        return WordPieceTokenizer(vocabulary, source)

    @property
    def do_lower_case(self) -> bool:
        return self.vocabulary.do_lower_case

    @property
    def pieces(self) -> tuple[str, ...]:
        return self.vocabulary.pieces

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    @cached_property
    def fingerprint(self) -> str:
        return self.vocabulary.fingerprint

    @cached_property
    def starts_word(self) -> np.ndarray:
        """bool [V]: whether a piece begins a word."""
        return np.array([self._begins_word(piece) for piece in self.pieces])

    @cached_property
    def ordinary_ids(self) -> np.ndarray:
        """int32 [R]: pieces that stand for text, the ones a random replacement is drawn from."""
        return np.array([i for i in range(self.vocab_size) if self._is_ordinary(i)], np.int32)

    @abc.abstractmethod
    def encode(self, sentences: Sequence[str]) -> Ragged:
        """Ids of each sentence, int32, without special pieces. A sentence can have none."""

    @abc.abstractmethod
    def plain(self, sentences: Sequence[str]) -> list[str]:
        """Each sentence as it is before it is cut: normalised, with a space between what is cut separately."""

    @abc.abstractmethod
    def pieces_for(self, unigram: str) -> list[str]:
        """The pieces of this kind that do the work of one of a SentencePiece vocabulary. There may be none."""

    @abc.abstractmethod
    def spell(self, pieces: Sequence[str]) -> Ragged:
        """Ids of what stands in text where each of these pieces would, if it were one. None is empty."""

    @abc.abstractmethod
    def with_pieces(self, pieces: Sequence[str]) -> Tokenizer:
        """Knows these pieces as well, after all others. Where one fits, it goes before what it is spelt with."""

    @abc.abstractmethod
    def _begins_word(self, piece: str) -> bool: ...

    @abc.abstractmethod
    def _is_ordinary(self, number: int) -> bool: ...


def write_vocabulary(folder: str | Path, tokenizer: Tokenizer) -> None:
    """Writes the tokenizer's vocabulary; see `Vocabulary.write`."""
    tokenizer.vocabulary.write(folder)


def read_vocabulary(folder: str | Path) -> Tokenizer:
    """The tokenizer of the one vocabulary in a folder.

    Raises:
      InputError: there is none, or nothing can be trained with it.
    """
    return Tokenizer.of(vocabularies.read(folder), str(folder))
