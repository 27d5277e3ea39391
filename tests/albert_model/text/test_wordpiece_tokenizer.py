import gzip
import itertools
import os
import subprocess
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text.documents import make_document
from albert_model.text.examples import make_examples
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "an", "index", "table", "speeds", "up", "quer", "planner", "read", "of", "in", "it", "ist", "cafe"]
WORDS += ["don", "t", *"',.!()力加1ÄÉ", "000"]
PARTS = [f"##{part}" for part in ("s", "es", "ies", "er", "anbul", "se", "ss", "ing", "0", "x", "加")]
PIECES = [*SPECIAL[:1], "[unused0]", "[unused1]", *SPECIAL[1:], *WORDS, *PARTS, *"abcdefghijklmnopqrstuvwxyz"]


def tokenizer_of(pieces=PIECES, do_lower_case=True):
    return Tokenizer.of(Vocabulary("\n".join(pieces).encode(), "vocab.txt", do_lower_case), "a test")


def pieces_of(tokenizer, text):
    (ids,) = tokenizer.encode([text]).rows()
    return [tokenizer.pieces[i] for i in ids]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The planner reads an INDEX.", "the planner read ##s an index ."),
        ("Queries, don't!", "quer ##ies , don ' t !"),
        ("Café É e\u0301", "cafe e e"),
        ("İstanbul", "ist ##anbul"),
        ("indexx 1,000", "index ##x 1 , 000"),
        ("index力加x", "index 力 加 x"),
        ("the\u00a0index\u2028of\tit\u200bin\x00", "the index of [UNK]"),
        ("(straße)", "( [UNK] )"),
        ("an [MASK] 😀", "an [UNK] [UNK] [UNK] [UNK]"),
        ("", ""),
        (" \u3000\n", ""),
        ("x" * 100, "x " + " ".join(["##x"] * 99)),
        ("x" * 101, "[UNK]"),
    ],
)
def test_examples(text, expected):
    assert pieces_of(tokenizer_of(), text) == expected.split()


def test_case_and_accents_are_kept_where_the_vocabulary_has_them():
    tokenizer = tokenizer_of(do_lower_case=False)
    assert pieces_of(tokenizer, "the Ä É The") == ["the", "Ä", "É", "[UNK]"]


def test_every_piece_but_a_continuation_begins_a_word():
    tokenizer = tokenizer_of()
    assert [piece for piece, begins in zip(PIECES, tokenizer.starts_word, strict=True) if not begins] == PARTS


def test_special_and_unused_pieces_stand_for_no_text():
    tokenizer = tokenizer_of()
    ordinary = [PIECES[i] for i in tokenizer.ordinary_ids]
    assert [piece for piece in PIECES if piece not in ordinary] == ["[PAD]", "[unused0]", "[unused1]", *SPECIAL[1:]]


# === BERT's rules, character by character ===


def is_punctuation(c):
    ascii_punctuation = 33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96 or 123 <= ord(c) <= 126
    return ascii_punctuation or unicodedata.category(c).startswith("P")


def is_chinese(c):
    blocks = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)]
    blocks += [(0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
    return any(first <= ord(c) <= last for first, last in blocks)


def bert(text, pieces, do_lower_case):
    """As google-research/bert's tokenization.py says it."""
    known = set(pieces)
    text = "".join(" " if c in "\t\n\r" or unicodedata.category(c) == "Zs" else c for c in text)
    text = "".join(c for c in text if c not in "\x00\ufffd" and not unicodedata.category(c).startswith("C"))
    text = "".join(f" {c} " if is_chinese(c) else c for c in text)
    cut = []
    for word in text.split():
        if do_lower_case:
            word = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
        cut += "".join(f" {c} " if is_punctuation(c) else c for c in word).split()
    return [piece for word in cut for piece in word_pieces(word, known)]


def word_pieces(word, known):
    found, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in known), None)
        if end is None or len(word) > 100:
            return ["[UNK]"]
        found, start = [*found, mark + word[start:end]], end
    return found


LETTERS = "thei ndexsopablqury'.,()é\u0301ÄÉß力加\t\n\u00a0\u2028\u200b\u00ad\x00\ufffd😀1,"


@given(st.text(st.sampled_from(LETTERS)), st.booleans())
def test_pieces_of_any_text_are_those_of_berts_rules(text, do_lower_case):
    assert pieces_of(tokenizer_of(do_lower_case=do_lower_case), text) == bert(text, PIECES, do_lower_case)


@pytest.mark.parametrize("corpus", ["novels", "us_code"])
def test_pieces_of_books_and_laws_are_those_of_berts_rules(shared_data, corpus):
    tokenizer = Tokenizer.from_file(shared_data / "checkpoints" / "simbert_tiny_zh" / "vocab.txt")
    with gzip.open(shared_data / "corpora" / f"{corpus}.txt.gz", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in itertools.islice(file, 0, None, 100)]
    assert len(lines) > 1000
    found = [[tokenizer.pieces[i] for i in ids] for ids in tokenizer.encode(lines).rows()]
    expected = [bert(line, tokenizer.pieces, True) for line in lines]
    assert [case for case in zip(lines, found, expected, strict=True) if case[1] != case[2]] == []


# === Use ===


@pytest.mark.parametrize("whole", [True, False])
def test_words_are_masked_whole(whole):
    tokenizer = tokenizer_of()
    document = make_document([f"The planner reads queries of index {c}, in a table{c}." for c in "abcdefghijkl"], "x")
    settings = ExampleSettings(max_seq_length=40, max_predictions_per_seq=6, do_whole_word_mask=whole)
    cut = 0
    for examples in make_examples([document], tokenizer, settings, 20, True, Counter()):
        for ids, positions, labels in zip(
            *(column.rows() for column in (examples.input_ids, examples.masked_lm_positions, examples.masked_lm_ids)),
            strict=True,
        ):
            chosen = set(positions.tolist())
            ids[positions] = labels
            ends = [i for i in range(1, len(ids)) if not tokenizer.starts_word[ids[i]]]
            cut += sum((i in chosen) != (i - 1 in chosen) for i in ends)
            assert not chosen & {i for i, piece in enumerate(ids) if piece in (tokenizer.cls_id, tokenizer.sep_id)}
    assert (cut == 0) == whole


def test_no_thread_is_started_that_a_fork_would_lose():
    """And nothing is set in the environment of who imports this."""
    code = (
        "import os, sys\n"
        "from tests.albert_model.text.test_wordpiece_tokenizer import tokenizer_of\n"
        "before = dict(os.environ), len(os.listdir('/proc/self/task'))\n"
        "tokenizer = tokenizer_of()\n"
        "tokenizer.encode(['the index of it'] * 1000)\n"
        "assert before == (dict(os.environ), len(os.listdir('/proc/self/task')))\n"
        "child = os.fork()\n"
        "if not child: os._exit(len(tokenizer.encode(['the index'] * 1000).values) != 2000)\n"
        "sys.exit(os.waitpid(child, 0)[1])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "parallelism" not in done.stderr
