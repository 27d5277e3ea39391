import io
import re
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.errors import InputError
from albert_model.text import lines
from albert_model.text.documents import DocumentSettings, identify, read_documents, split_of
from albert_model.text.lines import ranges_of


def read_all(text: bytes, counts=None, ranges=((0, None),), **settings):
    """Documents of all ranges, one range after the other."""
    counts = Counter() if counts is None else counts
    return [
        document
        for start, end in ranges
        for document in read_documents(
            io.BytesIO(text), "a.txt", "law", DocumentSettings(**settings), counts, start, end
        )
    ]


def read(text: bytes, **settings) -> list[tuple[str, ...]]:
    return [d.sentences for d in read_all(text, **settings)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"A b.\nC.\n\nD.\n", [("A b.", "C."), ("D.",)]),
        (b"A.\r\nB.\r\n\r\nC.\r\n", [("A.", "B."), ("C.",)]),
        (b"A.\rB.\r\rC.\r", [("A.", "B."), ("C.",)]),
        (b"A.\r\r\nB.\r\r\n\r\r\nC.", [("A.", "B."), ("C.",)]),
        (b"\xef\xbb\xbfA.\n", [("A.",)]),
        (b"\xef\xbb\xbfA.\n\n\xef\xbb\xbfB.\n\xef\xbb\xbf\nC.", [("A.",), ("B.",), ("C.",)]),
        (b"\n\n\nA.\n \t \n\n\nB.", [("A.",), ("B.",)]),
        (b"  A \t  b.  \n", [("A b.",)]),
        (b"\n \n\n", []),
        (b"", []),
    ],
    ids=["plain", "crlf", "cr", "cr crlf", "mark", "joined files", "many blank lines", "space", "only blank", "empty"],
)
def test_reads_sentences_and_documents(text, expected):
    assert read(text) == expected


def test_long_documents_are_cut_and_say_so():
    documents = read_all(b"0\n1\n2\n3\n4\n", max_sentences_per_document=2)
    assert [d.sentences for d in documents] == [("0", "1"), ("2", "3"), ("4",)]
    assert [d.continues for d in documents] == [False, True, True]


def test_a_blank_line_right_after_a_full_document_cuts_nothing():
    documents = read_all(b"0\n1\n\n2\n", max_sentences_per_document=2)
    assert [d.continues for d in documents] == [False, False]


def test_what_is_not_utf8_is_named_with_file_and_line():
    with pytest.raises(InputError, match=r"a\.txt, line 2: not UTF-8 .*iconv.*corpus\.invalid_utf8"):
        read(b"fine\ncaf\xe9\n")


def test_what_is_not_utf8_is_replaced_or_skipped_and_counted_if_so_wished():
    text = b"fine\ncaf\xe9\n\xff\nend\n\nbad \xc3\n"
    replaced, skipped = Counter(), Counter()
    assert [d.sentences for d in read_all(text, replaced, invalid_utf8="replace")] == [
        ("fine", "caf\ufffd", "\ufffd", "end"),
        ("bad \ufffd",),
    ]
    assert [d.sentences for d in read_all(text, skipped, invalid_utf8="skip")] == [("fine", "end")]
    assert replaced == {"replaced_utf8_lines": 3}
    assert skipped == {"invalid_utf8_lines": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\x1f\x8b\x08\x00", r"a\.txt: is gzipped, but its name does not end in \.gz"),
        ("Eins.\nZwei.\n".encode("utf-16"), r"a\.txt: is text in UTF-16"),
        ("Eins.\nZwei.\n".encode("utf-16-le"), r"a\.txt, line 1: holds a zero byte.*UTF-16"),
        (b"Fine.\n\x7fELF\0\0", r"a\.txt, line 2: holds a zero byte"),
    ],
    ids=["gzip", "utf-16", "utf-16 without mark", "zero bytes"],
)
@pytest.mark.parametrize("policy", ["fail", "replace", "skip"])
def test_what_is_no_text_is_told_from_another_encoding(text, message, policy):
    with pytest.raises(InputError, match=message):
        read(text, invalid_utf8=policy)


@given(st.lists(st.lists(st.from_regex(r"[a-z]{1,5}( [a-z]{1,5})?", fullmatch=True), min_size=1), max_size=8))
def test_writing_and_reading_gives_the_same_documents(documents):
    text = "\n\n".join("\n".join(sentences) for sentences in documents)
    assert read(text.encode()) == [tuple(sentences) for sentences in documents]


