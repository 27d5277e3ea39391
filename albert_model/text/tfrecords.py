"""TFRecord files without TensorFlow, which takes seconds to import."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from albert_model.errors import InputError

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_SIZE = _LENGTH.size + _CHECKSUM.size
_BUFFER = 1 << 20
_GZIP = b"\x1f\x8b"


def write_tfrecords(path: str | Path, records: Iterable[bytes]) -> None:
    """Writes a file that `tf.data.TFRecordDataset` reads: length, its checksum, the record, its checksum."""
    with Path(path).open("wb", buffering=_BUFFER) as file:
        for record in records:
            length = _LENGTH.pack(len(record))
            file.write(b"".join((length, _checksum(length), record, _checksum(record))))


def read_tfrecords(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The records of a file.

    Args:
      file: at its beginning.
      name: for errors.

    Raises:
      InputError: the file ends within a record or is damaged; says in which record, the first of which is 0.
    """
    number = 0
    while header := file.read(_HEADER_SIZE):
        length, checksum = header[: _LENGTH.size], header[_LENGTH.size :]
        if len(header) == _HEADER_SIZE and checksum != _checksum(length):
            raise _damaged(name, number, header)
        size = _LENGTH.unpack(length)[0] if len(header) == _HEADER_SIZE else 0
        data = file.read(size + _CHECKSUM.size)
        if len(data) < size + _CHECKSUM.size:
            raise InputError(f"{name}, record {number}: the file ends within it. Copy or make the file again.")
        record = data[:size]
        if data[size:] != _checksum(record):
            raise _damaged(name, number, header)
        yield record
        number += 1


def _damaged(name: str, number: int, header: bytes) -> InputError:
    if number == 0 and header.startswith(_GZIP):
        return InputError(f"{name}: is compressed with gzip. Unpack it.")
    if number == 0:
        return InputError(f"{name}: is no TFRecord file, or damaged from its first record on.")
    return InputError(f"{name}, record {number}: its checksum is wrong. Copy or make the file again.")


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TensorFlow does, so that a checksum of data with checksums is a good one."""
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
