"""Which older text is trained on beside the newest: a window of spans, and a replay of what is older.

The documents to replay are drawn by a number that is a function of the document's text and of the newest span: the
same on any machine and in any order, and other documents for each span.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pydantic

from albert_model.settings import Settings
from albert_model.text import draws

ALL = 2**64  # a limit of replay numbers that takes every document
BUCKETS = 256  # of replay numbers, for sums of bytes
_BUCKET = ALL // BUCKETS
_STREAM = 0x7265706C  # sets the numbers apart from those by which examples are masked


class MixingSettings(Settings):
    """Which older text is trained on beside the newest."""

    window: int = pydantic.Field(
        default=1,
        ge=1,
        description="The newest so many spans are trained on; held out are documents of the newest alone.",
    )
    replay: float = pydantic.Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the training text that comes from spans older than the window, so that the model does "
        "not forget; drawn by document, others for each span. Where there is too little older text, all of it.",
    )

    @property
    def reads_older_spans(self) -> bool:
        return self.window > 1 or self.replay > 0


def divide(spans: Sequence[int], newest: int, window: int) -> tuple[list[int], list[int]]:
    """(the window's spans beside the newest, those older than the window), each in order.

    >>> divide([1, 2, 4, 5, 6], newest=5, window=2)
    ([4], [1, 2])
    """
    older = sorted(span for span in spans if span < newest)
    first = max(0, len(older) - (window - 1))
    return older[first:], older[:first]


def replay_numbers(document_ids: Sequence[str], span: int) -> np.ndarray:
    """uint64 [D]: the documents with the smallest ones are replayed beside a span."""
    return draws.derive(draws.document_keys(_STREAM, document_ids), span)


def is_below(numbers: np.ndarray, limit: int) -> np.ndarray:
    """bool [D]: which replay numbers are below a limit from `replay_limit`."""
    return np.ones(numbers.shape, bool) if limit >= ALL else numbers < np.uint64(limit)


def sums_of_buckets(numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """int64 [BUCKETS]: the bytes of documents by bucket of their replay numbers; from numbers [D] and sizes [D]."""
    buckets = (numbers // np.uint64(_BUCKET)).astype(np.int64)
    return np.bincount(buckets, sizes, BUCKETS).astype(np.int64)


def replay_limit(older_sums: np.ndarray, recent_bytes: int, replay: float) -> int:
    """The limit of replay numbers at which the older text is a share `replay` of the whole.

    Args:
      older_sums: of the text to draw from, see `sums_of_buckets`; may be added up over shards of documents.
      recent_bytes: of the text that it is mixed with.
      replay: the share of older text that is asked for, from 0 to below 1.

    Returns:
      0 to ALL; ALL where the older text is not enough, or just enough. Within a bucket documents are taken to be
      spread evenly.

    >>> sums = np.full(BUCKETS, 100)  # 25,600 bytes of older text
    >>> replay_limit(sums, 25_600, replay=0.2) / ALL, replay_limit(sums, 25_600, replay=0.9) == ALL
    (0.25, True)
    """
    wanted = recent_bytes * replay / (1 - replay)
    up_to = np.cumsum(older_sums)
    if wanted >= up_to[-1]:
        return ALL
    bucket = int(np.searchsorted(up_to, wanted, side="right"))
    missing = wanted - (up_to[bucket - 1] if bucket else 0)
    return int((bucket + missing / int(older_sums[bucket])) * _BUCKET)