# What lines are made of, and what can stand where a range ends.
PARTS = [b"a", b"\xc3\xa4", b"\xef\xbb\xbf", b" ", b"\xe3\x80\x80", b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\n", b"\xff"]


@given(
    st.lists(st.sampled_from(PARTS), max_size=60).map(b"".join),
    st.integers(1, 20),
    st.integers(1, 5),
    st.sampled_from(["skip", "replace"]),
    st.sampled_from(["lines", "split"]),
)
def test_ranges_of_any_size_give_the_same_documents_and_counts(text, size, block, policy, sentences):
    settings = {"max_sentences_per_document": 2, "invalid_utf8": policy, "sentences": sentences}
    whole_counts, counts = Counter(), Counter()
    whole = read_all(text, whole_counts, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", block)
        assert read_all(text, counts, ranges_of(len(text), size), **settings) == whole
    assert counts == whole_counts


@given(st.lists(st.sampled_from([b"a\n", b"\r", b"\n\n", b"\r\n"]), max_size=30).map(b"".join), st.integers(1, 20))
def test_an_error_names_the_line_whatever_the_ranges(before, size):
    text = before + b"x\xff\nfine\n"
    messages = []
    for ranges in [[(0, None)], ranges_of(len(text), size)]:
        with pytest.raises(InputError) as error:
            read_all(text, ranges=ranges)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    number = 1 + len(re.findall(rb"\r{0,2}\n|\r(?!\r?\n)", before))
    assert f"line {number}:" in messages[0]


def test_a_document_longer_than_a_range_is_read_by_the_reader_of_its_beginning():
    text = b"First.\n\n" + b"Long.\n" * 100 + b"\nLast.\n"
    of_ranges = [read_all(text, ranges=[each]) for each in ranges_of(len(text), 64)]
    assert [len(documents) for documents in of_ranges] == [2, *[0] * (len(of_ranges) - 2), 1]


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


def test_a_file_without_blank_line_is_read_twice_at_most(monkeypatch):
    """Each reader looks for a beginning in its own range only: the work does not grow with the number of ranges."""
    monkeypatch.setattr(lines, "_BLOCK_BYTES", 100)
    text = b"A sentence.\n" * 10_000
    count = 0
    for start, end in ranges_of(len(text), 1000):
        file = Counting(text)
        list(read_documents(file, "a.txt", "law", DocumentSettings(), Counter(), start, end))
        count += file.count
    assert count < 2.5 * len(text)


@pytest.mark.parametrize("sentences", ["lines", "split"])
def test_a_very_long_line_takes_memory_in_proportion(sentences):
    text = b"One two three. " * 100_000
    tracemalloc.start()
    documents = read_all(text, sentences=sentences)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(s) for d in documents for s in d.sentences) > 0.9 * len(text)
    assert peak < 40 * len(text)


def test_prose_is_split_into_sentences_wherever_its_lines_are_broken():
    text = b"Dr. Bell came\nlate. He sat\r\n\r\n\r\nThen he\nspoke: 'So.' We left. "
    assert read(text, sentences="split") == [
        ("Dr. Bell came late.", "He sat"),
        ("Then he spoke: 'So.'", "We left."),
    ]


def test_sentences_are_split_by_the_rules_of_the_language():
    text = b"Das ist z. B. gut. Am 3. Mai kam er."
    assert read(text, sentences="split", language="de") == [("Das ist z. B. gut.", "Am 3. Mai kam er.")]
    assert read("今日は。元気です。".encode(), sentences="split", language="ja") == [("今日は。", "元気です。")]


def test_prose_without_end_is_split_a_part_at_a_time():
    """A text without a blank line, and one that is a single line."""
    sentences = tuple(f"He said {i} words." for i in range(3000))
    for text in ("\n".join(sentences), " ".join(sentences)):
        documents = read_all(text.encode(), sentences="split", max_sentences_per_document=1000)
        assert sum((d.sentences for d in documents), ()) == sentences
        assert [d.continues for d in documents] == [False, True, True]


def test_the_identity_is_that_of_the_text():
    assert identify(["a", "b"]) == identify(["a", "b"])
    assert len({identify(s) for s in (["a", "b"], ["b", "a"], ["a b"], ["a"])}) == 4
    assert len(identify(["a"])) == 32


def test_splits_have_the_stated_shares():
    splits = [split_of(identify([str(i)]), 0.1) for i in range(20_000)]
    # Four standard deviations of a binomial share.
    assert abs(splits.count("eval") / 20_000 - 0.1) < 4 * (0.1 * 0.9 / 20_000) ** 0.5


def test_a_larger_held_out_share_keeps_what_was_held_out():
    ids = [identify([str(i)]) for i in range(1000)]
    small = {i for i in ids if split_of(i, 0.1) == "eval"}
    large = {i for i in ids if split_of(i, 0.3) == "eval"}
    assert small < large
