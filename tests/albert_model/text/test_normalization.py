import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text.normalization import normalize

HOSTILE = (
    "\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000 `'\u200b\ufeff\u0301İßﬁ½aZ力"
)


def plain(text, do_lower_case):
    """As `preprocess_text` of google-research/albert's tokenization.py says it, character by character."""
    text = " ".join(text.split()).replace("``", '"').replace("''", '"')
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return text.lower() if do_lower_case else text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Two \t words\n", "two words"),
        ("``Quoted''", '"quoted"'),
        ("Café Ångström", "cafe angstrom"),
        ("ﬁne ½", "fine 1⁄2"),
        ("力加", "力加"),
        ("one\ntwo", "one two"),
        ("", ""),
        (" \u2028\n", ""),
    ],
)
def test_examples(text, expected):
    assert normalize([text]) == [expected]


def test_case_is_kept_on_request():
    assert normalize(["Café"], do_lower_case=False) == ["Cafe"]


@given(st.lists(st.one_of(st.text(), st.text(HOSTILE)), max_size=6), st.booleans())
def test_many_at_once_equal_the_plain_rule_for_each(sentences, do_lower_case):
    assert normalize(sentences, do_lower_case) == [plain(sentence, do_lower_case) for sentence in sentences]


@pytest.mark.parametrize("mark", [c for c in map(chr, range(0x110000)) if c.isspace()], ids=lambda c: f"U+{ord(c):04X}")
def test_every_kind_of_white_space_parts_words_and_never_sentences(mark):
    sentences = [f"a{mark}b", "c", mark, f"{mark}d{mark}{mark}"]
    assert normalize(sentences) == ["a b", "c", "", "d"]
