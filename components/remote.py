"""Artifacts that lie elsewhere than on a disk (`gs://` and the like), as folders of this machine.

For what is read or written as a whole by software that knows no files but a disk's: packages, vocabularies, exports.
What is large, or grows, is read and written where it lies, through `tf.io.gfile` and Beam. What is on a disk anyway is
never copied.
"""

from __future__ import annotations

import contextlib
import errno
import posixpath
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from albert_model.errors import InputError
from albert_model.publishing.stores import store_of
from albert_model.text import vocabulary
from albert_model.text.tokenizer import Tokenizer
from albert_model.weights import package
from albert_model.weights.model import Model

_ADDRESSES = ("http://", "https://")  # which TensorFlow Hub fetches


def is_remote(uri: str) -> bool:
    """Whether it is a path that `tf.io.gfile` knows, and is not on a disk."""
    return "://" in uri and not uri.startswith(_ADDRESSES)


@contextlib.contextmanager
def folders_here() -> Iterator[FoldersHere]:
    """Gives folders of this machine for artifacts; when it ends without an error, what was written is uploaded.

    What marks an artifact as whole, as its manifest does, is to be written after that.

    Raises:
      InputError: that of the block, with URIs in place of the folders; or a file cannot be copied.
    """
    with contextlib.ExitStack() as stack:
        here = FoldersHere(stack)
        try:
            yield here
        except InputError as error:
            if (said := here.with_uris(str(error))) == str(error):
                raise
            raise InputError(said) from error
        here.upload()


class FoldersHere:
    """See `folders_here`.

    Args:
      stack: what removes the folders.
    """

    def __init__(self, stack: contextlib.ExitStack):
        self._stack = stack
        self._read: dict[str, Path] = {}
        self._written: dict[str, Path] = {}

    def of_input(self, uri: str) -> Path:
        """A folder or file with what there is at `uri`."""
        if not is_remote(uri):
            return Path(uri)
        if uri not in self._read:
            path = self._temporary(uri)
            _download(uri, path)
            self._read[uri] = path
        return self._read[uri]

    def of_output(self, uri: str) -> Path:
        """A folder that is to be written to, for `uri`: the same one each time."""
        if not is_remote(uri):
            return Path(uri)
        if uri not in self._written:
            self._written[uri] = self._temporary(uri)
        return self._written[uri]

    def upload(self) -> None:
        for uri, folder in self._written.items():
            copy_tree(str(folder), uri)

    def with_uris(self, text: str) -> str:
        """A text in which folders are called what they stand for."""
        for uri, path in (*self._read.items(), *self._written.items()):
            text = text.replace(str(path), uri)
        return text

    def _temporary(self, uri: str) -> Path:
        """Ends in the last name of the URI, which can say what it is."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="albert-"))
        return Path(folder, posixpath.basename(uri.rstrip("/")))


def _download(uri: str, path: Path) -> None:
    store = store_of(uri)
    with _copying(uri, path):
        if store.has_file(uri):
            _write(path, store.chunks(uri))
            return
        for name in store.files(uri):
            if ".." in name.split("/"):
                raise InputError(f"{uri}: names a file outside of its folder ({name!a}). Remove that.")
            _write(path / name, store.chunks(posixpath.join(uri, name)))


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(chunks)


def copy_tree(source: str, target: str) -> None:
    """Copies the files of a folder, wherever the two lie.

    Raises:
      InputError: a file cannot be copied.
    """
    read, written = store_of(source), store_of(target)
    with _copying(source, target):
        names = read.files(source)
        for parent in sorted({posixpath.dirname(name) for name in names}):
            written.make_all(posixpath.join(target, parent))
        for name in names:
            written.write(posixpath.join(target, name), read.chunks(posixpath.join(source, name)))


@contextlib.contextmanager
def _copying(source: str, target: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "See that it is there and that this machine may read and write there; then run it again."
        if error.errno == errno.ENOSPC:
            remedy = "Make room, or have TMPDIR name a folder with more; then run it again."
        raise InputError(f"{source}: cannot be copied to {target} ({error.strerror}). {remedy}") from error


# === Packages and vocabularies ===


def read_package(uri: str) -> Model:
    """See `albert_model.weights.package.read`."""
    with folders_here() as here:
        return replace(package.read(here.of_input(uri)), source=uri)


def write_package(uri: str, model: Model) -> None:
    """See `albert_model.weights.package.write`."""
    with folders_here() as here:
        package.write(here.of_output(uri), model)


def read_vocabulary(uri: str) -> Tokenizer:
    """See `albert_model.text.tokenizer.read_vocabulary`."""
    with folders_here() as here:
        return Tokenizer.of(vocabulary.read(here.of_input(uri)), uri)


def write_vocabulary(uri: str, tokenizer: Tokenizer) -> None:
    """See `albert_model.text.tokenizer.write_vocabulary`."""
    with folders_here() as here:
        tokenizer.vocabulary.write(here.of_output(uri))
