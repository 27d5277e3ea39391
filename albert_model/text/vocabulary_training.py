"""Training of a SentencePiece vocabulary, as ALBERT's released one was trained."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Literal

import pydantic
import sentencepiece

from albert_model.errors import InputError
from albert_model.settings import Settings
from albert_model.text.normalization import normalize
from albert_model.text.sentencepiece_tokenizer import FILE_NAME
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary

# As the released vocabulary was trained (albert README, "SentencePiece").
_USER_DEFINED_SYMBOLS = ["(", ")", '"', "-", ".", "–", "£", "€"]
_LONGEST_SENTENCE = 2**30  # bytes; SentencePiece leaves out what is longer than 4,192 unless told otherwise
_BATCH = 1000  # sentences normalised at once


class TokenizerSettings(Settings):
    """How a vocabulary is trained, or extended."""

    do_lower_case: bool = pydantic.Field(default=True, description="Lower-case the text, as all released ALBERTs do.")
    character_coverage: float = pydantic.Field(
        default=0.99995, gt=0, le=1, description="Share of characters that get a piece of their own; the rest is <unk>."
    )
    max_sentences: int = pydantic.Field(
        default=10_000_000, ge=1, description="Sentences to train on at most; a sample by hash beyond that."
    )
    extend: bool = pydantic.Field(
        default=False,
        description="Add pieces of this text to the vocabulary of the model to start from, until there are "
        "`model.vocab_size`.",
    )
    when_text_is_small: Literal["fail", "shrink"] = pydantic.Field(
        default="fail",
        description="If the text supports fewer pieces than `model.vocab_size`. shrink: make as many as it supports; "
        "the model keeps rows that no piece uses.",
    )


def train(sentences: Iterable[str], vocab_size: int, settings: TokenizerSettings) -> Tokenizer:
    """Trains a unigram vocabulary with the settings of ALBERT's released one.

    The same sentences in the same order give the same vocabulary.

    Args:
      sentences: read once.
      vocab_size: pieces, special ones included.
      settings: see there. If they say so, a text that is too small gives the largest vocabulary that it supports.

    Raises:
      InputError: the text has too few distinct pieces for `vocab_size`, or too many distinct characters.
    """
    lines = _normalized(sentences, settings.do_lower_case)
    model = train_unigram(lines, vocab_size, settings.character_coverage, settings.when_text_is_small == "shrink")
    return Tokenizer.of(Vocabulary(model, FILE_NAME, settings.do_lower_case), "the trained vocabulary")


def train_unigram(lines: Iterable[str], vocab_size: int, character_coverage: float, shrink: bool) -> bytes:
    """The SentencePiece model of normalised lines; see `train`.

    Args:
      lines: read once.
      vocab_size: pieces, special ones included.
      character_coverage: share of characters that get a piece of their own.
      shrink: take the largest vocabulary that the lines support if that is smaller.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=vocab_size,
            hard_vocab_limit=not shrink,
            character_coverage=character_coverage,
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
            num_threads=2,  # the same everywhere: sums of floats depend on it
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(_explain(str(error), vocab_size)) from error
    return model.getvalue()


def _normalized(sentences: Iterable[str], do_lower_case: bool) -> Iterator[str]:
    sentences = iter(sentences)
    while batch := list(itertools.islice(sentences, _BATCH)):
        yield from normalize(batch, do_lower_case)


def _explain(message: str, vocab_size: int) -> str:
    if limit := re.search(r"<= (\d+)", message):
        return (
            f"vocab_size {vocab_size} of the model's config is more than this text supports: "
            f"set it to {limit[1]} or less, add text, or set tokenizer.when_text_is_small: shrink."
        )
    if "required_chars" in message:
        return (
            f"vocab_size {vocab_size} of the model's config is less than the text has distinct characters: "
            "raise it, or lower tokenizer.character_coverage."
        )
    return f"SentencePiece could not train a vocabulary of {vocab_size} pieces on this text: {message}"
