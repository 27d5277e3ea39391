import base64
import gzip
import itertools
import json

import pytest

from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights import huggingface, huggingface_tokenizer
from tests.albert_model.weights.small_models import BERT, changed, random_weights, word_pieces
from tests.conftest import MANUAL

MAX_LENGTH = 20


def written(folder, vocabulary):
    folder.mkdir()
    huggingface_tokenizer.write(folder, vocabulary, MAX_LENGTH)
    return folder


def names(folder):
    return {path.name for path in folder.iterdir()}


def read(folder, name):
    return json.loads((folder / name).read_text())


# === Without transformers ===


def test_a_sentencepiece_vocabulary_becomes_albert_s_files(tokenizer, tmp_path):
    folder = written(tmp_path / "a", tokenizer.vocabulary)
    assert names(folder) == {"spiece.model", "tokenizer.json", "tokenizer_config.json"}
    assert (folder / "spiece.model").read_bytes() == tokenizer.vocabulary.content
    config = read(folder, "tokenizer_config.json")
    assert (config["tokenizer_class"], config["model_max_length"]) == ("AlbertTokenizer", MAX_LENGTH)
    vocab = read(folder, "tokenizer.json")["model"]["vocab"]
    assert tuple(piece for piece, _ in vocab) == tokenizer.pieces


def test_a_wordpiece_vocabulary_becomes_bert_s_files(tmp_path):
    vocabulary = word_pieces(120)
    folder = written(tmp_path / "a", vocabulary)
    assert names(folder) == {"vocab.txt", "tokenizer_config.json"}
    assert (folder / "vocab.txt").read_bytes() == vocabulary.content
    config = read(folder, "tokenizer_config.json")
    assert (config["tokenizer_class"], config["unk_token"], config["pad_token"]) == ("BertTokenizer", "[UNK]", "[PAD]")


@pytest.mark.parametrize("lower_case", [True, False])
def test_case_is_kept_where_the_vocabulary_has_it(tokenizer, lower_case, tmp_path):
    folder = written(tmp_path / "a", Vocabulary(tokenizer.vocabulary.content, "spm.model", lower_case))
    assert read(folder, "tokenizer_config.json")["do_lower_case"] is lower_case
    steps = [step["type"] for step in read(folder, "tokenizer.json")["normalizer"]["normalizers"]]
    assert ("Lowercase" in steps) == lower_case


def test_the_model_s_own_table_of_characters_is_taken_over(tokenizer, tmp_path):
    steps = read(written(tmp_path / "a", tokenizer.vocabulary), "tokenizer.json")["normalizer"]["normalizers"]
    table = base64.b64decode(steps[-1]["precompiled_charsmap"])
    assert len(table) > 10_000
    assert table in tokenizer.vocabulary.content


# === In transformers ===


def loaded(folder, vocabulary):
    """As `AutoTokenizer` loads it beside a model."""
    transformers = pytest.importorskip("transformers")
    config = changed(vocab_size=len(vocabulary.pieces))
    huggingface.write(folder, random_weights(config), config, vocabulary)
    return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def rows(tokenizer, lines):
    return [row.tolist() for row in tokenizer.encode(lines).rows()]


def different(tokenizer, theirs, lines):
    """The lines that get other ids in transformers, and both ids of each."""
    ids = theirs(lines, add_special_tokens=False, verbose=False)["input_ids"]
    ours = rows(tokenizer, lines)
    return [triple for triple in zip(lines, ours, ids, strict=True) if triple[1] != triple[2]]


ODD = [
    "",
    "   ",
    "Café ``naïve'' 1,000,000 dollars",
    "53, 53,5 1,2,3,",
    "ＦＵＬＬ width ½ ﬁ",
    "日本語 한국어 हिन्दी",
    "tab\there\u00a0nbsp\u3000ideographic\u200bzero",
    "İstanbul ẞ Å e\u0301 x\u0301\u0302y",
    "£5,€3,–…",
    "``''``'",
    "\ufeffbom \u00ad soft",
    "▁x ▁",
    "a\x00b\x07c",
]


@pytest.fixture(scope="module")
def genuine(shared_data):
    return Tokenizer.from_file(shared_data / "tokenizer" / "30k-clean.model")


@pytest.mark.interop
def test_ids_are_those_of_training_on_the_manual(tokenizer, tmp_path):
    theirs = loaded(tmp_path / "a", tokenizer.vocabulary)
    lines = [line for path in sorted(MANUAL.rglob("*.txt")) for line in path.read_text().splitlines()]
    assert len(lines) > 10_000
    assert different(tokenizer, theirs, [*lines, *ODD]) == []


@pytest.mark.interop
@pytest.mark.parametrize("corpus", ["novels", "us_code"])
def test_ids_are_those_of_training_with_the_released_vocabulary(genuine, shared_data, corpus, tmp_path):
    theirs = loaded(tmp_path / "a", genuine.vocabulary)
    with gzip.open(shared_data / "corpora" / f"{corpus}.txt.gz", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in itertools.islice(file, 0, None, 20)]
    assert sum(any(c.isdigit() for c in line) for line in lines) > 20
    assert different(genuine, theirs, [*lines, *ODD]) == []


@pytest.mark.interop
def test_ids_are_those_of_training_where_case_is_kept(tokenizer, tmp_path):
    cased = Tokenizer.of(Vocabulary(tokenizer.vocabulary.content, "spm.model", do_lower_case=False), "a test")
    theirs = loaded(tmp_path / "a", cased.vocabulary)
    lines = ["SELECT x FROM Café", "select x from cafe"]
    assert different(cased, theirs, lines) == []
    assert rows(cased, lines[:1]) != rows(tokenizer, lines[:1])


@pytest.mark.interop
def test_special_pieces_and_segments_stand_where_albert_has_them(tokenizer, tmp_path):
    theirs = loaded(tmp_path / "a", tokenizer.vocabulary)
    first, second = rows(tokenizer, ["the table", "an index"])
    pair = theirs("the table", "an index")
    assert pair["input_ids"] == [2, *first, 3, *second, 3]
    assert pair["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    assert theirs("the table")["input_ids"] == [2, *first, 3]
    assert theirs("a [MASK] b")["input_ids"].count(tokenizer.mask_id) == 1
    padded = theirs(["the table", "the"], padding=True)
    assert (padded["input_ids"][1][-1], padded["attention_mask"][1][-1]) == (0, 0)
    assert (type(theirs).__name__, theirs.model_max_length) == ("AlbertTokenizer", MAX_LENGTH)
    assert len(theirs("the " * 50, truncation=True)["input_ids"]) == MAX_LENGTH


@pytest.mark.interop
def test_text_comes_back(tokenizer, tmp_path):
    theirs = loaded(tmp_path / "a", tokenizer.vocabulary)
    text = "the select statement, and the table."
    assert theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.interop
@pytest.mark.parametrize("architecture", ["albert", "bert"])
def test_a_wordpiece_vocabulary_loads_as_bert_s_tokenizer_beside_either_model(architecture, tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabulary = word_pieces(120)
    config = BERT if architecture == "bert" else changed()
    huggingface.write(tmp_path / "a", random_weights(config), config, vocabulary)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "a"), local_files_only=True)
    assert type(theirs).__name__.startswith("BertTokenizer")
    pieces = ["[CLS]", "a", "##x0", "b", "[SEP]", "[UNK]", "[SEP]"]
    pair = theirs("Ax0 b", "word")
    assert pair["input_ids"] == [vocabulary.pieces.index(piece) for piece in pieces]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 0, 1, 1]
    assert theirs.mask_token_id == 4
