import gzip
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.errors import InputError
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.text.vocabulary_extension import extend
from albert_model.text.vocabulary_training import TokenizerSettings

SETTINGS = TokenizerSettings()
SHRINK = TokenizerSettings(when_text_is_small="shrink")
MORE = 200
ODD = [
    "The Zorblat server vacuums each toastable, 1,000 times.",
    "Zorblats are vacuumed by the server, and so are toastables.",
    "A toastable of 1,000 pages, ≤ 12,345 rows, is vacuumed ≤ 3 times by Zorblat's.",
]


def as_word_pieces(tokenizer):
    """Pieces of a SentencePiece vocabulary, as BERT writes them."""
    parts = [p[1:] if p.startswith("▁") else f"##{p}" for p in tokenizer.pieces[5:] if p != "▁"]
    pieces = dict.fromkeys(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *parts, *"abcdefghijklmnopqrstuvwxyz.,()0123456789"]
    )
    return Tokenizer.of(Vocabulary("\n".join(pieces).encode(), "vocab.txt"), "a test")


@pytest.fixture(scope="module", params=["sentencepiece", "wordpiece"])
def old(request, tokenizer):
    return tokenizer if request.param == "sentencepiece" else as_word_pieces(tokenizer)


@pytest.fixture(scope="module")
def domain(documents):
    """Text that the vocabulary was not trained on."""
    return [*(s for d in documents[60:120] for s in d.sentences), *ODD * 20]


@pytest.fixture(scope="module")
def new(old, domain):
    return extend(old, domain, old.vocab_size + MORE, SETTINGS)


def pieces_of(tokenizer, text):
    (ids,) = tokenizer.encode([text]).rows()
    return [tokenizer.pieces[i] for i in ids]


def text_of(tokenizer, ids):
    return "".join(tokenizer.pieces[i] for i in ids)


def test_old_pieces_keep_their_ids(old, new):
    assert new.pieces[: old.vocab_size] == old.pieces
    assert new.vocab_size == old.vocab_size + MORE
    assert (new.cls_id, new.sep_id, new.mask_id) == (old.cls_id, old.sep_id, old.mask_id)
    assert new.starts_word[: old.vocab_size].tolist() == old.starts_word.tolist()
    assert set(range(old.vocab_size, new.vocab_size)) <= set(new.ordinary_ids.tolist())
    assert len(set(new.pieces)) == new.vocab_size


def test_words_of_the_domain_become_shorter(old, new):
    assert len(pieces_of(new, ODD[0])) < len(pieces_of(old, ODD[0]))
    for word in ("Zorblat", "toastable"):
        assert len(pieces_of(new, word)) == 1, pieces_of(new, word)
        assert new.starts_word[new.encode([word]).values[0]]


def test_every_new_piece_is_used(old, new, domain):
    used = set(new.encode(domain).values.tolist())
    assert set(range(old.vocab_size, new.vocab_size)) <= used


def test_a_character_that_was_unknown_gets_a_piece(old, new):
    assert old.unknown_id in old.encode(["x ≤ y"]).values
    assert any(piece in ("≤", "▁≤") for piece in pieces_of(new, "x ≤ y"))


def test_numbers_before_commas_are_cut_as_ever(tokenizer, domain):
    new = extend(tokenizer, domain, tokenizer.vocab_size + MORE, SETTINGS)
    for text in ("12,345, ", "7,", "1,000 rows"):
        (ids,) = new.encode([text]).rows()
        pieces = [new.pieces[i] for i in ids]
        assert not any(piece[-2:-1].isdigit() and piece.endswith(",") for piece in pieces)
        assert text_of(new, ids) == f"▁{text.strip().replace(' ', '▁')}"


def test_it_is_the_same_every_time(old, new, domain):
    assert extend(old, domain, new.vocab_size, SETTINGS).fingerprint == new.fingerprint != old.fingerprint


def test_a_text_with_too_few_new_pieces_is_refused_with_the_limit(old, domain):
    with pytest.raises(InputError, match=r"vocab_size 9000 .*has \d+ new pieces for the .*Set it to \d+ or less"):
        extend(old, domain, 9000, SETTINGS)


def test_or_gives_what_it_has(old, domain):
    new = extend(old, domain, 9000, SHRINK)
    assert old.vocab_size + MORE < new.vocab_size < 9000
    assert extend(old, domain, new.vocab_size, SETTINGS).pieces == new.pieces
    with pytest.raises(InputError, match=f"Set it to {new.vocab_size} or less"):
        extend(old, domain, new.vocab_size + 1, SETTINGS)


def test_a_text_that_is_known_already_adds_nothing(new):
    again = extend(new, ["zorblat"] * 5, new.vocab_size + 1000, SHRINK)
    assert again.pieces == new.pieces


def test_a_piece_is_spelt_as_it_stood_in_text(old, new):
    """`▁zorblat` is spelt as the old vocabulary cuts the word, with nothing before or after it."""
    for word in ("zorblat", "toastable"):
        (number,) = new.encode([word]).values
        (spelling,) = old.spell([new.pieces[number]]).rows()
        assert spelling.tolist() == old.encode([word]).values.tolist()


# === SentencePiece's scores ===

WORDS = ["ab", "abc", "bca", "▁ab", "▁abcab", "cab", "▁c", "abcabc", "▁abc", "bc"]


@given(st.lists(st.sampled_from(WORDS), min_size=1, unique=True), st.text("abc ", max_size=12))
def test_text_that_holds_no_new_piece_keeps_its_ids_and_no_piece_is_cut(tokenizer, words, text):
    more = [word for word in words if word not in tokenizer.pieces]
    new = tokenizer.with_pieces(more)
    plain = "▁" + "▁".join(text.split())
    if not any(piece in plain for piece in more):
        assert new.encode([text]).values.tolist() == tokenizer.encode([text]).values.tolist()
    whole = [piece for piece in more if piece.startswith("▁")]
    assert [pieces_of(new, piece[1:]) for piece in whole] == [[piece] for piece in whole]
    assert text_of(new, new.encode([text]).values) == ("" if not text.split() else plain)


# === The genuine vocabulary ===


def test_the_released_vocabulary_learns_law(shared_data):
    """1,500 pieces shorten a law's text, and change a novel's hardly at all."""
    released = Tokenizer.from_file(shared_data / "tokenizer" / "30k-clean.model")
    law, novel = ([*lines(shared_data, corpus)] for corpus in ("us_code", "novels"))
    new = extend(released, law[::2], 31_500, SETTINGS)
    assert (new.vocab_size, new.pieces[:30_000]) == (31_500, released.pieces)
    assert new.vocabulary.file_name == "spm.model"  # so that it is not taken for the released one
    before, after = (t.encode(law[1::2]).lengths for t in (released, new))
    assert after.sum() < 0.98 * before.sum()
    assert np.mean(after <= before) > 0.999
    same = [a.tolist() == b.tolist() for a, b in zip(*(t.encode(novel).rows() for t in (released, new)), strict=True)]
    assert np.mean(same) > 0.7


def lines(shared_data, corpus):
    with gzip.open(shared_data / "corpora" / f"{corpus}.txt.gz", "rt", encoding="utf-8") as file:
        yield from (line for line in itertools.islice(file, 0, None, 10) if line.strip())
