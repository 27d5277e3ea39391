"""The lines of a file, read as a whole or by ranges of bytes that several readers share.

A line ends with `\\n`, `\\r\\n`, `\\r`, or `\\r\\r\\n`, which a program leaves that writes `\\r\\n` to a file opened as
text. Memory holds a block and the line that is read, whatever the size of the file.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from albert_model.errors import InputError

_BLOCK_BYTES = 1 << 20
_GZIP_RATIO = 4  # text bytes in a compressed byte, about


@contextlib.contextmanager
def decompressed(path: str, file: BinaryIO) -> Iterator[BinaryIO]:
    """The text of a file, plain or, by its name, gzipped.

    Raises:
      InputError: it is a damaged gzip file.
    """
    if not path.endswith(".gz"):
        yield file
        return
    try:
        with gzip.GzipFile(fileobj=file) as text:
            yield text  # type: ignore[misc]  # it has what is asked of a file here
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error}). Copy or compress it again.") from error


def text_bytes(path: str, size: int) -> int:
    """Bytes of text in a file of `size` bytes; of a gzipped one about."""
    return size * (_GZIP_RATIO if path.endswith(".gz") else 1)


class Line(NamedTuple):
    """A line with its end.

    Attributes:
      offset: bytes before it in the file.
      data: its bytes.
    """

    offset: int
    data: bytes


def ranges_of(size: int, range_bytes: int) -> list[tuple[int, int | None]]:
    """Ranges (start, end) of a file of `size` bytes; the last has no end. A small remainder joins the range before it.

    >>> ranges_of(10, 4), ranges_of(3, 4), ranges_of(0, 4)
    ([(0, 4), (4, None)], [(0, None)], [(0, None)])
    """
    starts = range(0, max(1, size - range_bytes // 2), range_bytes)
    return list(zip(starts, [*starts[1:], None], strict=True))


def read_lines(file: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Line]:
    """The lines of a file, or those that belong to a range of it.

    To a range belongs what follows the first blank line that begins in it, up to the first blank line that begins
    after it; to the range at the start of the file also what stands before any blank line. So ranges that cover a
    file cover its lines, each once, and a document is never divided among two. A range without a blank line is read
    to its end and no further.

    Args:
      file: at its start; one that is read from a `start` must seek.
      start, end: of the range, in bytes; None is the end of the file.
    """
    owned = start == 0
    if not owned:
        file.seek(start - 1)
    lines = _lines(file, max(0, start - 1))
    if not owned:
        next(lines, None)  # it began before the range, if only with its last byte
    for line in lines:
        over = end is not None and line.offset >= end
        if over or not owned:
            blank = is_blank(line.data)
            if over and (blank or not owned):
                return
            owned = owned or blank
        if owned:
            yield line


def _lines(file: BinaryIO, offset: int) -> Iterator[Line]:
    """Lines from where the file stands, which is at `offset`."""
    pieces: list[bytes] = []  # of a line that is longer than a block
    after_carriage_return = False
    for block in _blocks(file):
        for piece in block.splitlines(keepends=True):
            pieces.append(piece)
            if not piece.endswith((b"\n", b"\r")):
                continue
            data = b"".join(pieces)
            pieces.clear()
            if not (after_carriage_return and data == b"\r\n"):  # the rest of \r\r\n
                yield Line(offset, data)
            after_carriage_return = data.endswith(b"\r")
            offset += len(data)
    if pieces:
        yield Line(offset, b"".join(pieces))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Blocks of the rest of a file, none cut between `\\r` and `\\n`."""
    held = b""
    while block := file.read(_BLOCK_BYTES):
        block = held + block
        held = b"\r" if block.endswith(b"\r") else b""
        yield block.removesuffix(held)
    yield held


def is_blank(data: bytes) -> bool:
    """Whether a line holds white space only; one that is not UTF-8 never does."""
    return not text_of(data.decode("utf-8", "replace"))


def text_of(line: str) -> str:
    """A line without its end, white space collapsed."""
    # In files that were joined, byte order marks stand at the starts of lines.
    return " ".join(line.removeprefix("\ufeff").split())


def line_number(file: BinaryIO, offset: int) -> int:
    """The number of the line that begins at `offset`, from 1; reads the file up to it."""
    file.seek(0)
    return 1 + sum(1 for _ in itertools.takewhile(lambda line: line.offset < offset, _lines(file, 0)))
