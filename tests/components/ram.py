"""`ram://` for Beam: TensorFlow's file system in memory, which the rest of TFX reaches as it reaches a bucket."""

from __future__ import annotations

import fnmatch
import io
import posixpath
from collections.abc import Iterator

import pytest
import tensorflow as tf
from apache_beam.io.filesystem import BeamIOError, CompressedFile, CompressionTypes, FileMetadata, FileSystem


class RamFileSystem(FileSystem):
    """Beam finds it by its scheme once this module is imported. Files appear when they are closed, as in a bucket."""

    @classmethod
    def scheme(cls) -> str:
        return "ram"

    def join(self, basepath: str, *paths: str) -> str:
        return posixpath.join(basepath, *paths)

    def split(self, path: str) -> tuple[str, str]:
        return posixpath.split(path)

    def mkdirs(self, path: str) -> None:
        tf.io.gfile.makedirs(path)

    def has_dirs(self) -> bool:
        return True

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for folder, _, names in tf.io.gfile.walk(dir_or_prefix):
            for name in names:
                yield self.metadata(posixpath.join(folder, name))

    def match_files(self, file_metas, pattern):
        """Beam's own takes `*` to end at a slash; so does this, and it has `//` in the scheme left alone."""
        for file in file_metas:
            if fnmatch.fnmatchcase(file.path, pattern) and file.path.count("/") == pattern.count("/"):
                yield file

    def create(self, path, mime_type="application/octet-stream", compression_type=CompressionTypes.AUTO):
        tf.io.gfile.makedirs(posixpath.dirname(path))
        return _compressed(_Upload(path), path, compression_type)

    def open(self, path, mime_type="application/octet-stream", compression_type=CompressionTypes.AUTO):
        with tf.io.gfile.GFile(path, "rb") as file:
            return _compressed(io.BytesIO(file.read()), path, compression_type)

    def copy(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            tf.io.gfile.copy(source, target, overwrite=True)

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            tf.io.gfile.rename(source, target, overwrite=True)

    def exists(self, path: str) -> bool:
        return tf.io.gfile.exists(path)

    def size(self, path: str) -> int:
        try:
            return tf.io.gfile.stat(path).length
        except tf.errors.OpError as error:
            raise BeamIOError(f"no size of {path}", {path: error}) from error

    def last_updated(self, path: str) -> float:
        return tf.io.gfile.stat(path).mtime_nsec / 1e9

    def checksum(self, path: str) -> str:
        return str(self.size(path))

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        for path in paths:
            (tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove)(path)


class _Upload(io.BytesIO):
    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            with tf.io.gfile.GFile(self._path, "wb") as file:
                file.write(self.getvalue())
        super().close()


def _compressed(file, path: str, compression_type: str):
    kind = FileSystem._get_compression_type(path, compression_type)
    return file if kind == CompressionTypes.UNCOMPRESSED else CompressedFile(file, compression_type=kind)


def rename_folders(patch: pytest.MonkeyPatch) -> None:
    """Has `tf.io.gfile.rename` move what is in a folder, too, as it does in a bucket; `ram://` moves the name alone."""
    rename = tf.io.gfile.rename

    def rename_all(src: str, dst: str, overwrite: bool = False) -> None:
        if src.startswith("ram://") and tf.io.gfile.isdir(src):
            tf.io.gfile.makedirs(dst)
            for name in tf.io.gfile.listdir(src):
                rename_all(posixpath.join(src, name), posixpath.join(dst, name), overwrite)
            tf.io.gfile.rmtree(src)
        else:
            rename(src, dst, overwrite)

    patch.setattr(tf.io.gfile, "rename", rename_all)


def copy_in(folder, uri: str) -> str:
    """Copies a folder of this machine to a `ram://` URI, which it gives."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = posixpath.join(uri, path.relative_to(folder).as_posix())
            tf.io.gfile.makedirs(posixpath.dirname(target))
            with tf.io.gfile.GFile(target, "wb") as file:
                file.write(path.read_bytes())
    return uri


def read(uri: str) -> bytes:
    with tf.io.gfile.GFile(uri, "rb") as file:
        return file.read()
