"""SentencePiece as ALBERT uses it."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
import sentencepiece

from albert_model.text import sentencepiece_model
from albert_model.text.normalization import normalize
from albert_model.text.part_memo import PartMemo
from albert_model.text.ragged import Ragged, offsets_of, ranges
from albert_model.text.sentencepiece_parts import part_memo
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary

WORD_MARK = "▁"
_ASCII_LETTERS_AND_PUNCTUATION = frozenset(string.ascii_letters + string.punctuation)
_DIGIT_COMMA = re.compile(r"\d,$")
FILE_NAME = "spm.model"  # of a vocabulary that is made here
_BONUS = 0.05  # for each character but one that a piece is spelt with
_UNKNOWN_PENALTY = 10.0  # of SentencePiece: below the lowest score


def begins_word(piece: str) -> bool:
    """Whether a piece begins a word, by ALBERT's rule for SentencePiece vocabularies.

    It does if it carries the word mark, is a special piece, is one ASCII punctuation mark, € or £, or holds
    a character that is neither an ASCII letter nor ASCII punctuation (digits and foreign letters stand alone).
    """
    if piece.startswith((WORD_MARK, "<")):
        return True
    if len(piece) == 1 and piece in string.punctuation + "€£":
        return True
    return any(c not in _ASCII_LETTERS_AND_PUNCTUATION for c in piece)


def is_split_again(piece: str) -> bool:
    """Whether ALBERT cuts a piece once more: if it ends in a digit and a comma."""
    return _DIGIT_COMMA.search(piece) is not None


class SentencePieceTokenizer(Tokenizer):
    """SentencePiece with ALBERT's normalisation, and its second split of pieces that end in a digit and a comma.

    Raises:
      InputError: not a SentencePiece model; and see `Tokenizer`.
    """

    # transformers' ALBERT, which encoders are exported to, has the two there.
    _FIXED_IDS: ClassVar[dict[str, int]] = {"<pad>": 0, "<unk>": 1}
    _UNKNOWN: ClassVar[str] = "<unk>"

    def __init__(self, vocabulary: Vocabulary, source: str):
        super().__init__(vocabulary, source)
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary.content)

    def encode(self, sentences: Sequence[str]) -> Ragged:
        plain = self.plain(sentences)
        encoded = self._encode_whole(plain) if self._parts is None else self._parts.encode(plain)
        table = self._second_split
        counts = table.lengths[encoded.values]
        values = table.values[ranges(table.offsets[encoded.values], counts)]
        return Ragged(values, offsets_of(counts)[encoded.offsets])

    @cached_property
    def _parts(self) -> PartMemo | None:
        return part_memo(self.vocabulary.content, self._encode_whole)

    def _encode_whole(self, plain: Sequence[str]) -> Ragged:
        # One thread: workers fork, and are as many as there are cores. Lists: faster than an array a sentence.
        rows = self._processor.EncodeAsIds(list(plain), num_threads=1)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return Ragged.from_lengths(np.fromiter(itertools.chain.from_iterable(rows), np.int32, lengths.sum()), lengths)

    def plain(self, sentences: Sequence[str]) -> list[str]:
        return normalize(sentences, self.do_lower_case)

    @cached_property
    def _second_split(self) -> Ragged:
        """What ALBERT writes in place of each piece: itself, but for one that ends in a digit and a comma (`1,` → `1`
        `,`).
        """
        return Ragged.from_rows([self._split_again(i, piece) for i, piece in enumerate(self.pieces)])

    def _split_again(self, number: int, piece: str) -> list[int]:
        if not is_split_again(piece):
            return [number]
        head = self._processor.encode(piece[:-1].replace(WORD_MARK, ""), out_type=str)
        if not piece.startswith(WORD_MARK):
            head[0] = head[0].removeprefix(WORD_MARK)
        return [self._processor.piece_to_id(p) for p in (*head, ",") if p]

    def pieces_for(self, unigram: str) -> list[str]:
        return [] if is_split_again(unigram) else [unigram]

    def spell(self, pieces: Sequence[str]) -> Ragged:
        processor = sentencepiece.SentencePieceProcessor(
            model_proto=sentencepiece_model.without_edges(self.vocabulary.content)
        )
        return Ragged.from_rows(processor.EncodeAsNumpy(list(pieces), num_threads=1))

    def with_pieces(self, pieces: Sequence[str]) -> Tokenizer:
        """The score of a new piece is that of its spelling, and a bonus for each character but one.

        So a piece goes before any way to cut it, into other new ones as well: of two that stand side by side, the one
        that is both has the larger bonus, and its spelling is the best one there is. No score is below the lowest of
        before, as what is unknown is ten below that: text without a new piece keeps its ids.
        """
        scores = [self._processor.get_score(int(i)) for i in self.ordinary_ids]
        lowest = min(scores)
        table = np.full(self.vocab_size, lowest - _UNKNOWN_PENALTY)
        table[self.ordinary_ids] = scores
        spelt = [
            table[ids].sum() + _BONUS * (len(p) - 1) for p, ids in zip(pieces, self.spell(pieces).rows(), strict=True)
        ]
        model = sentencepiece_model.with_pieces(
            self.vocabulary.content, zip(pieces, np.maximum(spelt, lowest).tolist(), strict=True)
        )
        return Tokenizer.of(Vocabulary(model, FILE_NAME, self.do_lower_case), "the extended vocabulary")

    def _begins_word(self, piece: str) -> bool:
        return begins_word(piece)

    def _is_ordinary(self, number: int) -> bool:
        special = (self.cls_id, self.sep_id, self.mask_id)
        processor = self._processor
        return not (number in special or processor.is_control(number) or processor.is_unknown(number))
