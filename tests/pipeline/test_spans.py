import os

import pytest
import tensorflow as tf

from albert_model.errors import InputError
from albert_model.text.span_patterns import Place, SpanPattern
from pipeline.settings import load_settings
from pipeline.spans import files_of, span_pattern, spans_between, with_files, with_span
from tests.demo import ROOT

DATES = "{YYYY}-{MM}-{DD}/*/*.txt"


def write(folder, *names):
    for name in names:
        path = os.path.join(folder, name)
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(path, "w") as file:
            file.write("A.\n")
    return str(folder)


def settings(corpus, **values):
    keys = {"corpus.path": str(corpus), "root": f"{corpus}-root", "push.destination": f"{corpus}-encoders"}
    keys |= {f"corpus.{name}": value for name, value in values.items()}
    return load_settings(ROOT / "configs/pipelines/demo.yaml", {"model": str(ROOT / "configs/models/tiny.json")} | keys)


def tfx_reading(corpus, pattern, span=None):
    """(span, pattern of its files) as TFX's own driver finds them."""
    from tfx.components.example_gen.utils import calculate_splits_fingerprint_span_and_version
    from tfx.proto import example_gen_pb2, range_config_pb2

    split = example_gen_pb2.Input.Split(name="documents", pattern=pattern)
    only = span and range_config_pb2.RangeConfig(
        static_range=range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
    )
    _, found, _ = calculate_splits_fingerprint_span_and_version(str(corpus), [split], only)
    return found, split.pattern


@pytest.mark.parametrize(
    ("pattern", "files", "literal"),
    [
        ("span-{SPAN}/*/*.txt", ("span-2/a/x.txt", "span-10/a/x.txt"), "span-10/*/*.txt"),
        ("s{SPAN:2}/*.txt", ("s02/x.txt", "s11/x.txt"), "s11/*.txt"),
        ("20[0-9]?-[vx]{SPAN}.*/*.txt", ("2026-v3.1/x.txt", "2025-x20.x/x.txt"), "20[0-9]?-[vx]20.*/*.txt"),
        (DATES, ("2026-02-28/a/x.txt", "2026-03-01/a/x.txt"), "2026-03-01/*/*.txt"),
        ("{YYYY}/{MM}/{DD}.txt", ("1999/12/31.txt", "2000/01/01.txt"), "2000/01/01.txt"),
        ("{SPAN}/v{VERSION}/*.txt", ("1/v9/x.txt", "3/v2/x.txt", "3/v10/x.txt"), "3/v10/*.txt"),
    ],
)
def test_the_latest_span_is_the_one_that_tfx_finds(tmp_path, pattern, files, literal):
    corpus = write(tmp_path / "corpus", *files)
    found = with_span(settings(corpus, pattern=pattern))
    span = found.corpus.span
    assert (span, literal) == tfx_reading(corpus, pattern) == tfx_reading(corpus, pattern, span)
    reading = span_pattern(found.corpus)
    assert files_of(reading, span) == sorted(map(str, (tmp_path / "corpus").glob(literal)))
    assert reading.span_of_literal(literal) == span
    if not reading.has_version:
        assert reading.below_base(span) == literal


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{SPAN}/{SPAN}.txt", "may stand once"),
        ("{SPAN:x}/*.txt", "the number of digits"),
        ("{SPAN}/{YYYY}-{MM}-{DD}.txt", "no {SPAN} beside them"),
        ("{YYYY}-{MM}/*.txt", "a date needs"),
        ("{VERSION}/*.txt", "beside {SPAN} or a date"),
        ("[!x]{SPAN}/*.txt", "TFX reads"),
    ],
)
def test_patterns_that_tfx_does_not_take_are_refused(tmp_path, pattern, message):
    corpus = write(tmp_path / "corpus", "1/1.txt", "12/2026-01-01.txt", "2026-01/x.txt", "y1/x.txt")
    with pytest.raises((ValueError, TypeError)):
        tfx_reading(corpus, pattern)
    with pytest.raises(InputError, match=message):
        with_span(settings(corpus, pattern=pattern))


