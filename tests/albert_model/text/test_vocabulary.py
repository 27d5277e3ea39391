import hashlib
import json
import shutil

import pytest

from albert_model.errors import InputError
from albert_model.text.vocabulary import Vocabulary, find, read

WORD_PIECES = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##ing\n"


def pieces(*more: str) -> bytes:
    return WORD_PIECES + "".join(f"{piece}\n" for piece in more).encode()


# === Files ===


@pytest.mark.parametrize("name", ["vocab.txt", "vocab_chinese.txt", "bert-vocab-30k.txt"])
def test_a_word_piece_list_is_found(tmp_path, name):
    (tmp_path / name).write_bytes(WORD_PIECES)
    (tmp_path / "README.txt").write_text("Not a vocabulary.")
    found = find(tmp_path)
    assert (found.file_name, found.kind, found.content) == (name, "wordpiece", WORD_PIECES)
    assert found.pieces == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##ing")


def test_a_sentence_piece_model_is_found(tokenizer, tmp_path):
    (tmp_path / "30k-clean.model").write_bytes(tokenizer.vocabulary.content)
    (tmp_path / "30k-clean.vocab").write_text("<pad>\t0\n")
    found = read(tmp_path)
    assert (found.file_name, found.kind) == ("30k-clean.model", "sentencepiece")
    assert found.content == tokenizer.vocabulary.content
    assert found.pieces[:5] == ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    assert len(found.pieces) == 1000
    assert not found.is_released


def test_a_folder_without_one(tmp_path):
    assert find(tmp_path) is None
    with pytest.raises(InputError, match=rf"{tmp_path}: should hold one vocabulary \(\*\.model or .*, holds none"):
        read(tmp_path)


def test_copies_of_one_are_one_and_different_ones_are_refused(tmp_path):
    for name in ("vocab.txt", "another_vocab.txt"):
        (tmp_path / name).write_bytes(WORD_PIECES)
    assert read(tmp_path).file_name == "another_vocab.txt"
    (tmp_path / "vocab.txt").write_bytes(pieces("more"))
    with pytest.raises(InputError, match=r"holds several: another_vocab\.txt, vocab\.txt"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("spm.model", b"not a model", r"spm\.model: not a SentencePiece model"),
        ("spm.model", b"", r"spm\.model: not a SentencePiece model"),
        ("vocab.txt", b"[PAD]\n\xff\xfe\n", r"vocab\.txt: not a list of pieces in UTF-8"),
    ],
    ids=["text", "empty", "not utf-8"],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\n", ("a", "b")),
        (b"a\nb", ("a", "b")),
        (b"a\r\nb\r\n", ("a", "b")),
        ("a\n\u2028\n\u3000\nb\n".encode(), ("a", "\u2028", "\u3000", "b")),
    ],
    ids=["lines", "no last line end", "windows", "pieces that are white space"],
)
def test_a_word_piece_is_a_line(content, expected):
    assert Vocabulary(content, "vocab.txt").pieces == expected


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_round_trip(tokenizer, tmp_path, do_lower_case):
    for made in (
        Vocabulary(WORD_PIECES, "vocab.txt", do_lower_case),
        Vocabulary(tokenizer.vocabulary.content, "spm.model", do_lower_case),
    ):
        assert made.write(tmp_path / made.kind) == tmp_path / made.kind / made.file_name
        assert read(tmp_path / made.kind) == made
    assert sorted(path.name for path in (tmp_path / "wordpiece").iterdir()) == ["tokenizer_config.json", "vocab.txt"]
    lines = (tmp_path / "sentencepiece" / "spm.vocab").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == list(tokenizer.pieces)


# === Lower case ===


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], True),
        (["é", "##1", "力"], True),
        (["[unused1]", "<S>", "<T>"], True),
        (["The"], False),
        (["##S"], False),
    ],
    ids=["lower", "other letters", "special pieces", "a word", "part of a word"],
)
def test_an_ordinary_piece_in_upper_case_says_that_case_is_kept(tmp_path, more, expected):
    (tmp_path / "vocab.txt").write_bytes(pieces(*more))
    assert read(tmp_path).do_lower_case is expected


@pytest.mark.parametrize(
    ("more", "config", "expected"),
    [
        ([], {"do_lower_case": False}, False),
        (["The"], {"do_lower_case": True}, True),
        (["The"], {"model_max_length": 512}, False),
        ([], {"do_lower_case": None}, True),
    ],
    ids=["kept", "lowered", "unsaid", "null"],
)
def test_what_the_tokenizers_config_says_goes_first(tmp_path, more, config, expected):
    (tmp_path / "vocab.txt").write_bytes(pieces(*more))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read(tmp_path).do_lower_case is expected


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_broken_tokenizers_config_is_named(tmp_path, content):
    (tmp_path / "vocab.txt").write_bytes(WORD_PIECES)
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer_config\.json: not a tokenizer's config"):
        read(tmp_path)


# === Which one it is ===


def test_a_fingerprint_tells_all_that_makes_other_ids():
    made = Vocabulary(WORD_PIECES, "vocab.txt")
    assert made.fingerprint == Vocabulary(WORD_PIECES, "another_vocab.txt").fingerprint
    assert made.fingerprint != Vocabulary(pieces("more"), "vocab.txt").fingerprint
    assert made.fingerprint != Vocabulary(WORD_PIECES, "vocab.txt", do_lower_case=False).fingerprint
    assert made.sha256 == hashlib.sha256(WORD_PIECES).hexdigest()


@pytest.mark.parametrize(("name", "released"), [("30k-clean.model", True), ("not-albert-30k.model", False)])
def test_the_released_vocabulary_is_told_from_one_that_looks_like_it(shared_data, tmp_path, name, released):
    """The other has as many pieces, and upper case."""
    shutil.copyfile(shared_data / "tokenizer" / name, tmp_path / "30k-clean.model")
    found = read(tmp_path)
    assert (found.is_released, len(found.pieces), found.do_lower_case) == (released, 30000, released)


def test_the_released_vocabularys_list_is_written_as_it_came(shared_data, tmp_path):
    made = Vocabulary((shared_data / "tokenizer" / "30k-clean.model").read_bytes(), "30k-clean.model")
    made.write(tmp_path)
    written = (tmp_path / "30k-clean.vocab").read_text(encoding="utf-8").splitlines()
    genuine = (shared_data / "tokenizer" / "30k-clean.vocab").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in written] == [line.split("\t")[0] for line in genuine]


@pytest.mark.parametrize(("name", "count"), [("albert_tiny_zh", 21128), ("simbert_tiny_zh", 13685)])
def test_chinese_vocabularies_are_in_lower_case(shared_data, name, count):
    found = read(shared_data / "checkpoints" / name)
    assert (found.kind, len(found.pieces), found.do_lower_case) == ("wordpiece", count, True)
