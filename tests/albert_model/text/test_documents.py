import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.errors import InputError
from albert_model.text.documents import identify, read_documents, split_of


def read(text: bytes, max_sentences: int = 100) -> list[tuple[str, ...]]:
    return [d.sentences for d in read_documents(io.BytesIO(text), "a.txt", "law", max_sentences)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"A b.\nC.\n\nD.\n", [("A b.", "C."), ("D.",)]),
        (b"A.\r\nB.\r\n\r\nC.\r\n", [("A.", "B."), ("C.",)]),
        (b"A.\rB.\r\rC.\r", [("A.", "B."), ("C.",)]),
        (b"\xef\xbb\xbfA.\n", [("A.",)]),
        (b"\n\n\nA.\n \t \n\n\nB.", [("A.",), ("B.",)]),
        (b"  A \t  b.  \n", [("A b.",)]),
        (b"\n \n\n", []),
        (b"", []),
    ],
    ids=["plain", "crlf", "cr", "byte order mark", "many blank lines", "white space", "only blank", "empty"],
)
def test_reads_sentences_and_documents(text, expected):
    assert read(text) == expected


def test_long_documents_are_cut_and_say_so():
    documents = list(read_documents([b"%d\n" % i for i in range(5)], "a.txt", "law", max_sentences=2))
    assert [d.sentences for d in documents] == [("0", "1"), ("2", "3"), ("4",)]
    assert [d.continues for d in documents] == [False, True, True]


def test_a_blank_line_right_after_a_full_document_cuts_nothing():
    documents = list(read_documents([b"0\n", b"1\n", b"\n", b"2\n"], "a.txt", "law", max_sentences=2))
    assert [d.continues for d in documents] == [False, False]


def test_what_is_not_utf8_is_named_with_file_and_line():
    with pytest.raises(InputError, match=r"a\.txt, line 2: not UTF-8 .*iconv"):
        read(b"fine\ncaf\xe9\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\x1f\x8b\x08\x00", r"a\.txt: is gzipped, but its name does not end in \.gz"),
        ("Eins.\nZwei.\n".encode("utf-16-le"), r"a\.txt, line 1: holds a zero byte.*UTF-16"),
    ],
    ids=["gzip", "utf-16"],
)
def test_what_is_no_text_is_told_from_another_encoding(text, message):
    with pytest.raises(InputError, match=message):
        read(text)


@given(st.lists(st.lists(st.from_regex(r"[a-z]{1,5}( [a-z]{1,5})?", fullmatch=True), min_size=1), max_size=8))
def test_writing_and_reading_gives_the_same_documents(documents):
    text = "\n\n".join("\n".join(sentences) for sentences in documents)
    assert read(text.encode()) == [tuple(sentences) for sentences in documents]


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
