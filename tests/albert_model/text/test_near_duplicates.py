import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albert_model.text import near_duplicates
from albert_model.text.near_duplicates import SKETCH_BYTES, band_keys, find_near_duplicates, sign, sketch


def find(texts: list[str], similarity=0.8) -> set[int]:
    """Numbers of the texts that are near duplicates; a text's number is its id."""
    return find_in_rows(rows_of(texts, similarity), similarity)


def rows_of(texts, similarity=0.8):
    signatures = [(number, sign([text])) for number, text in enumerate(texts)]
    return [
        (key, number.to_bytes(16, "big"), sketch(signature))
        for number, signature in signatures
        if signature is not None
        for key in band_keys(signature, similarity)
    ]


def find_in_rows(rows, similarity=0.8):
    columns = [
        np.frombuffer(b"".join(column), np.uint8).reshape(-1, length)
        for column, length in zip(zip(*rows, strict=True), (16, 16, SKETCH_BYTES), strict=True)
    ]
    return {int.from_bytes(found, "big") for found in find_near_duplicates(*columns, similarity)}


def text(seed: int, words: int = 200) -> list[str]:
    return [f"w{i}" for i in np.random.RandomState(seed).randint(0, 2000, words)]


def with_changes(words: list[str], changes: int) -> list[str]:
    """Changes words so far apart that each takes five 5-grams with it."""
    changed = list(words)
    for i in range(changes):
        changed[10 + 10 * i] = f"changed{i}"
    return changed


def jaccard(a: list[str], b: list[str]) -> float:
    first, second = ({tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (a, b))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["The cat sat on the mat."], ["the CAT sat, on the mat"]),
        (["One two three. Four five six."], ["One two three.", "Four five six."]),
        (["Straße"], ["STRASSE"]),
        (["one two three"], ["one two", "three!"]),
    ],
    ids=["case and punctuation", "sentences", "folded", "short"],
)
def test_what_makes_no_difference(one, other):
    assert (sign(one) == sign(other)).all()


def test_words_and_their_order_make_a_difference():
    signatures = [sign([t]) for t in ("a b c d e f", "f e d c b a", "a b c d e g", "a b c d e")]
    assert len({s.tobytes() for s in signatures}) == 4


def test_a_text_without_words_has_no_signature():
    assert sign(["*** !!"]) is None
    assert sign([]) is None


def test_the_estimate_is_the_share_of_5_grams():
    words = text(0, 2000)
    for changes in (0, 20, 60, 150):
        changed = with_changes(words, changes)
        sketches = [np.frombuffer(sketch(sign([" ".join(w)])), np.uint8) for w in (words, changed)]
        estimate = near_duplicates._similarity(sketches[0][None], sketches[1])[0]
        expected = jaccard(words, changed)
        # Three standard deviations of a share of 128.
        assert abs(estimate - expected) <= 3 * (expected * (1 - expected) / SKETCH_BYTES) ** 0.5


def test_near_duplicates_are_found_and_others_are_not():
    pairs = [(text(i), with_changes(text(i), 1 if i < 200 else 8)) for i in range(400)]
    alike, unlike = pairs[:200], pairs[200:]
    assert all(jaccard(*pair) > 0.94 for pair in alike)
    assert all(jaccard(*pair) < 0.68 for pair in unlike)
    found = find([" ".join(words) for pair in pairs for words in pair])
    assert {2 * i + 1 for i in range(200)} - found == set()  # the second of each pair has the larger id
    assert len(found) == 200


def test_of_a_cluster_the_smallest_id_is_kept():
    words = text(1)
    cluster = [" ".join(with_changes(words, changes)) for changes in (1, 0, 1, 0)]
    assert find([" ".join(text(2)), *cluster, " ".join(text(3))]) == {2, 3, 4}


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2, max_size=12), st.randoms())
def test_what_is_found_depends_on_the_documents_alone(kinds, random):
    """Neither order nor copies of rows matter; no two that are kept are near duplicates; one of each kind is kept."""
    texts = [" ".join(with_changes(text(seed), changes)) for seed, changes in kinds]
    rows = rows_of(texts)
    found = find_in_rows(rows)
    shuffled = rows + rows[:5]
    random.shuffle(shuffled)
    assert find_in_rows(shuffled) == found
    kept = [i for i in range(len(texts)) if i not in found]
    assert find_in_rows([row for row in rows if int.from_bytes(row[1], "big") in kept]) == set()
    assert {kinds[i][0] for i in kept} == {seed for seed, _ in kinds}


def test_the_work_on_a_band_has_a_bound():
    """Half a million comparisons of documents that agree in a band only; all with all would be 50 million."""
    count = 10_000
    sketches = np.random.RandomState(0).randint(0, 256, (count, SKETCH_BYTES)).astype(np.uint8)
    ids = np.frombuffer(b"".join(hashlib.md5(b"%d" % i).digest() for i in range(count)), np.uint8).reshape(-1, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_COMPARED_WITH", 50)
        assert list(find_near_duplicates(np.zeros((count, 16), np.uint8), ids, sketches, 0.8)) == []


def test_nothing_to_compare():
    empty = [np.zeros((0, length), np.uint8) for length in (16, 16, SKETCH_BYTES)]
    assert list(find_near_duplicates(*empty, 0.8)) == []
