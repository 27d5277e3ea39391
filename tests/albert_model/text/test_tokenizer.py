import json

import pytest

from albert_model.errors import InputError
from albert_model.text.tokenizer import (
    Tokenizer,
    TokenizerSettings,
    begins_word,
    normalize,
    read_vocabulary,
    train,
    write_vocabulary,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Two \t words\n", "two words"),
        ("``Quoted''", '"quoted"'),
        ("Café Ångström", "cafe angstrom"),
        ("ﬁne ½", "fine 1⁄2"),
        ("力加", "力加"),
    ],
)
def test_normalization(text, expected):
    assert normalize(text) == expected


def test_case_is_kept_on_request():
    assert normalize("Café", do_lower_case=False) == "Cafe"


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("▁the", True),
        ("ing", False),
        ("x", False),
        ("<unk>", True),
        ("[MASK]", False),
        (",", True),
        ("€", True),
        ("'s", False),
        ("1999", True),
        ("é", True),
        ("力", True),
    ],
)
def test_word_starts(piece, expected):
    assert begins_word(piece) is expected


# What the released vocabulary gives under sentencepiece 0.2.3; `1,` and `12,` are split again, as ALBERT does.
GOLDEN = {
    "It cost £1,000 in 1999, café!": "▁it ▁cost ▁ £ 1,000 ▁in ▁1999 , ▁cafe !",
    "12,345,678": "▁12 , 345 , 6 78",
    "``Don't'' - (see)": '▁ " don \' t " ▁ - ▁ ( see )',
    "A 力 😀": "▁a ▁ <unk> ▁ <unk>",
}


def test_golden_pieces_on_the_genuine_vocabulary(shared_data):
    tokenizer = Tokenizer.from_file(shared_data / "tokenizer" / "30k-clean.model")
    assert tokenizer.vocab_size == 30000
    found = {text: " ".join(tokenizer.pieces[i] for i in tokenizer.encode([text])[0]) for text in GOLDEN}
    assert found == GOLDEN


def test_vocabulary_text_is_that_of_the_release(shared_data, tmp_path):
    write_vocabulary(tmp_path, Tokenizer.from_file(shared_data / "tokenizer" / "30k-clean.model"))
    assert (tmp_path / "30k-clean.vocab").read_text() == (shared_data / "tokenizer" / "30k-clean.vocab").read_text()


def test_training_gives_alberts_special_pieces(tokenizer):
    assert tokenizer.pieces[:13] == ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *'()"-.–£€')
    assert tokenizer.vocab_size == 1000
    assert tokenizer.ordinary_ids.min() == 5


def test_training_twice_gives_the_same_vocabulary(documents, tokenizer):
    again = train((s for d in documents[:60] for s in d.sentences), 1000, TokenizerSettings())
    assert again.model == tokenizer.model
    assert again.fingerprint == tokenizer.fingerprint


def test_long_lines_count_as_well(documents):
    """SentencePiece by itself leaves out lines of more than 4,192 bytes."""
    long = " ".join(s for d in documents[:60] for s in d.sentences)
    assert len(train([long], 500, TokenizerSettings()).pieces) == 500


def test_the_fingerprint_depends_on_all_that_changes_ids(tokenizer):
    assert Tokenizer(tokenizer.model, do_lower_case=False).fingerprint != tokenizer.fingerprint


def test_encoding_loses_no_known_text(tokenizer):
    text = "The planner reads the statistics of each table."
    (ids,) = tokenizer.encode([text])
    assert "".join(tokenizer.pieces[i] for i in ids).replace("▁", " ").strip() == text.lower()


def test_a_vocabulary_larger_than_the_text_supports_is_refused_with_the_limit(documents):
    with pytest.raises(InputError, match=r"vocab_size 20000 .* set it to \d+ or less"):
        train((s for d in documents[:20] for s in d.sentences), 20000, TokenizerSettings())


def test_a_vocabulary_smaller_than_the_alphabet_is_refused(documents):
    with pytest.raises(InputError, match="vocab_size 20 "):
        train((s for d in documents[:20] for s in d.sentences), 20, TokenizerSettings())


def test_round_trip_through_a_folder(tokenizer, tmp_path):
    write_vocabulary(tmp_path, tokenizer)
    assert read_vocabulary(tmp_path).fingerprint == tokenizer.fingerprint
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {"do_lower_case": True}


def test_what_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(InputError, match="should hold one vocabulary"):
        read_vocabulary(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"spm\.model: not a SentencePiece model"):
        read_vocabulary(tmp_path)
