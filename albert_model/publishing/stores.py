"""Folders on a disk, and folders that TensorFlow's file systems reach (`gs://`, `ram://`, what plug-ins add), with the
same few operations. All raise OSError. Imports TensorFlow only for the latter.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import posixpath
import random
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar

from albert_model.errors import InputError
from albert_model.weights.archive import sha256_of

_log = logging.getLogger("albert.push")
_CHUNK = 8 * 1024 * 1024
_WAIT_SECONDS = 900.0  # for another one at work in the same folder
_LEASE_SECONDS = 600.0  # after which one that says no more is taken to be dead
_LEASE = ".lease-"
LOCK = ".lock"


class Store(Protocol):
    """Paths are whole; they are joined with `/`.

    Attributes:
      renames_folders: whether a folder with files in it appears under another name at once.
    """

    renames_folders: bool

    def is_folder(self, path: str) -> bool: ...
    def has_file(self, path: str) -> bool: ...

    def names(self, folder: str) -> list[str]:
        """Of what is in a folder; none where there is no folder."""

    def files(self, folder: str) -> list[str]:
        """All files below a folder, by their paths in there, sorted."""

    def chunks(self, path: str) -> Iterator[bytes]: ...

    def digest(self, path: str) -> str:
        """SHA-256, or what it is in place of a file."""

    def make_all(self, folder: str) -> None:
        """Makes a folder and those above it."""

    def make(self, folder: str) -> None:
        """Makes a folder in one that is there."""

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Writes a new file, and returns when it is safe."""

    def settle(self, folder: str) -> None:
        """Returns when the names in a folder are safe."""

    def rename(self, path: str, target: str) -> None:
        """A file onto another one; where there is `renames_folders`, also a folder to a name that is free."""

    def remove(self, path: str) -> None: ...
    def remove_tree(self, folder: str) -> None: ...

    def lock(self, folder: str) -> contextlib.AbstractContextManager[None]:
        """For one at a time.

        Raises:
          InputError: another one does not come to an end.
        """


def store_of(path: str) -> Store:
    return Elsewhere() if "://" in path else Disk()


def read(store: Store, path: str) -> bytes:
    return b"".join(store.chunks(path))


def _busy(folder: str) -> InputError:
    return InputError(
        f"{folder}: another push or rollback has been at work there for {_WAIT_SECONDS / 60:.0f} minutes. Wait for it, "
        "or end it, and do this again."
    )


# === On a disk ===


class Disk:
    """Folders on this machine."""

    renames_folders = True

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def has_file(self, path: str) -> bool:
        return os.path.isfile(path)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def files(self, folder: str) -> list[str]:
        found = []
        for parent, folders, files in os.walk(folder):
            links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
            found += [os.path.relpath(os.path.join(parent, name), folder) for name in (*files, *links)]
        return sorted(found)

    def chunks(self, path: str) -> Iterator[bytes]:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def digest(self, path: str) -> str:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "no file"  # a link, a pipe
        return sha256_of(path)

    def make_all(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)

    def make(self, folder: str) -> None:
        os.mkdir(folder)

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        with Path(path).open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def settle(self, folder: str) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that does not know of it
                raise
        finally:
            os.close(descriptor)

    def rename(self, path: str, target: str) -> None:
        os.replace(path, target)

    def remove(self, path: str) -> None:
        os.remove(path)

    def remove_tree(self, folder: str) -> None:
        shutil.rmtree(folder)

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        import filelock

        lock = filelock.FileLock(posixpath.join(folder, LOCK), mode=0o664)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            _log.info("waiting for another push or rollback at %s", folder)
            try:
                lock.acquire(timeout=_WAIT_SECONDS)
            except filelock.Timeout:
                raise _busy(folder) from None
        try:
            yield
        finally:
            lock.release()


# === Elsewhere ===

_Call = TypeVar("_Call", bound=Callable[..., Any])
_NUMBERS = {
    "NotFoundError": errno.ENOENT,
    "PermissionDeniedError": errno.EACCES,
    "UnauthenticatedError": errno.EACCES,
    "ResourceExhaustedError": errno.ENOSPC,
    "AlreadyExistsError": errno.EEXIST,
}


