"""Sentence-per-line text to documents: reading, identity, and the split a document belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from albert_model.errors import InputError

SPLITS = ("train", "eval")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
BUCKETS = 1000


@dataclass(frozen=True)
class Document:
    """A run of sentences that belong together, in order.

    Attributes:
      document_id: see `identify`.
      domain: the folder below the span that the text came from.
      sentences: white space collapsed, none empty.
      continues: the text of the same document went before, in a `Document` cut off at the length limit.
    """

    document_id: str
    domain: str
    sentences: tuple[str, ...]
    continues: bool = False


def read_documents(lines: Iterable[bytes], source: str, domain: str, max_sentences: int) -> Iterator[Document]:
    """Reads one sentence per line, documents separated by blank lines.

    Takes `\\n`, `\\r\\n` and `\\r` as ends of lines, a byte order mark, and any number of blank lines. A document
    of more than `max_sentences` is cut into several, so that memory and the held-out share do not hang on one document.

    Args:
      lines: raw lines of one file, read as they are needed.
      source: the file's name, for errors.
      domain: given to every document.
      max_sentences: sentences in a document at most.

    Raises:
      InputError: a line is not UTF-8 text; names the file and the line.
    """
    sentences: list[str] = []
    continues = False
    for number, line in enumerate(_without_carriage_returns(lines), start=1):
        sentence = _decode(line, source, number)
        cut = len(sentences) == max_sentences
        if sentences and (cut or not sentence):
            yield make_document(sentences, domain, continues)
            sentences = []
            continues = bool(cut and sentence)
        if sentence:
            sentences.append(sentence)
    if sentences:
        yield make_document(sentences, domain, continues)


def _without_carriage_returns(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield from line.rstrip(b"\r\n").split(b"\r")


def _decode(line: bytes, source: str, number: int) -> str:
    if number == 1:
        line = line.removeprefix(_BYTE_ORDER_MARK)
        if line.startswith(_GZIP):
            raise InputError(f"{source}: is gzipped, but its name does not end in .gz. Rename it.")
    if b"\0" in line:
        raise InputError(
            f"{source}, line {number}: holds a zero byte, so it is no text, or text in UTF-16. Remove the file, or "
            "convert it: iconv -f UTF-16 -t UTF-8"
        )
    try:
        return " ".join(line.decode("utf-8").split())
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source}, line {number}: not UTF-8 (byte {error.start + 1}: {error.reason}). "
            "Convert the file, for example with: iconv -f ISO-8859-1 -t UTF-8"
        ) from error


def make_document(sentences: Iterable[str], domain: str, continues: bool = False) -> Document:
    sentences = tuple(sentences)
    return Document(identify(sentences), domain, sentences, continues)


def identify(sentences: Iterable[str]) -> str:
    """The document's id: hex of a 128-bit blake2b over its sentences. Equal text has equal ids."""
    return hashlib.blake2b("\n".join(sentences).encode("utf-8"), digest_size=16).hexdigest()


def split_of(document_id: str, eval_fraction: float) -> str:
    """The split of a document depends on its text alone: the same in every span, run and file."""
    bucket = int(document_id[:12], 16) % BUCKETS
    return "eval" if bucket < round(eval_fraction * BUCKETS) else "train"
