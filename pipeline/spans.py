"""Which spans there are, and which one a run takes."""

from __future__ import annotations

import functools
import glob
import logging
import os
from collections.abc import Iterable, Sequence

from albert_model.errors import InputError
from albert_model.text.mixing import divide
from albert_model.text.span_patterns import SpanPattern
from pipeline.cloud.settings import Target
from pipeline.fingerprints import files_fingerprint
from pipeline.settings import CorpusSettings, PipelineSettings

_log = logging.getLogger("pipeline")


def with_span(settings: PipelineSettings) -> PipelineSettings:
    """The settings with the latest span as a number.

    TFX's cache tells a span that is named from one that is found, even where both are the same. A date's number is
    its days since 1970-01-01, as TFX counts them. A pattern without a span is left as it is.

    Raises:
      InputError: there is no such span, or no text at all; a remote folder cannot be read; a link leads nowhere.
    """
    corpus = settings.corpus
    pattern = span_pattern(corpus)
    if not (_is_remote(corpus) or os.path.isdir(corpus.path)):
        raise InputError(f"corpus.path: there is no folder {corpus.path}. Give the folder that holds the spans.")
    if not pattern.has_span:
        _check_one_span(corpus)
        if not _paths(pattern.literal(None)):
            raise _no_file(pattern.literal(None))
        return settings
    span = _spans(pattern)[-1] if corpus.span == "latest" else corpus.span
    files_of(pattern, span)
    return settings.with_span(span)


def spans_between(settings: PipelineSettings, first: int, last: int) -> list[int]:
    """The spans from `first` to `last` that have files, in order.

    What is missing between them is logged.

    Raises:
      InputError: there is none, or `corpus.pattern` has no span.
    """
    pattern = span_pattern(settings.corpus)
    if not pattern.has_span:
        raise InputError("corpus.pattern: has no {SPAN} and no date, so there are no spans to run in order.")
    if first > last:
        raise InputError(f"The first span, {first}, comes after the last, {last}. Give the lower number first.")
    every = _spans(pattern)
    spans = [span for span in every if first <= span <= last]
    if not spans:
        raise InputError(
            f"corpus.path: no span from {first} to {last} in {settings.corpus.path}; there is {_listed(every)}."
        )
    for span in spans:
        files_of(pattern, span)
    if missing := [span for span in range(spans[0], spans[-1]) if span not in set(spans)]:
        _log.warning("no text of span %s, which is left out", _listed(missing))
    return spans


def for_target(settings: PipelineSettings, target: Target) -> PipelineSettings:
    """The settings with what the target cannot find out inside a run: for Kubeflow the span and its files' state.

    Raises:
      InputError: see `with_span`.
    """
    if target != "kfp":
        return settings
    if span_pattern(settings.corpus).has_version:
        raise InputError("corpus.pattern: Kubeflow finds no {VERSION} when it runs. Leave it out of the pattern.")
    return with_files(with_span(settings), newest_too=True)


def with_files(settings: PipelineSettings, newest_too: bool = False) -> PipelineSettings:
    """The settings with a fingerprint of the files that the cache does not look at.

    TFX's driver looks at the newest span's files; those of the older spans that `corpus.window` and `replay` read are
    left.

    Args:
      newest_too: where no driver runs.
    """
    corpus = settings.corpus
    pattern = span_pattern(corpus)
    if not pattern.has_span and newest_too:
        return _with_fingerprint(settings, _paths(pattern.literal(None)))
    if corpus.span == "latest" or not (corpus.reads_older_spans or newest_too):
        return settings
    taken = [corpus.span] if newest_too else []
    if corpus.reads_older_spans:
        window, older = divide(_spans(pattern), corpus.span, corpus.window)
        taken += [*window, *older] if corpus.replay else window
    return _with_fingerprint(settings, (path for span in taken for path in files_of(pattern, span)))


def _with_fingerprint(settings: PipelineSettings, paths: Iterable[str]) -> PipelineSettings:
    fingerprint = files_fingerprint(paths)
    corpus = settings.corpus.model_copy(update={"files_fingerprint": fingerprint})
    return settings.model_copy(update={"corpus": corpus})


def span_pattern(corpus: CorpusSettings) -> SpanPattern:
    """Raises InputError where TFX would not take the pattern."""
    return SpanPattern(corpus.path, corpus.pattern)


def files_of(pattern: SpanPattern, span: int) -> list[str]:
    """The files of a span's highest version.

    Raises:
      InputError: there is none, or one is a link that leads nowhere.
    """
    literal = pattern.literal(span)
    files = pattern.newest(_paths(literal))
    if not files:
        raise _no_file(literal)
    return files


def _check_one_span(corpus: CorpusSettings) -> None:
    """Raises InputError where a pattern without a span is asked for one."""
    if corpus.span != "latest":
        raise InputError(f"corpus.span: {corpus.span} is asked for, but corpus.pattern has no {{SPAN}}.")
    for key, value in (("window", corpus.window > 1), ("replay", corpus.replay > 0)):
        if value:
            raise InputError(
                f"corpus.{key}: needs older spans, but corpus.pattern has no {{SPAN}} and no date. Put the text into "
                f"a folder for each span, such as span-{{SPAN}}/*/*.txt*, or leave corpus.{key} out."
            )


def _spans(pattern: SpanPattern) -> list[int]:
    """All there are, in order.

    Raises:
      InputError: there is none.
    """
    literal = pattern.literal(None)
    spans = {place.span for path in _paths(literal) if (place := pattern.place(path))}
    if not spans:
        raise _no_file(literal)
    return sorted(spans)


def _paths(pattern: str) -> list[str]:
    """The files that match, without folders."""
    if "://" in pattern:
        return _remote_paths(pattern)
    matching = glob.glob(pattern)
    if broken := [path for path in matching if not os.path.exists(path)]:
        raise InputError(f"{broken[0]}: is a link to something that is gone. Mend it or remove it.")
    return [path for path in matching if os.path.isfile(path)]


def _remote_paths(pattern: str) -> list[str]:
    gfile, error_kind = _remote_files()
    try:
        return [path for path in gfile.glob(pattern) if not path.endswith("/")]
    except error_kind as error:
        raise InputError(
            f"corpus.path: {pattern} cannot be listed ({error.message}). Check the address, the rights to read it and "
            "that TensorFlow knows this kind of file system."
        ) from error


@functools.cache
def _remote_files():
    """TensorFlow's file systems, as TFX reads them, and the errors they raise."""
    import tensorflow as tf  # some seconds, so for remote folders alone

    return tf.io.gfile, tf.errors.OpError


def _is_remote(corpus: CorpusSettings) -> bool:
    return "://" in corpus.path


def _no_file(pattern: str) -> InputError:
    return InputError(
        f"corpus.pattern: no file matches {pattern}. Put text files there, one sentence per line, or "
        "set corpus.pattern to where they are (span-{SPAN}/*.txt* if there is no folder for each domain, "
        "{SPAN:2} for numbers such as 02)."
    )


def _listed(spans: Sequence[int]) -> str:
    """For people: `1, 2, 3`, or the ends of many."""
    return ", ".join(map(str, spans)) if len(spans) <= 8 else f"{len(spans)} spans from {spans[0]} to {spans[-1]}"
