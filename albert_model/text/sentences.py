"""Prose to sentences, by the rules of its language."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import sentencex

# Text is split so many characters at a time: the time that sentencex takes grows with the square of the signs in its
# text. A sentence as long as that is none.
_CHARACTERS = 1 << 12


def split_sentences(lines: Iterable[str], language: str) -> Iterator[str]:
    """Splits the prose between blank lines into sentences, wherever its lines are broken.

    >>> list(split_sentences(["Dr. Bell came", "late. He sat.", "", "Then he spoke."], "en"))
    ['Dr. Bell came late.', 'He sat.', '', 'Then he spoke.', '']

    Args:
      lines: white space collapsed; an empty one for a blank line.
      language: ISO 639 code.

    Yields:
      Sentences, white space collapsed; an empty one for a blank line and for the end.
    """
    gathered: list[str] = []
    length = 0
    for line in itertools.chain(lines, [""]):
        if line:
            gathered.append(line)
            length += len(line)
        if length >= _CHARACTERS or not line:
            # Ends of lines stay while the rules are applied: they tell items of a list.
            sentences, last = _split("\n".join(gathered), language)
            if not line:
                sentences.append(last)
                last = ""
            yield from filter(None, (" ".join(sentence.split()) for sentence in sentences))
            gathered, length = [last] if last else [], len(last)
        if not line:
            yield ""


def _split(text: str, language: str) -> tuple[list[str], str]:
    """The sentences of a text, and the last one apart, as it may go on."""
    sentences: list[str] = []
    last = ""
    for start in range(0, len(text), _CHARACTERS):
        *whole, last = sentencex.segment(language, last + text[start : start + _CHARACTERS])
        if not whole and len(last) > _CHARACTERS:
            whole, last = [last], ""
        sentences += whole
    return sentences, last
