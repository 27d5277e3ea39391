"""What can be found wrong before anything is started."""

from __future__ import annotations

import glob
import os
import re
import tempfile

from albert_model.errors import InputError
from pipeline.settings import PipelineSettings


def check(settings: PipelineSettings) -> None:
    """Makes sure that there is text to read, and that the folders to write to can be written.

    Raises:
      InputError: names the key, the path and what to do.
    """
    _check_corpus(settings)
    _check_writable("root", settings.root)
    _check_writable("push.destination", settings.push.destination)


def _check_corpus(settings: PipelineSettings) -> None:
    corpus = settings.corpus
    folder = os.path.abspath(corpus.path)
    if not os.path.isdir(folder):
        raise InputError(f"corpus.path: there is no folder {folder}. Give the folder that holds the spans.")
    if corpus.span != "latest" and "{SPAN}" not in corpus.pattern:
        raise InputError(
            f"corpus.span: {corpus.span} is asked for, but corpus.pattern has no {{SPAN}}. Set it to latest."
        )
    span = "*" if corpus.span == "latest" else str(corpus.span)
    pattern = re.sub(r"\{(YYYY|MM|DD|VERSION)[^}]*\}", "*", re.sub(r"\{SPAN[^}]*\}", span, corpus.pattern))
    if not any(map(os.path.isfile, glob.iglob(os.path.join(folder, pattern)))):
        raise InputError(
            f"corpus.pattern: no file matches {os.path.join(folder, pattern)}. "
            "Put text files there, one sentence per line, or set corpus.pattern to where they are "
            "(span-{SPAN}/*.txt* if there is no folder for each domain)."
        )


def _check_writable(key: str, folder: str) -> None:
    """Tries it: permissions alone do not tell (read-only file systems, full disks)."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise InputError(
            f"{key}: cannot write to {os.path.abspath(folder)} ({error.strerror}). Choose a folder that can be written."
        ) from error