def test_folders_whose_names_are_no_span_are_passed_over(tmp_path):
    corpus = write(tmp_path, "2026-02-30/a/x.txt", "2026-02-27/a/x.txt", "2026-2-28/a/x.txt", "20260-1-1/a/x.txt")
    span = with_span(settings(corpus, pattern=DATES)).corpus.span
    assert SpanPattern(corpus, DATES).below_base(span) == "2026-02-27/*/*.txt"
    numbers = SpanPattern("/c", "span-{SPAN}/*.txt")
    assert numbers.place("/c/span-3/x.txt") == Place(3, 0)
    for path in ("/c/span-3-draft/x.txt", "/c/span-x/x.txt", "/c/span-٣/x.txt", "/d/span-3/x.txt"):
        assert numbers.place(path) is None


def test_a_number_of_too_many_digits_is_refused_before_tfx_meets_it(tmp_path):
    corpus = write(tmp_path, "s02/x.txt", "s123/x.txt")
    assert with_span(settings(corpus, pattern="s{SPAN:2}/*.txt")).corpus.span == 2
    with pytest.raises(InputError, match=r"123 has more digits than \{SPAN:2\} gives"):
        with_span(settings(corpus, pattern="s{SPAN:2}/*.txt", span=123))


def test_remote_folders_are_read_through_tensorflow():
    corpus = write("ram://spans/corpus", "span-2/law/x.txt", "span-11/law/x.txt", "span-12/notes.md")
    remote = settings(corpus)
    assert remote.corpus.path == corpus
    assert with_span(remote).corpus.span == 11
    assert spans_between(remote, 1, 20) == [2, 11]
    assert with_span(remote.with_span(2)).corpus.span == 2
    with pytest.raises(InputError, match=r"no file matches ram://spans/corpus/span-3/"):
        with_span(remote.with_span(3))


def test_a_remote_folder_that_cannot_be_read_is_named():
    with pytest.raises(InputError, match=r"corpus.path: nothing://there/span-.* cannot be listed \(File system scheme"):
        with_span(settings("nothing://there"))


def test_spans_to_run_in_order(tmp_path, caplog):
    corpus = settings(write(tmp_path, *(f"span-{span}/law/a.txt" for span in (1, 2, 5, 6, 10))))
    assert spans_between(corpus, 2, 6) == [2, 5, 6]
    assert "no text of span 3, 4, which is left out" in caplog.text
    with pytest.raises(InputError, match=r"no span from 7 to 9 in .*; there is 1, 2, 5, 6, 10"):
        spans_between(corpus, 7, 9)
    with pytest.raises(InputError, match="comes after the last"):
        spans_between(corpus, 6, 2)
    with pytest.raises(InputError, match="there are no spans to run in order"):
        spans_between(settings(tmp_path, pattern="*/*/*.txt"), 1, 2)


def test_a_span_that_disappears(tmp_path):
    corpus = settings(write(tmp_path, "span-1/law/a.txt", "span-2/law/a.txt"))
    found = with_span(corpus)
    assert found.corpus.span == 2
    (tmp_path / "span-2" / "law" / "a.txt").unlink()
    with pytest.raises(InputError, match=r"no file matches .*/span-2/"):
        with_span(found)
    assert with_span(corpus).corpus.span == 1


@pytest.mark.parametrize("key", [{"window": 2}, {"replay": 0.2}])
def test_older_text_needs_spans(tmp_path, key):
    corpus = write(tmp_path, "law/a.txt")
    with pytest.raises(InputError, match=f"corpus.{next(iter(key))}: needs older spans"):
        with_span(settings(corpus, pattern="*/*.txt", **key))


def test_the_fingerprint_is_of_the_older_files_that_are_read(tmp_path):
    corpus = write(tmp_path, *(f"span-{span}/law/a.txt" for span in range(1, 6)))

    def fingerprint(**values):
        found = with_files(with_span(settings(corpus, span=4, **values)))
        return found.corpus.files_fingerprint

    assert fingerprint() == ""
    keys = [{"window": 2}, {"replay": 0.5}]
    before = [fingerprint(**key) for key in keys]
    assert len({"", *before}) == 3
    for span, changes in ((4, [False, False]), (5, [False, False]), (1, [False, True]), (3, [True, True])):
        (tmp_path / f"span-{span}" / "law" / "a.txt").write_text("Another text.\n")
        after = [fingerprint(**key) for key in keys]
        assert [a != b for a, b in zip(after, before, strict=True)] == changes, span
        before = after
