"""WordPiece as BERT uses it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from albert_model.text.ragged import Ragged
from albert_model.text.sentencepiece_tokenizer import WORD_MARK
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary

CONTINUATION = "##"
# A longer word is unknown; transformers' BERT, which encoders are exported to, has this limit.
LONGEST_WORD = 100
_NO_TEXT = re.compile(r"\[.+\]|<.+>")  # special and unused pieces: words of text never hold such marks


class WordPieceTokenizer(Tokenizer):
    """BERT's tokenizer: words and punctuation marks, each cut into the longest pieces from the left.

    Text is stripped of accents where it is lower-cased, and Chinese characters stand alone.
    """

    _FIXED_IDS: ClassVar[dict[str, int]] = {"[PAD]": 0}
    _UNKNOWN: ClassVar[str] = "[UNK]"

    def __init__(self, vocabulary: Vocabulary, source: str):
        super().__init__(vocabulary, source)
        model = models.WordPiece(self._ids, unk_token=self._UNKNOWN, max_input_chars_per_word=LONGEST_WORD)
        self._tokenizer = tokenizers.Tokenizer(model)
        self._normalizer = normalizers.BertNormalizer(lowercase=self.do_lower_case)
        self._words = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.normalizer, self._tokenizer.pre_tokenizer = self._normalizer, self._words

    def encode(self, sentences: Sequence[str]) -> Ragged:
        # One by one, which is no slower: `encode_batch` starts threads, and workers fork.
        return Ragged.from_rows([self._tokenizer.encode(s, add_special_tokens=False).ids for s in sentences])

    def plain(self, sentences: Sequence[str]) -> list[str]:
        normalized = map(self._normalizer.normalize_str, sentences)
        return [" ".join(word for word, _ in self._words.pre_tokenize_str(text)) for text in normalized]

    def pieces_for(self, unigram: str) -> list[str]:
        if unigram.startswith(WORD_MARK):
            return [unigram.removeprefix(WORD_MARK)] if unigram != WORD_MARK else []
        # There, a character that is a word comes after a word mark which is a piece of its own.
        return [CONTINUATION + unigram, *([unigram] if len(unigram) == 1 else [])]

    def spell(self, pieces: Sequence[str]) -> Ragged:
        return Ragged.from_rows([self._longest_first(piece) for piece in pieces])

    def _longest_first(self, piece: str) -> list[int]:
        """The rule by which words are cut, from the left; where none fits, all of it is unknown."""
        mark = CONTINUATION if piece.startswith(CONTINUATION) else ""
        rest = piece.removeprefix(mark)
        ids = []
        while rest:
            fitting = (self._ids.get(mark + rest[:length]) for length in range(len(rest), 0, -1))
            if (found := next((i for i in fitting if i is not None), None)) is None:
                return [self.unknown_id]
            ids.append(found)
            rest = rest[len(self.pieces[found].removeprefix(mark)) :]
            mark = CONTINUATION
        return ids

    def with_pieces(self, pieces: Sequence[str]) -> Tokenizer:
        content = "".join(f"{piece}\n" for piece in (*self.pieces, *pieces)).encode()
        return Tokenizer.of(
            Vocabulary(content, self.vocabulary.file_name, self.do_lower_case), "the extended vocabulary"
        )

    def _begins_word(self, piece: str) -> bool:
        return not piece.startswith(CONTINUATION)

    def _is_ordinary(self, number: int) -> bool:
        return not _NO_TEXT.fullmatch(self.pieces[number])
