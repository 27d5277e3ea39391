"""TFRecord files without TensorFlow, which takes seconds to import."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_BUFFER = 1 << 20


def write_tfrecords(path: str | Path, records: Iterable[bytes]) -> None:
    """Writes a file that `tf.data.TFRecordDataset` reads: length, its checksum, the record, its checksum."""
    with Path(path).open("wb", buffering=_BUFFER) as file:
        for record in records:
            length = _LENGTH.pack(len(record))
            file.write(b"".join((length, _checksum(length), record, _checksum(record))))


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TensorFlow does, so that a checksum of data with checksums is a good one."""
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
