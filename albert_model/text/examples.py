"""Documents to pre-training examples, and their records.

A record is compact and of variable length; Transform pads it to the model's inputs:

    input_ids              int64 [N]  [CLS] A [SEP] B [SEP], some pieces masked
    segment_a_length       int64 [1]  positions of [CLS] A [SEP]
    sentence_order_label   int64 [1]  0 in order, 1 swapped
    sentence_order_weight  int64 [1]  1, or 0 where the label says nothing
    masked_lm_positions    int64 [P]  ascending; not in records that are masked when they are read
    masked_lm_ids          int64 [P]  the pieces that stood there
    document_id, domain    bytes [1]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from albert_model.text import draws, masking, records
from albert_model.text.documents import Document
from albert_model.text.pieces import Pieces, cut_into_pieces
from albert_model.text.ragged import Ragged, offsets_of, ranges
from albert_model.text.segments import SPECIAL_PIECES, Pairs, longest_pair, sentence_order_pairs
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer

RAGGED_FEATURES = ("input_ids", "masked_lm_positions", "masked_lm_ids")
SCALAR_FEATURES = ("segment_a_length", "sentence_order_label", "sentence_order_weight")
# Pieces of sequences that are worked on at once: what stays in a processor's cache.
_PIECES_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Examples:
    """Pre-training examples as columns of length M; see the module's docstring.

    Attributes:
      keys: 16 bytes each, a hash of (document_id, copy, place); the order of the examples in their shards.
      input_ids: Ragged int32.
      segment_a_length: int64 [M].
      sentence_order_label: int64 [M].
      sentence_order_weight: int64 [M].
      masked_lm_positions: Ragged int64; None where masks are deferred.
      masked_lm_ids: Ragged int32, as `masked_lm_positions`.
      document_id, domain: str, M each.
    """

    keys: Sequence[bytes]
    input_ids: Ragged
    segment_a_length: np.ndarray
    sentence_order_label: np.ndarray
    sentence_order_weight: np.ndarray
    masked_lm_positions: Ragged | None
    masked_lm_ids: Ragged | None
    document_id: Sequence[str]
    domain: Sequence[str]

    def __len__(self) -> int:
        return len(self.keys)


def make_examples(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    settings: ExampleSettings,
    copies: int,
    masked: bool,
    counts: Counter[str],
) -> Iterator[Examples]:
    """The examples of all copies of documents, which depend on nothing but the document, its copy and the settings.

    Args:
      documents: the text, encoded once for all copies.
      tokenizer: encodes it.
      settings: lengths, masks, seed.
      copies: how often each document is cut and masked anew.
      masked: draw the masks.
      counts: what is left out, by reason, and `long_sentences`, which had to be broken (updated).

    Yields:
      Some hundred examples at a time.
    """
    whole, longest = settings.do_whole_word_mask, longest_pair(settings)
    pieces = cut_into_pieces(documents, tokenizer, longest, whole, counts)
    keys = draws.document_keys(settings.random_seed, [document.document_id for document in documents])
    numbers, copy = (array.ravel() for array in np.indices((len(documents), copies)))
    lane_keys = draws.derive(keys[numbers], copy)
    pairs = sentence_order_pairs(pieces, numbers, lane_keys, settings, counts)
    sequence_ends = np.cumsum(pairs.end - pairs.start + SPECIAL_PIECES)
    steps = np.arange(_PIECES_AT_ONCE, sequence_ends[-1:].sum() + _PIECES_AT_ONCE, _PIECES_AT_ONCE)
    for some in np.split(np.arange(len(pairs.lane)), np.searchsorted(sequence_ends, steps)):
        if len(some):
            chosen = pairs.select(slice(some[0], some[-1] + 1))
            of_document = [documents[d] for d in numbers[chosen.lane]]
            mask_keys = draws.derive(draws.derive(lane_keys[chosen.lane], chosen.place), _MASKS) if masked else None
            yield _examples(pieces, chosen, of_document, copy[chosen.lane], tokenizer, settings, mask_keys)


_MASKS = 1 << 20  # beyond the draws of `segments`


def _examples(
    pieces: Pieces,
    pairs: Pairs,
    documents: Sequence[Document],
    copies: np.ndarray,
    tokenizer: Tokenizer,
    settings: ExampleSettings,
    mask_keys: np.ndarray | None,
) -> Examples:
    starts, ends = _segments(pairs)
    ids = _assemble(pieces.ids, starts, ends, tokenizer)
    segment_a_length = ends[:, 0] - starts[:, 0] + 2
    positions = labels = None
    if mask_keys is not None:
        ids, positions, labels = masking.mask(ids, segment_a_length, settings, tokenizer, mask_keys)
    names = [document.document_id for document in documents]
    return Examples(
        keys=_keys(names, copies, pairs.place),
        input_ids=ids,
        segment_a_length=segment_a_length,
        sentence_order_label=pairs.swapped.astype(np.int64),
        sentence_order_weight=pairs.ordered.astype(np.int64),
        masked_lm_positions=positions,
        masked_lm_ids=labels,
        document_id=names,
        domain=[document.domain for document in documents],
    )


def _keys(document_ids: Sequence[str], copies: np.ndarray, places: np.ndarray) -> list[bytes]:
    first, second = draws.halves(document_ids)
    columns = [draws.derive(draws.derive(one, other), 0) for one, other in ((first, second), (second, first))]
    columns = [draws.derive(draws.derive(column, copies), places) for column in columns]
    return np.stack(columns, 1).astype(">u8").view("V16").ravel().tolist()


def _segments(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Where segments A and B start and end in the pieces, in the order in which the model reads them: [M, 2] each."""
    swapped = pairs.swapped[:, None]
    starts = np.stack([pairs.start, pairs.middle], 1)
    ends = np.stack([pairs.middle, pairs.end], 1)
    return np.where(swapped, starts[:, ::-1], starts), np.where(swapped, ends[:, ::-1], ends)


def _assemble(ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, tokenizer: Tokenizer) -> Ragged:
    """[CLS] A [SEP] B [SEP] of each pair."""
    lengths = ends - starts
    offsets = offsets_of(lengths.sum(1) + SPECIAL_PIECES)
    values = np.full(offsets[-1], tokenizer.sep_id, np.int32)
    values[offsets[:-1]] = tokenizer.cls_id
    text = np.ones(offsets[-1], bool)
    text[offsets[:-1]] = text[offsets[:-1] + lengths[:, 0] + 1] = text[offsets[1:] - 1] = False
    values[text] = ids[ranges(starts.ravel(), lengths.ravel())]
    return Ragged(values, offsets)


def encode_examples(examples: Examples) -> list[bytes]:
    """Serialised records, in the order given."""
    columns = {name: records.scalars(getattr(examples, name)) for name in (*SCALAR_FEATURES, "document_id", "domain")}
    for name in RAGGED_FEATURES:
        if (column := getattr(examples, name)) is not None:
            columns[name] = records.ragged(column)
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