@contextlib.contextmanager
def as_os_error(path: str) -> Iterator[None]:
    """TensorFlow's errors as Python's."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        number = _NUMBERS.get(type(error).__name__, errno.EIO)
        raise OSError(number, error.message or os.strerror(number), path) from error


def _changes(method: _Call) -> _Call:
    """Of a method that changes something below its first argument: while the lease is held, and not after it."""

    @wraps(method)
    def wrapped(self: Elsewhere, path: str, *arguments: Any) -> Any:
        with as_os_error(path):
            self._hold()
            return method(self, path, *arguments)

    return wrapped  # type: ignore[return-value]


class Elsewhere:
    """Folders in `tf.io.gfile`. Replacing one file is taken to be atomic there, and a listing to be up to date."""

    renames_folders = False

    def __init__(self) -> None:
        import tensorflow as tf

        self._files = tf.io.gfile
        self._lease: _Lease | None = None

    def is_folder(self, path: str) -> bool:
        with as_os_error(path):
            return self._files.isdir(path)

    def has_file(self, path: str) -> bool:
        with as_os_error(path):
            return self._files.exists(path) and not self._files.isdir(path)

    def names(self, folder: str) -> list[str]:
        try:
            with as_os_error(folder):
                return sorted({name.rstrip("/") for name in self._files.listdir(folder)} - {""})
        except FileNotFoundError:
            return []

    def files(self, folder: str) -> list[str]:
        """By hand: `ram://` lists of `a` what is in `a` and what `a.b` has after that."""
        found = []
        for name in self.names(folder):
            path = posixpath.join(folder, name)
            if self.is_folder(path):
                found += [posixpath.join(name, inner) for inner in self.files(path)]
            elif self.has_file(path):
                found.append(name)
        return sorted(found)

    def chunks(self, path: str) -> Iterator[bytes]:
        with as_os_error(path), self._files.GFile(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                self._hold()
                yield chunk

    def digest(self, path: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks(path):
            digest.update(chunk)
        return digest.hexdigest()

    @_changes
    def make_all(self, folder: str) -> None:
        self._files.makedirs(folder)

    make = make_all

    @_changes
    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        with self._files.GFile(path, "wb") as file:
            for chunk in chunks:
                self._hold()
                file.write(chunk)

    def settle(self, folder: str) -> None:
        """Nothing to do: a file is safe when it is written."""

    @_changes
    def rename(self, path: str, target: str) -> None:
        self._files.rename(path, target, overwrite=True)

    @_changes
    def remove(self, path: str) -> None:
        self._files.remove(path)

    @_changes
    def remove_tree(self, folder: str) -> None:
        self._files.rmtree(folder)

    @contextlib.contextmanager
    def lock(self, folder: str) -> Iterator[None]:
        with as_os_error(folder):
            lease = _Lease(self._files, folder)
            lease.take()
        self._lease = lease
        try:
            yield
        finally:
            self._lease = None
            with contextlib.suppress(OSError), as_os_error(folder):
                lease.drop()

    def _hold(self) -> None:
        if self._lease:
            self._lease.hold()


class _Lease:
    """A file whose name says until when, and whose: of those that are there and have not ended, one holds.

    Who takes one writes it first and lists then, so that of two at once at least one sees the other, and steps back.
    Clocks of machines that push to the same folder must agree to a fraction of the lease.
    """

    def __init__(self, files: Any, folder: str):
        self._files = files
        self._folder = folder
        self._owner = uuid.uuid4().hex
        self._path: str | None = None
        self._ends = 0.0

    def take(self) -> None:
        gives_up = time.monotonic() + _WAIT_SECONDS
        self._write()
        while self._others():
            self.drop()
            if time.monotonic() > gives_up:
                raise _busy(self._folder)
            _log.info("waiting for another push or rollback at %s", self._folder)
            time.sleep(random.uniform(0.5, 1.5) * min(5.0, _LEASE_SECONDS / 4))
            self._write()

    def hold(self) -> None:
        """Goes on, where a third of the time is over.

        Raises:
          InputError: the time is over, so that another one may be at work.
        """
        left = self._ends - time.time()
        if left <= 0:
            raise InputError(
                f"{self._folder}: this process was held up for more than {_LEASE_SECONDS / 60:.0f} minutes, and "
                "another push may have begun. The version before is served as it was; push again."
            )
        if left < _LEASE_SECONDS * 2 / 3:
            old = self._path
            self._write()
            if old and old != self._path:
                self._files.remove(old)

    def drop(self) -> None:
        if self._path:
            self._files.remove(self._path)
            self._path = None

    def _write(self) -> None:
        self._ends = time.time() + _LEASE_SECONDS
        self._path = posixpath.join(self._folder, f"{_LEASE}{1000 * self._ends:.0f}-{self._owner}")
        with self._files.GFile(self._path, "w") as file:
            file.write("a push or rollback is at work\n")

    def _others(self) -> bool:
        """Whether another one holds; those that have ended are removed."""
        there = False
        for name in self._files.listdir(self._folder):
            ends, _, owner = name.removeprefix(_LEASE).partition("-")
            if not name.startswith(_LEASE) or not ends.isdecimal() or owner == self._owner:
                continue
            left = int(ends[:20]) / 1000 - time.time()
            if 0 < left < 2 * _LEASE_SECONDS:  # nobody takes a longer one
                there = True
            else:
                with contextlib.suppress(Exception):  # another one removed it meanwhile
                    self._files.remove(posixpath.join(self._folder, name))
        return there
