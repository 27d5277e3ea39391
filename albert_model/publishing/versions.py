"""A folder of versions: immutable packages 1, 2, 3 …, and `latest`, a file with the number of the one that is served.

    destination/
      1/ 2/ 3/      packages; a folder without manifest.json is no version
      latest        "3"
      .pushing-4    version 4 is being written: on a disk in .staging-4, elsewhere in 4
      .removing-1   version 1 is being removed
      .lock         on a disk; elsewhere .lease-<until>-<whose>

A push writes its mark, the version (its manifest last), `latest`, and takes its mark away. The next push or rollback
completes or clears away what one that was killed left, by these marks. A push that was killed after its version was
complete is completed: `latest` names it then.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from albert_model.errors import InputError
from albert_model.publishing.stores import Store, read, store_of
from albert_model.settings import Settings
from albert_model.weights import manifest
from albert_model.weights.manifest import CARD, MANIFEST

_log = logging.getLogger("albert.push")
LATEST = "latest"
_CONFIG = "config.json"  # every package has one
_NEW_LATEST = ".latest-new"
_PUSHING = ".pushing-"
_REMOVING = ".removing-"
_STAGING = ".staging-"
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


class PushSettings(Settings):
    """How encoders are published."""

    keep: int = pydantic.Field(
        default=5, ge=1, description="Versions that are kept; the one that `latest` names is kept besides."
    )
    licence: str | None = pydantic.Field(
        default=None,
        description="Of the encoders, for their model cards: an identifier such as apache-2.0. None: the card says "
        "that nobody said.",
    )
    language: str = pydantic.Field(
        default="en", min_length=1, description="Of the text, for the model cards: a code such as en or pt-BR."
    )


@dataclass(frozen=True)
class Version:
    """A version as its manifest describes it.

    Attributes:
      manifest: what it says; None where it cannot be read.
      is_latest: whether `latest` names it.
    """

    number: int
    folder: str
    manifest: dict[str, Any] | None
    is_latest: bool


class Versions:
    """The versions at a destination.

    Args:
      destination: folder on a disk, or a path that `tf.io.gfile` knows.
    """

    def __init__(self, destination: str):
        self.destination = destination
        self._store = store_of(destination)

    # === Look ===

    def numbers(self) -> list[int]:
        """Of the versions, oldest first."""
        return [number for number in self._taken() if self._has(f"{number}/{MANIFEST}")]

    def latest(self) -> int | None:
        """The version that is served; None where `latest` is missing.

        Raises:
          InputError: `latest` does not hold a number.
        """
        if not self._has(LATEST):
            return None
        said = read(self._store, self._path(LATEST)).decode(errors="replace").strip()
        if not _NUMBER.fullmatch(said):
            raise InputError(
                f"{self._path(LATEST)}: should hold the number of a version, holds {said[:20]!r}. Say which one it is: "
                f"albert rollback VERSION --destination {self.destination}"
            )
        return int(said)

    def all(self) -> list[Version]:
        """All versions, oldest first.

        Raises:
          InputError: there is no such folder.
        """
        self._check_is_there()
        try:
            latest = self.latest()
        except InputError:
            latest = None
        return self._described(self.numbers(), latest)

    def _described(self, numbers: Iterable[int], latest: int | None) -> list[Version]:
        return [
            Version(number, self.folder(number), self._manifest_or_none(number), number == latest) for number in numbers
        ]

    def served(self) -> list[Version]:
        """Those that can be read, up to the one that `latest` names, oldest first: later ones were rolled back.

        Raises:
          InputError: there are versions, but `latest` is missing, damaged, or names none that can be read.
        """
        numbers = self.numbers()
        if not numbers:
            return []
        latest = self.latest()
        up_to_latest = [number for number in numbers if number <= (latest or 0)]
        versions = [version for version in self._described(up_to_latest, latest) if version.manifest]
        if not versions or versions[-1].number != latest:
            said = "is missing" if latest is None else f"names version {latest}, which cannot be read"
            raise InputError(
                f"{self._path(LATEST)}: {said}. Say which version is served: "
                f"albert rollback VERSION --destination {self.destination}"
            )
        return versions

    def folder(self, number: int) -> str:
        """Where a version lies."""
        return self._path(str(number))

    def version_of(self, model: str | None) -> int | None:
        """The newest version with the model of this URI, if there is one."""
        if model is None:
            return None
        return next((number for number in reversed(self.numbers()) if self._model_in(number) == model), None)

    def verify(self, number: int) -> list[str]:
        """What is wrong with a version, as `verify_package`."""
        return verify_package(self.folder(number), self._store)

    # === Change ===

    def push(self, source: str, card: str, more: Mapping[str, Any], keep: int) -> int:
        """Makes a new version, and `latest` name it; removes versions beyond `keep`.

        Nothing is pushed where a version has the same model already: a run of older text that is repeated does not go
        before what came after it. `latest` stays then, as somebody may have rolled back.

        Args:
          source: folder with the files of the package, but its card and manifest.
          card: content of MODEL_CARD.md.
          more: of the manifest; `lineage.model` says which model it is.
          keep: versions to keep, with the new one.

        Returns:
          The number of the version that has the model.

        Raises:
          InputError: the destination cannot be written, is full, or vanished; the source is incomplete; another push
            does not come to an end. The versions and `latest` are as before then.
        """
        with self._alone(make=True):
            number = self.version_of(more["lineage"]["model"])
            if number is not None:
                if self._pointed() not in (numbers := self.numbers()):
                    self._point_to(max(numbers))
            else:
                number = max(self._taken(), default=0) + 1
                self._add(number, source, card, more)
            self._retire(keep)
            return number

    def rollback(self, number: int) -> None:
        """Makes `latest` name a version that is there and whole.

        Raises:
          InputError: there is no such version, or its files are not those of its manifest.
        """
        self._check_is_there()
        with self._alone(make=False):
            if number not in (numbers := self.numbers()):
                there = f"has {', '.join(map(str, numbers))}" if numbers else "has none"
                raise InputError(f"{self.destination}: has no version {number}; it {there}.")
            if problems := self.verify(number):
                raise InputError(
                    f"{self.folder(number)}: not as its {MANIFEST} says: {'; '.join(problems)}. "
                    f"{LATEST} stays as it was; choose another version."
                )
            self._point_to(number)

    def _add(self, number: int, source: str, card: str, more: Mapping[str, Any]) -> None:
        """A killed process can stop at any line, an error as well; `_recover` and `_discard` know what there can be."""
        store, staging = self._store, self._path(self._staging(number))
        try:
            store.write(self._path(f"{_PUSHING}{number}"), [f"{number}\n".encode()])
            store.make(staging)
            digests = self._copy(store_of(source), source, staging)
            _write_checked(store, posixpath.join(staging, CARD), [card.encode()])
            digests[CARD] = hashlib.sha256(card.encode()).hexdigest()
            content = manifest.text(digests, {"version": number, **more}).encode()
            _write_checked(store, posixpath.join(staging, MANIFEST), [content])
            store.settle(staging)
            if store.renames_folders:
                store.rename(staging, self.folder(number))
                store.settle(self.destination)
            self._point_to(number)
        except BaseException:
            with contextlib.suppress(OSError, InputError):
                self._discard(number)
            raise
        store.remove(self._path(f"{_PUSHING}{number}"))

    def _copy(self, source_store: Store, source: str, staging: str) -> dict[str, str]:
        """Copies all files, and reads them back; gives their digests."""
        names = [name for name in source_store.files(source) if name not in (CARD, MANIFEST)]
        if not names:
            raise InputError(f"{source}: holds no files of a package. Was the export checked before it was pushed?")
        digests = {}
        parents = {parent for name in names for parent in _parents(name)}
        for parent in sorted(parents):
            self._store.make(posixpath.join(staging, parent))
        for name in names:
            path = posixpath.join(source, name)
            digests[name] = _write_checked(self._store, posixpath.join(staging, name), _chunks(source_store, path))
        for parent in sorted(parents, reverse=True):
            self._store.settle(posixpath.join(staging, parent))
        return digests

    def _discard(self, number: int) -> None:
        """What a push wrote that did not come to its end."""
        if self._pointed() == number:
            return  # it did, but for its mark
        for folder in (self._staging(number), str(number)):
            if self._is_ours(folder):
                self._remove_version(folder)
        for name in (_NEW_LATEST, f"{_PUSHING}{number}"):
            if self._has(name):
                self._store.remove(self._path(name))

    def _is_ours(self, folder: str) -> bool:
        """On a disk, a numbered folder without a manifest was put there by somebody else."""
        if not self._store.is_folder(self._path(folder)):
            return False
        return not self._store.renames_folders or folder.startswith(".") or self._has(f"{folder}/{MANIFEST}")

    def _retire(self, keep: int) -> None:
        latest = self._pointed()
        for number in self.numbers()[:-keep]:
            if number == latest:
                continue
            mark = self._path(f"{_REMOVING}{number}")
            try:
                self._store.write(mark, [b"\n"])
                self._remove_version(str(number))
                self._store.remove(mark)
            except OSError as error:
                _log.warning("%s: cannot be removed (%s)", self.folder(number), error.strerror)

    def _remove_version(self, name: str) -> None:
        """Its manifest first, so that half of it is no version."""
        if self._has(f"{name}/{MANIFEST}"):
            self._store.remove(self._path(f"{name}/{MANIFEST}"))
            self._store.settle(self._path(name))
        self._store.remove_tree(self._path(name))

    def _point_to(self, number: int) -> None:
        self._store.write(self._path(_NEW_LATEST), [f"{number}\n".encode()])
        self._store.rename(self._path(_NEW_LATEST), self._path(LATEST))
        self._store.settle(self.destination)

    # === What others left ===

    @contextlib.contextmanager
    def _alone(self, make: bool) -> Iterator[None]:
        """For one push or rollback at a time, after what a killed one left was put right; errors say what to do."""
        try:
            if make:
                self._store.make_all(self.destination)
            with self._store.lock(self.destination):
                self._recover()
                yield
        except OSError as error:
            raise self._clear(error) from error

    def _clear(self, error: OSError) -> OSError | InputError:
        place, unchanged = self.destination, f"What {LATEST} names is as it was."
        with contextlib.suppress(OSError):
            if not self._store.is_folder(place):
                what = "is no folder, or vanished meanwhile"
                return InputError(f"{place}: {what} ({error.strerror}). Is its disk there? Then push again.")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError(f"{place}: the disk is full. {unchanged} Make room (push.keep), then push again.")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = f"{error.filename or place}: {error.strerror}"
            return InputError(f"{place}: cannot be written ({why}). {unchanged} Allow it, or name another destination.")
        return error

    def _recover(self) -> None:
        names = self._store.names(self.destination)
        if _NEW_LATEST in names:
            self._store.remove(self._path(_NEW_LATEST))
        for number in _numbers(names, _PUSHING):
            if self._is_complete(number):
                self._point_to(number)
                self._store.remove(self._path(f"{_PUSHING}{number}"))
            else:
                self._discard(number)
        for number in _numbers(names, _REMOVING):
            if self._store.is_folder(self.folder(number)):
                self._remove_version(str(number))
            self._store.remove(self._path(f"{_REMOVING}{number}"))
        for name in self._store.names(self.destination):
            if name.startswith(_STAGING):
                self._store.remove_tree(self._path(name))

    def _is_complete(self, number: int) -> bool:
        return self._has(f"{number}/{MANIFEST}") and not self.verify(number)

    # === Names ===

    def _path(self, name: str) -> str:
        return posixpath.join(self.destination, name)

    def _has(self, name: str) -> bool:
        return self._store.has_file(self._path(name))

    def _staging(self, number: int) -> str:
        return f"{_STAGING}{number}" if self._store.renames_folders else str(number)

    def _taken(self) -> list[int]:
        """Numbers that are taken, be it by something else than a version."""
        return _numbers(self._store.names(self.destination), "")

    def _pointed(self) -> int | None:
        try:
            return self.latest()
        except InputError:
            return None

    def _model_in(self, number: int) -> str | None:
        lineage = (self._manifest_or_none(number) or {}).get("lineage")
        return lineage.get("model") if isinstance(lineage, dict) else None

    def _manifest_or_none(self, number: int) -> dict[str, Any] | None:
        path = self._path(f"{number}/{MANIFEST}")
        try:
            return manifest.read(read(self._store, path), path)
        except (InputError, FileNotFoundError):
            return None

    def _check_is_there(self) -> None:
        if not self._store.is_folder(self.destination):
            raise InputError(f"{self.destination}: there is no such folder. Give what push.destination says.")


def _numbers(names: Iterable[str], prefix: str) -> list[int]:
    """Of names that are this prefix and a number."""
    rests = (name[len(prefix) :] for name in names if name.startswith(prefix))
    return sorted(int(rest) for rest in rests if _NUMBER.fullmatch(rest))


def _parents(name: str) -> list[str]:
    """Of `a/b/c`: `a`, `a/b`."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _chunks(store: Store, path: str) -> Iterator[bytes]:
    """Of a source: its errors are not the destination's."""
    try:
        yield from store.chunks(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). The package is incomplete.") from error


