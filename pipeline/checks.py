"""What can be found wrong, and what can be settled, before anything is started."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import sqlite3
import tempfile

from albert_model.errors import InputError
from albert_model.evaluation.probe_data import read_data
from pipeline.settings import AnchorSettings, CorpusSettings, PipelineSettings

_SPAN = re.compile(r"\{SPAN(?::(\d+))?\}")
_DATE_OR_VERSION = re.compile(r"\{(?:YYYY|MM|DD|VERSION)[^}]*\}")
_ANY_SPAN = "[0-9]*"
_WILDCARDS = {"*": "[^/]*", "?": "[^/]"}


def check(settings: PipelineSettings) -> PipelineSettings:
    """Makes sure that there is text to read and that the folders to write to can be written.

    Returns:
      The settings with the latest span as a number, and with the fingerprint of the files of the weights to start
      from. The cache tells a span that is named from one that is found, even where both are the same, and does not
      look at files itself.

    Raises:
      InputError: names the key, the path and what to do.
    """
    corpus, destination = settings.corpus.path, settings.push.destination
    anchor = settings.evaluation.anchor
    paths = [("root", settings.root), ("corpus.path", corpus), ("push.destination", destination)]
    for key, path in [*paths, *([("evaluation.anchor.path", anchor.path)] if anchor else [])]:
        if key == "push.destination" and "://" in path:
            continue  # TensorFlow's file systems write it; what they need is known when they try
        if "://" in path:
            raise InputError(f"{key}: {path} is not on this machine, and this runner works on local folders only.")
        if any(character in path for character in "*?[]{}"):
            raise InputError(
                f"{key}: {path} holds a character that stands for others in patterns (*?[]{{}}). Rename it."
            )
    settings = _with_probe_files(_with_initial_files(_with_span(settings)))
    if anchor:
        _check_anchor(anchor)
    _check_writable("root", settings.root)
    if "://" not in settings.push.destination:
        _check_writable("push.destination", settings.push.destination)
    _check_metadata(settings)
    return settings


def _with_span(settings: PipelineSettings) -> PipelineSettings:
    corpus = settings.corpus
    if not os.path.isdir(corpus.path):
        raise InputError(f"corpus.path: there is no folder {corpus.path}. Give the folder that holds the spans.")
    placeholder = _SPAN.search(corpus.pattern)
    if placeholder is None:
        if corpus.span != "latest":
            raise InputError(f"corpus.span: {corpus.span} is asked for, but corpus.pattern has no {{SPAN}}.")
        if not _files(corpus, ""):
            raise _no_file(corpus, "")
        return settings
    if corpus.span == "latest":
        spans = [span for path in _files(corpus, _ANY_SPAN) if (span := _span_of(path, corpus)) is not None]
        if not spans:
            raise _no_file(corpus, _ANY_SPAN)
        settings = settings.with_span(max(spans))
    digits = f"{settings.corpus.span:0{placeholder[1] or 0}d}"
    if not _files(corpus, digits):
        raise _no_file(corpus, digits)
    return settings


def _check_anchor(anchor: AnchorSettings) -> None:
    pattern = os.path.join(anchor.path, anchor.pattern)
    if not any(os.path.isfile(path) for path in glob.glob(pattern)):
        raise InputError(
            f"evaluation.anchor: no file matches {pattern}. Put general text there, one sentence per line and a blank "
            "line between documents, or leave evaluation.anchor out. The pattern has no {SPAN}: the anchor is the same "
            "for every span."
        )


def _with_initial_files(settings: PipelineSettings) -> PipelineSettings:
    """Names, sizes and times of the files of the weights to start from, as a fingerprint."""
    source = settings.initial.source
    if source is None or "://" in source:
        return settings
    paths = [source, *glob.glob(glob.escape(source) + ".*")]  # a checkpoint's prefix is no file itself
    files = [path for path in paths if os.path.isfile(path)]
    files += [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    beside = glob.escape(os.path.dirname(source))
    if files and not os.path.isdir(source):  # its config and vocabulary lie beside it
        patterns = ("*.json", "*.model", "*.txt", "vocab/*", "assets/*")
        files += [path for pattern in patterns for path in glob.glob(f"{beside}/{pattern}") if os.path.isfile(path)]
    if not files:
        raise InputError(f"initial.source: there is no file or folder {source}. Give the path of a model.")
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        state = os.stat(path)
        digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    initial = settings.initial.model_copy(update={"files_fingerprint": digest.hexdigest()})
    return settings.model_copy(update={"initial": initial})


def _with_probe_files(settings: PipelineSettings) -> PipelineSettings:
    """Read here already: the probe comes after training."""
    probe = settings.evaluation.probe
    if probe is None:
        return settings
    read_data(probe)
    probe = probe.model_copy(update={"known_fingerprint": probe.files_fingerprint})
    return settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update={"probe": probe})})


def _files(corpus: CorpusSettings, span: str) -> list[str]:
    """The files of a span, which may be a pattern.

    Raises:
      InputError: one is a link that leads nowhere.
    """
    matching = glob.glob(_pattern(corpus, span))
    if broken := [path for path in matching if not os.path.exists(path)]:
        raise InputError(f"{broken[0]}: is a link to something that is gone. Mend it or remove it.")
    return [path for path in matching if os.path.isfile(path)]


def _pattern(corpus: CorpusSettings, span: str) -> str:
    return os.path.join(corpus.path, _DATE_OR_VERSION.sub("*", _SPAN.sub(span, corpus.pattern)))


def _no_file(corpus: CorpusSettings, span: str) -> InputError:
    return InputError(
        f"corpus.pattern: no file matches {_pattern(corpus, span)}. Put text files there, one sentence per line, or "
        "set corpus.pattern to where they are (span-{SPAN}/*.txt* if there is no folder for each domain, "
        "{SPAN:2} for numbers such as 02)."
    )


def _span_of(path: str, corpus: CorpusSettings) -> int | None:
    """The number that stands where the pattern has {SPAN}; None if it is no number, as in `span-3-draft`."""
    before, _, after = _SPAN.split(corpus.pattern, maxsplit=1)
    match = re.fullmatch(re.escape(os.path.join(corpus.path, "")) + _regex(before) + r"(\d+)" + _regex(after), path)
    return int(match[1]) if match else None


def _regex(pattern: str) -> str:
    """A part of a path pattern as a regular expression; wildcards stay within a folder's name."""
    parts = re.split(r"(\*|\?|\[[^]]*\])", _DATE_OR_VERSION.sub("*", pattern))
    return "".join(_WILDCARDS.get(part) or _characters(part) for part in parts)


def _characters(part: str) -> str:
    return part.replace("[!", "[^", 1) if part.startswith("[") else re.escape(part)


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


def _check_metadata(settings: PipelineSettings) -> None:
    """Artifacts and the metadata that speaks of them belong together, and TFX changes what is of another version."""
    if settings.metadata.kind != "sqlite":
        return
    root, path = settings.root, settings.metadata.path or os.path.join(settings.root, "metadata.sqlite")
    has_artifacts = os.path.isdir(os.path.join(root, "DocumentGen"))
    if not os.path.exists(path):
        if has_artifacts:
            raise InputError(f"root: {root} holds artifacts, but {path} is gone. Restore it, or choose another root.")
        return
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and has_artifacts:
            raise sqlite3.DatabaseError("it is empty")
    except sqlite3.DatabaseError as error:
        raise InputError(f"root: {path} is damaged ({error}). Restore it, or choose another root.") from error
    if tables:
        from pipeline.lineage import Lineage  # some tenths of a second

        Lineage(path)
