"""What can be found wrong, and what can be settled, before anything is started."""

from __future__ import annotations

import glob
import os
import re
import sqlite3
import tempfile

from albert_model.errors import InputError
from pipeline.settings import CorpusSettings, PipelineSettings

_SPAN = re.compile(r"\{SPAN(?::(\d+))?\}")
_DATE_OR_VERSION = re.compile(r"\{(?:YYYY|MM|DD|VERSION)[^}]*\}")


def check(settings: PipelineSettings) -> PipelineSettings:
    """Makes sure that there is text to read and that the folders to write to can be written.

    Returns:
      The settings with the latest span as a number. The cache tells a span that is named from one that is found,
      even where both are the same.

    Raises:
      InputError: names the key, the path and what to do.
    """
    corpus, destination = settings.corpus.path, settings.push.destination
    for key, path in (("root", settings.root), ("corpus.path", corpus), ("push.destination", destination)):
        if "://" in path:
            raise InputError(f"{key}: {path} is not on this machine, and this runner works on local folders only.")
        if any(character in path for character in "*?[]{}"):
            raise InputError(
                f"{key}: {path} holds a character that stands for others in patterns (*?[]{{}}). Rename it."
            )
    settings = _with_span(settings)
    _check_writable("root", settings.root)
    _check_writable("push.destination", settings.push.destination)
    _check_metadata(settings.root)
    return settings


def _with_span(settings: PipelineSettings) -> PipelineSettings:
    corpus = settings.corpus
    if not os.path.isdir(corpus.path):
        raise InputError(f"corpus.path: there is no folder {corpus.path}. Give the folder that holds the spans.")
    placeholder = _SPAN.search(corpus.pattern)
    if placeholder is None:
        if corpus.span != "latest":
            raise InputError(f"corpus.span: {corpus.span} is asked for, but corpus.pattern has no {{SPAN}}.")
        _files(corpus, "")
        return settings
    if corpus.span == "latest":
        settings = settings.with_span(max(_span_of(path, corpus) for path in _files(corpus, "[0-9]*")))
    _files(corpus, f"{settings.corpus.span:0{placeholder[1] or 0}d}")
    return settings


def _files(corpus: CorpusSettings, span: str) -> list[str]:
    """The files of a span, which may be a pattern.

    Raises:
      InputError: there are none, or one is a link that leads nowhere.
    """
    pattern = os.path.join(corpus.path, _DATE_OR_VERSION.sub("*", _SPAN.sub(span, corpus.pattern)))
    matching = glob.glob(pattern)
    if broken := [path for path in matching if not os.path.exists(path)]:
        raise InputError(f"{broken[0]}: is a link to something that is gone. Mend it or remove it.")
    found = [path for path in matching if os.path.isfile(path)]
    if span == "[0-9]*":
        found = [path for path in found if _span_of(path, corpus) >= 0]
    if not found:
        raise InputError(
            f"corpus.pattern: no file matches {pattern}. Put text files there, one sentence per line, or set "
            "corpus.pattern to where they are (span-{SPAN}/*.txt* if there is no folder for each domain, "
            "{SPAN:2} for numbers such as 02)."
        )
    return found


def _span_of(path: str, corpus: CorpusSettings) -> int:
    """The number that stands where the pattern has {SPAN}; -1 if there is none, as in `span-3-draft`."""
    before, _, after = _SPAN.sub("\0", corpus.pattern).partition("\0")
    shape = re.escape(os.path.join(corpus.path, "")) + _regex(before) + r"(\d+)" + _regex(after)
    match = re.fullmatch(shape, path)
    return int(match[1]) if match else -1


def _regex(pattern: str) -> str:
    """A part of a path pattern as a regular expression; wildcards stay within a folder's name."""
    parts = re.split(r"(\*|\?|\[[^]]*\])", _DATE_OR_VERSION.sub("*", pattern))
    return "".join(
        {"*": "[^/]*", "?": "[^/]"}.get(part) or (part if part[:1] == "[" else re.escape(part)) for part in parts
    )


def _check_writable(key: str, folder: str) -> None:
    """Tries it: permissions alone do not tell (read-only file systems, full disks)."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise InputError(
            f"{key}: cannot write to {folder} ({error.strerror}). Choose a folder that can be written."
        ) from error


def _check_metadata(root: str) -> None:
    """Artifacts and the metadata that speaks of them belong together."""
    path = os.path.join(root, "metadata.sqlite")
    if not os.path.exists(path):
        if os.path.isdir(os.path.join(root, "DocumentGen")):
            raise InputError(f"root: {root} holds artifacts, but {path} is gone. Restore it, or choose another root.")
        return
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and os.path.isdir(os.path.join(root, "DocumentGen")):
            raise sqlite3.DatabaseError("it is empty")
    except sqlite3.DatabaseError as error:
        raise InputError(f"root: {path} is damaged ({error}). Restore it, or choose another root.") from error
