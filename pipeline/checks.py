"""What can be found wrong, and what can be settled, before anything is started."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import sqlite3
import tempfile

from albert_model.errors import InputError
from albert_model.evaluation.probe_data import read_data
from pipeline.fingerprints import files_fingerprint
from pipeline.settings import AnchorSettings, PipelineSettings
from pipeline.spans import with_files, with_span

_log = logging.getLogger("pipeline")


def check(settings: PipelineSettings) -> PipelineSettings:
    """Makes sure that there is text to read and that the folders to write to can be written.

    Returns:
      The settings with the latest span as a number, and with fingerprints of older spans' files and of those of the
      weights to start from. The cache tells a span that is named from one that is found, even where both are the
      same, and does not look at files itself.

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
    is_latest = settings.corpus.span == "latest"
    settings = _with_probe_files(_with_initial_files(with_files(with_span(settings))))
    if anchor:
        _check_anchor(anchor)
    _check_writable("root", settings.root)
    if "://" not in settings.push.destination:
        _check_writable("push.destination", settings.push.destination)
    metadata = _check_metadata(settings)
    if is_latest and metadata:
        _warn_of_gone_span(settings, metadata)
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
    initial = settings.initial.model_copy(update={"files_fingerprint": files_fingerprint(files)})
    return settings.model_copy(update={"initial": initial})


def _with_probe_files(settings: PipelineSettings) -> PipelineSettings:
    """Read here already: the probe comes after training."""
    probe = settings.evaluation.probe
    if probe is None:
        return settings
    read_data(probe)
    probe = probe.model_copy(update={"known_fingerprint": probe.files_fingerprint})
    return settings.model_copy(update={"evaluation": settings.evaluation.model_copy(update={"probe": probe})})


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


def _check_metadata(settings: PipelineSettings) -> str | None:
    """Artifacts and the metadata that speaks of them belong together, and TFX changes what is of another version.

    Returns:
      The path of the database, if there is one with something in it.
    """
    if settings.metadata.kind != "sqlite":
        return None
    root, path = settings.root, settings.metadata.path or os.path.join(settings.root, "metadata.sqlite")
    has_artifacts = os.path.isdir(os.path.join(root, "DocumentGen"))
    if not os.path.exists(path):
        if has_artifacts:
            raise InputError(f"root: {root} holds artifacts, but {path} is gone. Restore it, or choose another root.")
        return None
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
    return path if tables else None


_NEWEST_SPAN = """
    SELECT max(property.int_value) FROM ArtifactProperty property JOIN Artifact artifact ON artifact.id = artifact_id
    WHERE property.name = 'span' AND is_custom_property AND artifact.uri LIKE ? || '/DocumentGen/%'
"""


def _warn_of_gone_span(settings: PipelineSettings, metadata: str) -> None:
    """Says that a span was read before and is not there any more, where the newest one is asked for."""
    with contextlib.closing(sqlite3.connect(f"file:{metadata}?mode=ro", uri=True)) as connection:
        (newest,) = connection.execute(_NEWEST_SPAN, (settings.root,)).fetchone()
    corpus = settings.corpus
    if isinstance(corpus.span, int) and (newest or 0) > corpus.span:
        _log.warning("span %s was read before; the newest in %s is %s now", newest, corpus.path, corpus.span)
