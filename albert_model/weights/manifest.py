"""`manifest.json`: which files a package has, and what they hold. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from albert_model.errors import InputError
from albert_model.weights.archive import sha256_of

MANIFEST = "manifest.json"
CARD = "MODEL_CARD.md"
# 2: has a digest of itself, and its bytes are those that `text` gives.
FORMAT_VERSION = 2
# What `albert convert` says of a conversion, in a package that it wrote.
_BESIDE = ("conversion.json", "parity.json")


def text(digests: Mapping[str, str], more: Mapping[str, Any]) -> str:
    """The content of `manifest.json`.

    Args:
      digests: SHA-256 of every other file of the package, by its path in there.
      more: values that JSON has, which are kept as they are.
    """
    content = json.loads(json.dumps({"format_version": FORMAT_VERSION, **more, "files": dict(sorted(digests.items()))}))
    return _text(content | {"digest": _digest(content)})


def read(content: bytes, source: str) -> dict[str, Any]:
    """What a `manifest.json` holds.

    Args:
      content: of the file.
      source: where it was read, for errors.

    Raises:
      InputError: it is damaged: not readable, or not what `text` wrote.
    """
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise InputError(f"{source}: not JSON ({error}). It is damaged; fetch it again.") from error
    except RecursionError as error:
        raise InputError(f"{source}: no manifest (it is nested too deep). Fetch it again.") from error
    if not isinstance(manifest, dict):
        raise InputError(f"{source}: should hold a JSON object.")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise InputError(f"{source}: does not say which files there are (files).")
    if any(_leaves(name) for name in files):
        raise InputError(f"{source}: names files outside of its folder (files).")
    if (manifest.get("format_version") != 1 or "digest" in manifest) and not _is_as_written(manifest, content):
        raise InputError(f"{source}: was changed since it was written (digest). Fetch it again.")
    return manifest


def _is_as_written(manifest: dict[str, Any], content: bytes) -> bool:
    """To the byte, and so to the last space."""
    said = {key: value for key, value in manifest.items() if key != "digest"}
    return manifest.get("digest") == _digest(said) and content == _text(manifest).encode()


def _leaves(name: str) -> bool:
    return os.path.isabs(name) or ".." in Path(name).parts


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the JSON with sorted keys and without spaces."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(manifest: Mapping[str, Any], found: Mapping[str, str]) -> list[str]:
    """What there is in place of the files of a manifest: one line for each that is missing, changed or extra.

    Args:
      manifest: of a package.
      found: SHA-256 of every file of the package but `manifest.json`, by its path in there.
    """
    digests = manifest["files"]
    problems = [f"{_shown(name)} is missing" for name in digests if name not in found]
    problems += [f"{_shown(name)} was changed" for name in digests if name in found and found[name] != digests[name]]
    extra = sorted(found.keys() - digests.keys() - set(_BESIDE))
    return problems + [f"{_shown(name)} is extra" for name in extra]


def _shown(name: str) -> str:
    """Names of files can hold anything, a terminal's commands too."""
    return name if name.isprintable() else ascii(name)


# === Folders on this machine ===


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but its `manifest.json`, by its path in there."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: sha256_of(path) for name, path in sorted(files.items()) if name != MANIFEST}


def write(folder: str | Path, more: Mapping[str, Any]) -> None:
    """Writes the `manifest.json` of a folder: after all other files, as it has their digests."""
    folder = Path(folder)
    (folder / MANIFEST).write_text(text(file_digests(folder), more))


def check_files(folder: str | Path) -> None:
    """Makes sure that the files of a package are those of its manifest.

    Raises:
      InputError: names each one that is missing or changed.
    """
    folder = Path(folder)
    manifest = read(_bytes(folder / MANIFEST), str(folder / MANIFEST))
    found = {name: sha256_of(folder / name) for name in manifest["files"] if (folder / name).is_file()}
    if problems := differences(manifest, found):
        raise InputError(f"{folder}: not as its {MANIFEST} says: {'; '.join(problems)}. Fetch it again.")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). The package is incomplete.") from error
