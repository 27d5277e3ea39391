"""SentencePiece with ALBERT's normalisation, and the training of such a vocabulary."""

from __future__ import annotations

import functools
import io
import re
import string
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pydantic
import sentencepiece

from albert_model.errors import InputError
from albert_model.text import vocabulary
from albert_model.text.ragged import Ragged, offsets_of, ranges
from albert_model.text.vocabulary import Vocabulary

_WORD_MARK = "▁"
_ASCII_LETTERS_AND_PUNCTUATION = frozenset(string.ascii_letters + string.punctuation)
# The ids that ALBERT's released vocabularies give to the special pieces.
_SPECIAL_IDS = {"<pad>": 0, "<unk>": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
# As the released vocabulary was trained (albert README, "SentencePiece").
_USER_DEFINED_SYMBOLS = ["(", ")", '"', "-", ".", "–", "£", "€"]

# What `str.split` takes out, but for single spaces between words.
_UNEVEN_WHITE_SPACE = ("  ", "\n ", " \n", *(c for c in map(chr, range(0x3001)) if c.isspace() and c not in " \n"))
_LONGEST_SENTENCE = 2**30  # bytes; SentencePiece leaves out what is longer than 4,192 unless told otherwise


class TokenizerSettings(pydantic.BaseModel):
    """How a vocabulary is trained."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    do_lower_case: bool = pydantic.Field(default=True, description="Lower-case the text, as all released ALBERTs do.")
    character_coverage: float = pydantic.Field(
        default=0.99995, gt=0, le=1, description="Share of characters that get a piece of their own; the rest is <unk>."
    )
    max_sentences: int = pydantic.Field(
        default=10_000_000, ge=1, description="Sentences to train on at most; a sample by hash beyond that."
    )


def normalize(sentences: Sequence[str], do_lower_case: bool = True) -> list[str]:
    """ALBERT's normalisation: one space between words, straight double quotes, no accents, lower case.

    >>> normalize(["  Café  ``1,000'' "])
    ['cafe "1,000"']
    """
    text = "\n".join(sentences)
    if text.count("\n") != len(sentences) - 1 or any(mark in f"\n{text}\n" for mark in _UNEVEN_WHITE_SPACE):
        text = "\n".join(" ".join(sentence.split()) for sentence in sentences)
    lines = text.replace("``", '"').replace("''", '"').split("\n") if sentences else []
    lines = [line if line.isascii() else _without_accents(line) for line in lines]
    return [line.lower() for line in lines] if do_lower_case else lines


def _without_accents(text: str) -> str:
    return _combining_marks().sub("", unicodedata.normalize("NFKD", text))


@functools.cache
def _combining_marks() -> re.Pattern[str]:
    marks = [code for code in range(sys.maxunicode + 1) if unicodedata.combining(chr(code))]
    return re.compile(f"[{''.join(map(chr, marks))}]+")


def begins_word(piece: str) -> bool:
    """Whether a piece begins a word, by ALBERT's rule for SentencePiece vocabularies.

    It does if it carries the word mark, is a special piece, is one ASCII punctuation mark, € or £, or holds
    a character that is neither an ASCII letter nor ASCII punctuation (digits and foreign letters stand alone).
    """
    if piece.startswith((_WORD_MARK, "<")):
        return True
    if len(piece) == 1 and piece in string.punctuation + "€£":
        return True
    return any(c not in _ASCII_LETTERS_AND_PUNCTUATION for c in piece)


class Tokenizer:
    """Text to ids with ALBERT's normalisation and its second split of pieces that end in a digit and a comma.

    Args:
      model: the bytes of a SentencePiece model.
      do_lower_case: part of the normalisation.
      source: where the model came from, for errors.
      file_name: what the model's file is called.

    Raises:
      InputError: not a SentencePiece model, or the special pieces do not have ALBERT's ids.
    """

    def __init__(
        self, model: bytes, do_lower_case: bool = True, source: str = "tokenizer", file_name: str = "spm.model"
    ):
        self.model = model
        self.do_lower_case = do_lower_case
        self.vocabulary = Vocabulary(model, file_name, do_lower_case)
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise InputError(
                f"{source}: not a SentencePiece model. Give the spm.model of an ALBERT vocabulary."
            ) from error
        for piece, expected in _SPECIAL_IDS.items():
            found = self._processor.piece_to_id(piece)
            if self._processor.id_to_piece(found) != piece or found != expected:
                raise InputError(f"{source}: piece {piece} should have id {expected}; this is no ALBERT vocabulary.")

    @classmethod
    def from_file(cls, path: str | Path, do_lower_case: bool = True) -> Tokenizer:
        try:
            return cls(Path(path).read_bytes(), do_lower_case, str(path), Path(path).name)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error

    @classmethod
    def of(cls, vocabulary: Vocabulary, source: str) -> Tokenizer:
        """The tokenizer of a vocabulary that came from `source`."""
        if vocabulary.kind != "sentencepiece":
            raise InputError(
                f"{source}: {vocabulary.file_name} is a WordPiece vocabulary; training text is cut into pieces with "
                "SentencePiece vocabularies only."
            )
        return cls(vocabulary.content, vocabulary.do_lower_case, source, vocabulary.file_name)

    @property
    def cls_id(self) -> int:
        return _SPECIAL_IDS["[CLS]"]

    @property
    def sep_id(self) -> int:
        return _SPECIAL_IDS["[SEP]"]

    @property
    def mask_id(self) -> int:
        return _SPECIAL_IDS["[MASK]"]

    @property
    def vocab_size(self) -> int:
        return self._processor.get_piece_size()

    @property
    def pieces(self) -> tuple[str, ...]:
        return self.vocabulary.pieces

    @cached_property
    def fingerprint(self) -> str:
        return self.vocabulary.fingerprint

    @cached_property
    def starts_word(self) -> np.ndarray:
        """bool [V]: `begins_word` of every piece."""
        return np.array([begins_word(piece) for piece in self.pieces])

    @cached_property
    def ordinary_ids(self) -> np.ndarray:
        """int32 [R]: pieces that stand for text, the ones a random replacement is drawn from."""
        processor = self._processor
        return np.array(
            [i for i in range(self.vocab_size) if not (processor.is_control(i) or processor.is_unknown(i))], np.int32
        )

    @cached_property
    def _second_split(self) -> Ragged:
        """What ALBERT writes in place of each piece: itself, but for one that ends in a digit and a comma (`1,` → `1`
        `,`).
        """
        return Ragged.from_rows([self._split_again(i, piece) for i, piece in enumerate(self.pieces)])

    def _split_again(self, number: int, piece: str) -> list[int]:
        if not re.search(r"\d,$", piece):
            return [number]
        head = self._processor.encode(piece[:-1].replace(_WORD_MARK, ""), out_type=str)
        if not piece.startswith(_WORD_MARK):
            head[0] = head[0].removeprefix(_WORD_MARK)
        return [self._processor.piece_to_id(p) for p in (*head, ",") if p]

    def encode(self, sentences: Sequence[str]) -> Ragged:
        """Ids of each sentence, int32, without special pieces. A sentence can have none."""
        normalized = normalize(sentences, self.do_lower_case)
        encoded = Ragged.from_rows(self._processor.EncodeAsNumpy(normalized, num_threads=1))
        table = self._second_split
        counts = table.lengths[encoded.values]
        values = table.values[ranges(table.offsets[encoded.values], counts)]
        return Ragged(values, offsets_of(counts)[encoded.offsets])


def train(sentences: Iterable[str], vocab_size: int, settings: TokenizerSettings) -> Tokenizer:
    """Trains a unigram vocabulary with the settings of ALBERT's released one.

    The same sentences in the same order give the same vocabulary.

    Args:
      sentences: read once.
      vocab_size: pieces, special ones included.
      settings: see there.

    Raises:
      InputError: the text has too few distinct pieces for `vocab_size`, or too many distinct characters.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_normalized(sentences, settings.do_lower_case),
            model_writer=model,
            vocab_size=vocab_size,
            character_coverage=settings.character_coverage,
            model_type="unigram",
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["[CLS]", "[SEP]", "[MASK]"],
            user_defined_symbols=_USER_DEFINED_SYMBOLS,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            max_sentence_length=_LONGEST_SENTENCE,
            num_threads=2,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(_explain(str(error), vocab_size)) from error
    return Tokenizer(model.getvalue(), settings.do_lower_case)


def _normalized(sentences: Iterable[str], do_lower_case: bool) -> Iterator[str]:
    return (normalize([sentence], do_lower_case)[0] for sentence in sentences)


def _explain(message: str, vocab_size: int) -> str:
    if limit := re.search(r"<= (\d+)", message):
        return (
            f"vocab_size {vocab_size} of the model's config is more than this text supports: "
            f"set it to {limit[1]} or less, or add text."
        )
    if "required_chars" in message:
        return (
            f"vocab_size {vocab_size} of the model's config is less than the text has distinct characters: "
            "raise it, or lower tokenizer.character_coverage."
        )
    return f"SentencePiece could not train a vocabulary of {vocab_size} pieces on this text: {message}"


def write_vocabulary(folder: str | Path, tokenizer: Tokenizer) -> None:
    """Writes the tokenizer's vocabulary; see `Vocabulary.write`."""
    tokenizer.vocabulary.write(folder)


def read_vocabulary(folder: str | Path) -> Tokenizer:
    """The tokenizer of the one vocabulary in a folder.

    Raises:
      InputError: there is none, or it is none of ALBERT's kind.
    """
    return Tokenizer.of(vocabulary.read(folder), str(folder))
