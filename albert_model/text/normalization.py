"""ALBERT's normalisation of text, before SentencePiece's own."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

_SPACE = ord(" ")  # the first of ASCII that is printed
_OTHER_SPACES = tuple(c for c in map(chr, range(0x80, 0x3001)) if c.isspace())


def normalize(sentences: Sequence[str], do_lower_case: bool = True) -> list[str]:
    """One space between words, straight double quotes, no accents, lower case; for each sentence.

    >>> normalize(["  Café  ``1,000'' "])
    ['cafe "1,000"']
    """
    # Each kind by itself: text with but one other character in it is several times slower to work on.
    is_ascii = [sentence.isascii() for sentence in sentences]
    plain = _normalized(list(itertools.compress(sentences, is_ascii)), do_lower_case)
    if len(plain) == len(sentences):
        return plain
    others = _normalized([sentence for sentence in sentences if not sentence.isascii()], do_lower_case)
    lines = (iter(others), iter(plain))
    return [next(lines[kind]) for kind in is_ascii]


def _normalized(sentences: list[str], do_lower_case: bool) -> list[str]:
    if not sentences:
        return []
    text = "\n".join(["", *sentences, ""])
    if text.count("\n") != len(sentences) + 1 or not _is_even(text):
        text = "\n".join(["", *(" ".join(sentence.split()) for sentence in sentences), ""])
    text = text.replace("``", '"').replace("''", '"')
    text = text if text.isascii() else _without_accents(text)
    return (text.lower() if do_lower_case else text).split("\n")[1:-1]


def _is_even(text: str) -> bool:
    """Whether no space or line feed stands beside another, and there is no other white space."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    is_space = data <= _SPACE
    if (is_space[1:] & is_space[:-1]).any() or is_space.sum() != (data == _SPACE).sum() + text.count("\n"):
        return False
    return text.isascii() or not any(space in text for space in _OTHER_SPACES)


def _without_accents(text: str) -> str:
    text = unicodedata.normalize("NFKD", text)
    marks = "".join(sorted(filter(unicodedata.combining, set(text))))
    return re.sub(f"[{marks}]+", "", text) if marks else text
