"""Text to documents: reading, identity, and the split a document belongs to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import pydantic

from albert_model.errors import InputError
from albert_model.settings import Settings
from albert_model.text.lines import Line, line_number, read_lines, text_of
from albert_model.text.sentences import split_sentences

SPLITS = ("train", "eval")
_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
BUCKETS = 1000


class DocumentSettings(Settings):
    """How text becomes documents."""

    max_sentences_per_document: int = pydantic.Field(
        default=256, ge=2, description="A longer document is cut into several."
    )
    sentences: Literal["lines", "split"] = pydantic.Field(
        default="lines",
        description="lines: one stands on each line. split: the lines between two blank lines are prose, which is "
        "joined and split into sentences by the rules of `language`.",
    )
    language: str = pydantic.Field(
        default="en",
        pattern=r"^[a-z]{2,3}(-[a-z0-9]+)*$",
        description="Code of the language that sentences are split by (en, de, pt-br); one without rules of its own is "
        "split as a related one, or as English.",
    )
    invalid_utf8: Literal["fail", "replace", "skip"] = pydantic.Field(
        default="fail",
        description="A line that is not UTF-8. fail: an error names it. replace: U+FFFD stands for what cannot be "
        "read. skip: it is left out. Both are counted.",
    )
    near_duplicates: Literal["keep", "drop"] = pydantic.Field(
        default="keep",
        description="drop: of documents that say nearly the same, in any file and split, one is kept. Equal ones are "
        "dropped always.",
    )
    near_duplicate_similarity: float = pydantic.Field(
        default=0.8,
        ge=0.5,
        le=0.95,
        description="Documents that share so much of all word 5-grams of both are near duplicates; estimated, give or "
        "take 0.04.",
    )


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


def read_documents(
    file: BinaryIO,
    source: str,
    domain: str,
    settings: DocumentSettings,
    counts: Counter[str],
    start: int = 0,
    end: int | None = None,
) -> Iterator[Document]:
    """Reads documents separated by blank lines, of one sentence a line or of prose.

    Takes any ends of lines, byte order marks, and any number of blank lines. A document of more sentences than the
    settings allow is cut into several, so that memory and the held-out share do not hang on one document.

    Args:
      file: the text, opened for reading bytes.
      source: the file's name, for errors.
      domain: given to every document.
      settings: what a sentence is, how many there may be, and what becomes of lines that are not UTF-8.
      counts: `replaced_utf8_lines` and `invalid_utf8_lines`, the latter left out (updated).
      start, end: a range of bytes: gives the documents that belong to it, see `lines.read_lines`. Whatever the
        ranges that cover a file, they give the same documents.

    Raises:
      InputError: it is no text, or not UTF-8; names the file and the line.
    """
    texts = _texts(file, source, settings, counts, start, end)
    if settings.sentences == "split":
        texts = split_sentences(texts, settings.language)
    sentences: list[str] = []
    continues = False
    for text in texts:
        cut = len(sentences) == settings.max_sentences_per_document
        if sentences and (cut or not text):
            yield make_document(sentences, domain, continues)
            sentences = []
            continues = bool(cut and text)
        if text:
            sentences.append(text)
    if sentences:
        yield make_document(sentences, domain, continues)


def _texts(
    file: BinaryIO, source: str, settings: DocumentSettings, counts: Counter[str], start: int, end: int | None
) -> Iterator[str]:
    """The lines as text, an empty one for a blank line."""
    for line in read_lines(file, start, end):
        if b"\0" in line.data or line.offset == 0:
            _check_is_text(line, file, source)
        try:
            yield text_of(line.data.decode("utf-8"))
        except UnicodeDecodeError as error:
            if settings.invalid_utf8 == "fail":
                raise InputError(
                    f"{source}, line {line_number(file, line.offset)}: not UTF-8 (byte {error.start + 1}: "
                    f"{error.reason}). Convert the file, for example with: iconv -f ISO-8859-1 -t UTF-8. If only some "
                    "lines are damaged, set corpus.invalid_utf8 to replace or skip."
                ) from error
            if settings.invalid_utf8 == "skip":
                counts["invalid_utf8_lines"] += 1
            else:
                counts["replaced_utf8_lines"] += 1
                yield text_of(line.data.decode("utf-8", "replace"))


def _check_is_text(line: Line, file: BinaryIO, source: str) -> None:
    """Raises InputError where a line, the file's first or one with a zero byte, is no text in any bytewise encoding."""
    head = line.data
    if line.offset:  # there will be an error, so the place in the file does not matter any more
        file.seek(0)
        head = file.read(len(_GZIP))
    if head.startswith(_GZIP):
        raise InputError(f"{source}: is gzipped, but its name does not end in .gz. Rename it.")
    if head.startswith(_UTF16):
        raise InputError(f"{source}: is text in UTF-16. Convert it: iconv -f UTF-16 -t UTF-8")
    if b"\0" in line.data:
        raise InputError(
            f"{source}, line {line_number(file, line.offset)}: holds a zero byte, so it is no text, or text in UTF-16. "
            "Remove the file, or convert it: iconv -f UTF-16 -t UTF-8"
        )


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
