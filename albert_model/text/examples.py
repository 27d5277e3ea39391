"""Documents to pre-training examples, and their records.

A record is compact and of variable length; Transform pads it to the model's inputs:

    input_ids             int64 [N]  [CLS] A [SEP] B [SEP], some pieces masked
    segment_a_length      int64 [1]  positions of [CLS] A [SEP]
    sentence_order_label  int64 [1]  0 in order, 1 swapped
    masked_lm_positions   int64 [P]  ascending
    masked_lm_ids         int64 [P]  the pieces that stood there
    document_id, domain   bytes [1]
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from albert_model.text import records
from albert_model.text.documents import Document
from albert_model.text.masking import mask
from albert_model.text.segments import break_long_sentences, generator, longest_pair, sentence_order_pairs
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer

RAGGED_FEATURES = ("input_ids", "masked_lm_positions", "masked_lm_ids")
SCALAR_FEATURES = ("segment_a_length", "sentence_order_label")


@dataclass(frozen=True)
class Example:
    """One pre-training example; see the module's docstring.

    Attributes:
      key: 16 bytes, a hash of (document_id, copy, place); the order of the examples in their shards.
    """

    key: bytes
    input_ids: np.ndarray
    segment_a_length: int
    sentence_order_label: int
    masked_lm_positions: np.ndarray
    masked_lm_ids: np.ndarray
    document_id: str
    domain: str


def make_examples(
    document: Document, tokenizer: Tokenizer, settings: ExampleSettings, copies: int, counts: Counter[str]
) -> Iterator[Example]:
    """The examples of all copies of a document, each copy with a generator of its own.

    Args:
      document: the text.
      tokenizer: encodes it, once.
      settings: lengths, masks, seed.
      copies: how often the document is cut and masked anew.
      counts: what is left out, by reason, and `long_sentences`, which had to be broken (updated).
    """
    encoded = tokenizer.encode(document.sentences)
    counts["empty_sentences"] += sum(not sentence for sentence in encoded)
    ids = np.array([i for sentence in encoded for i in sentence], np.int32)
    if not len(ids):
        counts["empty_documents"] += 1
        return
    starts_word = tokenizer.starts_word[ids]
    lengths = [len(sentence) for sentence in encoded]
    longest = longest_pair(settings)
    counts["long_sentences"] += sum(length > longest for length in lengths)
    sentence_ends = break_long_sentences(np.cumsum(lengths).tolist(), starts_word, longest)
    for copy in range(copies):
        rng = generator(settings.random_seed, document.document_id, copy)
        for place, pair in enumerate(sentence_order_pairs(sentence_ends, starts_word, settings, rng, counts)):
            a, b = pair.segments(ids)
            sequence, maskable = assemble(a, b, tokenizer)
            masked = mask(sequence, maskable, settings, tokenizer, rng)
            yield Example(
                key=hashlib.blake2b(f"{document.document_id} {copy} {place}".encode(), digest_size=16).digest(),
                input_ids=masked.ids,
                segment_a_length=len(a) + 2,
                sentence_order_label=int(pair.swapped),
                masked_lm_positions=masked.positions,
                masked_lm_ids=masked.labels,
                document_id=document.document_id,
                domain=document.domain,
            )


def assemble(a: np.ndarray, b: np.ndarray, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """[CLS] A [SEP] B [SEP], and where text stands in it."""
    sequence = np.concatenate(([tokenizer.cls_id], a, [tokenizer.sep_id], b, [tokenizer.sep_id])).astype(np.int32)
    maskable = np.ones(len(sequence), bool)
    maskable[[0, len(a) + 1, -1]] = False
    return sequence, maskable


def encode_examples(examples: Iterable[Example]) -> list[bytes]:
    """Serialised records, in the order given."""
    examples = list(examples)
    if not examples:
        return []
    columns = {name: records.ragged([getattr(e, name) for e in examples]) for name in RAGGED_FEATURES}
    columns |= {
        name: records.scalars([getattr(e, name) for e in examples])
        for name in (*SCALAR_FEATURES, "document_id", "domain")
    }
    return records.encode(columns)


def encode_documents(documents: Iterable[Document]) -> list[bytes]:
    """Serialised documents: `document_id`, `domain`, `sentences`."""
    documents = list(documents)
    if not documents:
        return []
    return records.encode(
        {
            "document_id": records.scalars([d.document_id for d in documents]),
            "domain": records.scalars([d.domain for d in documents]),
            "sentences": records.bytes_lists([d.sentences for d in documents]),
        }
    )


def decode_documents(serialized: Iterable[bytes]) -> list[Document]:
    """The inverse of `encode_documents`."""
    rows = records.decode(list(serialized)).to_pydict()
    return [
        Document(document_id.decode(), domain.decode(), tuple(s.decode() for s in sentences))
        for (document_id,), (domain,), sentences in zip(
            rows["document_id"], rows["domain"], rows["sentences"], strict=True
        )
    ]
