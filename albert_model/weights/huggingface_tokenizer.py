"""Tokenizer files of a Hugging Face folder.

transformers has no reader of SentencePiece models that gives ALBERT's ids, so that `tokenizer.json` spells out what
`albert_model.text.tokenizer` does: its normalisation, SentencePiece's own one (a table in the model), the pieces with
their scores, and the second split of pieces that end in a digit and a comma, which get a score that keeps them from
being chosen. The last is exact for pieces at the start of a word, as all are in the released vocabulary.

Format: https://huggingface.co/docs/tokenizers (components).
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import sentencepiece

from albert_model.text.sentencepiece_model import character_table
from albert_model.text.vocabulary import Vocabulary

SENTENCEPIECE_FILE = "spiece.model"
WORDPIECE_FILE = "vocab.txt"
_SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
_ALBERT_TOKENS = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "[CLS]", "eos_token": "[SEP]"}
_BOTH_TOKENS = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_DIGIT_COMMA = re.compile(r"\d,$")
_NEVER = -100.0  # added to a score


def write(folder: Path, vocabulary: Vocabulary, max_length: int) -> None:
    """Writes the files that `AutoTokenizer` loads.

    Args:
      folder: is there.
      vocabulary: of either kind.
      max_length: pieces in an input, special ones included.
    """
    config: dict[str, Any] = {
        "do_lower_case": vocabulary.do_lower_case,
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **_BOTH_TOKENS,
    }
    if vocabulary.kind == "wordpiece":
        (folder / WORDPIECE_FILE).write_bytes(vocabulary.content)
        config |= {"tokenizer_class": "BertTokenizer", "unk_token": "[UNK]", "pad_token": "[PAD]"}
    else:
        (folder / SENTENCEPIECE_FILE).write_bytes(vocabulary.content)
        (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(vocabulary), ensure_ascii=False) + "\n")
        config |= {"tokenizer_class": "AlbertTokenizer", "keep_accents": False, **_ALBERT_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i, piece) for i, piece in enumerate(vocabulary.pieces) if piece in _SPECIAL],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(vocabulary)},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": _template(vocabulary),
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": False, "vocab": _scores(vocabulary)},
    }


def _added(number: int, piece: str) -> dict[str, Any]:
    mask = piece == "[MASK]"  # takes the space before it
    flags = {"single_word": False, "lstrip": mask, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": piece, **flags}


def _normalizers(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    quotes = [{"type": "Replace", "pattern": {"String": mark}, "content": '"'} for mark in ("``", "''")]
    table = character_table(vocabulary.content)
    return [
        *quotes,
        {"type": "NFKD"},
        {"type": "StripAccents"},
        *([{"type": "Lowercase"}] if vocabulary.do_lower_case else []),
        *([{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}] if table else []),
    ]


def _scores(vocabulary: Vocabulary) -> list[tuple[str, float]]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary.content)
    return [
        (piece, processor.get_score(i) + (_NEVER if _DIGIT_COMMA.search(piece) else 0.0))
        for i, piece in enumerate(vocabulary.pieces)
    ]


def _template(vocabulary: Vocabulary) -> dict[str, Any]:
    """[CLS] A [SEP], or [CLS] A [SEP] B [SEP]."""

    def special(piece: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": piece, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)]
    ids = {piece: vocabulary.pieces.index(piece) for piece in ("[CLS]", "[SEP]")}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), special("[SEP]", 1)],
        "special_tokens": {piece: {"id": piece, "ids": [i], "tokens": [piece]} for piece, i in ids.items()},
    }
