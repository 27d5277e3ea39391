"""ALBERT's normalisation of text, before SentencePiece's own."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Sequence

# What `str.split` takes out, but for single spaces between words.
_UNEVEN_WHITE_SPACE = ("  ", "\n ", " \n", *(c for c in map(chr, range(0x3001)) if c.isspace() and c not in " \n"))


def normalize(sentences: Sequence[str], do_lower_case: bool = True) -> list[str]:
    """One space between words, straight double quotes, no accents, lower case; for each sentence.

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
