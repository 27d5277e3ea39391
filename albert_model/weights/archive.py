"""Folders out of archives and addresses, and nothing outside of them."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from albert_model.errors import InputError

_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_CHUNK = 1024 * 1024


def is_archive(path: str | Path) -> bool:
    return str(path).endswith(_SUFFIXES)


@contextlib.contextmanager
def extracted(path: str | Path) -> Iterator[Path]:
    """The folder that an archive holds, for as long as the context lasts.

    Raises:
      InputError: the archive is damaged, or a member would lie or lead outside of the folder: nothing is left of it
        then.
    """
    with tempfile.TemporaryDirectory(prefix="albert-") as folder:
        try:
            extract = _extract_zip if str(path).endswith(".zip") else _extract_tar
            extract(path, folder)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise InputError(f"{path}: not a complete archive ({error}). Fetch it again.") from error
        except OSError as error:
            if error.errno:
                raise  # as for a file that is missing or a disk that is full
            raise InputError(f"{path}: not a complete archive ({error}). Fetch it again.") from error
        yield _innermost(Path(folder))


def _extract_tar(path: str | Path, folder: str) -> None:
    with tarfile.open(path) as archive:
        for member in archive:
            _check_tar_member(member, path)
            archive.extract(member, folder, filter="data")
        while archive.fileobj and archive.fileobj.read(_CHUNK):  # to the end, where gzip keeps its checksum
            pass


def _extract_zip(path: str | Path, folder: str) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if _leaves(name):
                raise _refused(path, name)
        archive.extractall(folder)  # writes files and folders, and no links


def _check_tar_member(member: tarfile.TarInfo, path: str | Path) -> None:
    places = [member.name]
    if member.issym():
        places += [member.linkname] if member.linkname.startswith("/") else []
        places.append(str(PurePosixPath(member.name).parent / member.linkname))
    if member.islnk():
        places.append(member.linkname)
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise InputError(f"{path}: member {member.name} is neither file nor folder; the archive is refused.")
    if any(_leaves(place) for place in places):
        raise _refused(path, member.name)


def _refused(path: str | Path, name: str) -> InputError:
    return InputError(f"{path}: member {name} leads out of its folder; the archive is refused.")


def _leaves(place: str) -> bool:
    depth = 0
    for part in PurePosixPath(place).parts:
        if part == "/":
            return True
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _innermost(folder: Path) -> Path:
    """Down through folders that hold one folder and nothing else, as google-research's archives do."""
    while True:
        children = [child for child in folder.iterdir() if not child.name.startswith("._")]
        if len(children) != 1 or not children[0].is_dir() or children[0].name in ("variables", "assets"):
            return folder
        folder = children[0]


def sha256_of(path: str | Path) -> str:
    """Hex digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: str | Path, expected: str) -> None:
    """Makes sure that a file is what it should be.

    Raises:
      InputError: it is not.
    """
    found = sha256_of(path)
    if found != expected.lower():
        raise InputError(
            f"{path}: its SHA-256 is {found}, expected {expected}. Fetch it again from where you trust it."
        )


def resolved(url: str) -> Path:
    """The folder that TensorFlow Hub makes of an address: from its cache (`TFHUB_CACHE_DIR`), or fetched.

    Raises:
      InputError: it cannot be fetched.
    """
    import tensorflow_hub as hub

    try:
        return _innermost(Path(hub.resolve(url)))
    except Exception as error:  # of urllib, of tarfile, of TensorFlow
        raise InputError(f"{url}: cannot be fetched ({error}). Fetch it yourself and give the path.") from error
