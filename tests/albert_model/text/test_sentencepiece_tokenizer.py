import gzip
import itertools
import unicodedata

import numpy as np
import pytest
import sentencepiece

from albert_model.text.sentencepiece_tokenizer import begins_word
from albert_model.text.tokenizer import Tokenizer

MODEL = "30k-clean.model"


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


def test_encoding_loses_no_known_text(tokenizer):
    text = "The planner reads the statistics of each table."
    (ids,) = tokenizer.encode([text]).rows()
    assert "".join(tokenizer.pieces[i] for i in ids).replace("▁", " ").strip() == text.lower()


def test_no_sentences(tokenizer):
    assert tokenizer.encode([]).rows() == []
    assert tokenizer.encode(["", " "]).lengths.tolist() == [0, 0]


def test_control_pieces_stand_for_no_text(tokenizer):
    assert tokenizer.ordinary_ids.tolist() == list(range(5, 1000))
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (2, 3, 4)


# === The genuine vocabulary ===

# What it gives under sentencepiece 0.2.3. A piece such as `1,` is split again, as ALBERT does.
GOLDEN = [
    (
        "It cost £1,000 in 1999, café!",
        "▁it ▁cost ▁ £ 1,000 ▁in ▁1999 , ▁cafe !",
        [32, 1516, 13, 11, 12055, 19, 1247, 15, 6241, 187],
    ),
    ("12,345,678", "▁12 , 345 , 6 78", [390, 15, 21997, 15, 379, 4130]),
    ("1,000", "▁1,000", [5925]),
    ("3.14, 2,71,8", "▁3 . 14 , ▁2 , 71 , 8", [203, 9, 1419, 15, 172, 15, 4241, 15, 457]),
    ("(1,2),3,", "▁ ( 1,2 ) , 3 ,", [13, 5, 15793, 6, 15, 240, 15]),
    ("``Don't'' - (see)", '▁ " don \' t " ▁ - ▁ ( see )', [13, 7, 804, 22, 38, 7, 13, 8, 13, 5, 1798, 6]),
    ("``''", '▁ " "', [13, 7, 7]),
    ("a ` b ' c", "▁a ▁ <unk> ▁b ▁ ' ▁c", [21, 13, 1, 334, 13, 22, 272]),
    ("A 力 😀", "▁a ▁ <unk> ▁ <unk>", [21, 13, 1, 13, 1]),
    ("力加勝北区", "▁ <unk>", [13, 1]),
    ("\U0001f469\u200d\U0001f469\u200d\U0001f467 ok", "▁ <unk> ▁ <unk> ▁ <unk> ▁ok", [13, 1, 13, 1, 13, 1, 5854]),
    ("one\xa0two\u2028three\tfour", "▁one ▁two ▁three ▁four", [53, 81, 132, 222]),
    ("zero\u200bwidth \ufeffbom so\xadft", "▁zero ▁width ▁bo m ▁so <unk> ft", [4606, 9456, 1607, 79, 86, 1, 3072]),
    ("e\u0301 x\u0301\u0302y", "▁ e ▁ xy", [13, 62, 13, 15161]),
    ("Zürich Ångström", "▁zurich ▁ ang strom", [10570, 13, 1712, 7270]),
    ("ﬁne ﬂow ½ ²", "▁fine ▁flow ▁1 <unk> 2 ▁2", [1123, 3312, 137, 1, 135, 172]),
    ("İstanbul Iğdır", "▁istanbul ▁ ig d <unk> r", [10617, 13, 2816, 43, 1, 139]),
    ("Straße ẞ", "▁stra <unk> e ▁ <unk>", [5428, 1, 62, 13, 1]),
    ("Ｆｕｌｌ", "▁full", [503]),
    ("हिन्दी", "▁ <unk>", [13, 1]),
    ("µm ≤ №", "▁ <unk> m ▁ <unk> ▁no", [13, 1, 79, 13, 1, 90]),
    ("▁x ▁", "▁x", [993]),
    (
        "[MASK] <pad> [SEP]",
        "▁[ mask ] ▁ <unk> pad <unk> ▁[ s ep ]",
        [636, 23265, 500, 13, 1, 8240, 1, 636, 18, 3492, 500],
    ),
    ("a\x00b\x07c", "▁a <unk> bc", [21, 1, 7229]),
    ("", "", []),
    (" \u3000\n", "", []),
    ("…–—€5", "▁ . . . – <unk> € 5", [13, 9, 9, 9, 10, 1, 12, 264]),
    ("a\nb", "▁a ▁b", [21, 334]),
]


@pytest.fixture(scope="module")
def genuine(shared_data):
    return Tokenizer.from_file(shared_data / "tokenizer" / MODEL)


@pytest.mark.parametrize(("text", "pieces", "ids"), GOLDEN, ids=[ascii(row[0]) for row in GOLDEN])
def test_golden_ids(genuine, text, pieces, ids):
    (found,) = genuine.encode([text]).rows()
    assert (found.tolist(), found.dtype) == (ids, np.int32)
    assert " ".join(genuine.pieces[i] for i in found) == pieces


def test_a_batch_gets_the_ids_of_its_sentences(genuine):
    texts = [text for text, _, _ in GOLDEN]
    together = genuine.encode([*texts, *reversed(texts)]).rows()
    assert [ids.tolist() for ids in together] == [ids for _, _, ids in [*GOLDEN, *reversed(GOLDEN)]]


def encode_pieces(processor, text):
    """ids as the rules of google-research/albert's tokenization.py say it, one sentence and one piece at a time."""
    text = " ".join(text.strip().split()).replace("``", '"').replace("''", '"')
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()
    pieces = []
    for piece in processor.EncodeAsPieces(text):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            number = processor.EncodeAsPieces(piece[:-1].replace("▁", ""))
            if piece[0] != "▁" and number[0][0] == "▁":
                number = number[1:] if len(number[0]) == 1 else [number[0][1:], *number[1:]]
            pieces += [*number, ","]
        else:
            pieces.append(piece)
    return [processor.PieceToId(piece) for piece in pieces]


@pytest.mark.parametrize("corpus", ["novels", "us_code"])
def test_ids_of_books_and_laws_are_those_of_the_plain_rules(genuine, shared_data, corpus):
    with gzip.open(shared_data / "corpora" / f"{corpus}.txt.gz", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in itertools.islice(file, 0, None, 50)]
    assert len(lines) > 2000
    processor = sentencepiece.SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / MODEL))
    found = [ids.tolist() for ids in genuine.encode(lines).rows()]
    assert [case for case in zip(lines, found, strict=True) if case[1] != encode_pieces(processor, case[0])] == []


def test_every_piece_that_ends_in_a_digit_and_a_comma_is_split_as_the_plain_rules_do(genuine, shared_data):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / MODEL))
    texts = [
        f"{head}{piece.replace('▁', '')}{tail}"
        for piece in genuine.pieces
        if piece[-2:-1].isdigit()
        for head, tail in (("", ""), ("x ", " y"), ("7", "0"))
    ]
    found = [ids.tolist() for ids in genuine.encode(texts).rows()]
    assert found == [encode_pieces(processor, text) for text in texts]


def test_the_list_of_pieces_is_that_of_the_release(genuine, shared_data, tmp_path):
    genuine.vocabulary.write(tmp_path)
    assert (tmp_path / "30k-clean.vocab").read_text() == (shared_data / "tokenizer" / "30k-clean.vocab").read_text()