def _write_checked(store: Store, path: str, chunks: Iterable[bytes]) -> str:
    """Writes a file and reads it back; gives its digest.

    Raises:
      OSError: it reads back as something else.
    """
    digest = hashlib.sha256()

    def passed() -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    store.write(path, passed())
    if store.digest(path) != digest.hexdigest():
        raise OSError(errno.EIO, "reads back as something else than was written", path)
    return digest.hexdigest()


# === Verification ===


def verify(path: str) -> tuple[str, list[str]]:
    """Checks a package, or of a folder of versions the latest one.

    Returns:
      The folder that was checked, and what is wrong with it: a line for each problem.

    Raises:
      InputError: it is neither; or its `latest` names no version.
    """
    store = store_of(path)
    if store.has_file(posixpath.join(path, MANIFEST)):
        return path, verify_package(path, store)
    versions = Versions(path)
    latest = versions.latest()
    if latest is None and versions.numbers():
        raise InputError(
            f"{path}: has versions, and no {LATEST} yet. Give the folder of one, or make one the latest: "
            f"albert rollback VERSION --destination {path}"
        )
    if latest is None and not store.is_folder(path):
        raise InputError(f"{path}: there is no such folder.")
    if latest is None and store.has_file(posixpath.join(path, _CONFIG)):
        raise InputError(f"{path}: {MANIFEST} is missing, so nothing tells what its files should be. Restore it.")
    if latest is None:
        raise InputError(
            f"{path}: neither a package ({MANIFEST}) nor a folder of versions ({LATEST}). Give the folder of a version."
        )
    if not store.has_file(posixpath.join(versions.folder(latest), MANIFEST)):
        raise InputError(
            f"{posixpath.join(path, LATEST)}: names version {latest}, which is not there. Choose one that is: "
            f"albert rollback VERSION --destination {path}"
        )
    return versions.folder(latest), versions.verify(latest)


def verify_package(folder: str, store: Store) -> list[str]:
    """What is wrong with a package: each file that is missing, changed or extra, or its damaged manifest."""
    path = posixpath.join(folder, MANIFEST)
    try:
        said = manifest.read(read(store, path), path)
    except InputError as error:
        return [str(error).removeprefix(f"{folder}/")]
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    found = {}
    for name in store.files(folder):
        if name != MANIFEST:
            try:
                found[name] = store.digest(posixpath.join(folder, name))
            except OSError as error:
                found[name] = f"cannot be read ({error.strerror})"
    return manifest.differences(said, found)
