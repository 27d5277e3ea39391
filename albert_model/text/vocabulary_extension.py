"""New pieces for an old vocabulary, from the text of a domain."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from albert_model.errors import InputError
from albert_model.text.ragged import Ragged
from albert_model.text.sentencepiece_tokenizer import FILE_NAME
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.text.vocabulary_training import TokenizerSettings, train_unigram

_BATCH = 1000  # sentences encoded at once


def extend(tokenizer: Tokenizer, sentences: Iterable[str], vocab_size: int, settings: TokenizerSettings) -> Tokenizer:
    """Adds the pieces that shorten this text most, until there are `vocab_size`. Old pieces keep their ids.

    The same sentences in the same order give the same pieces.

    Args:
      tokenizer: of either kind.
      sentences: read twice, so no iterator.
      vocab_size: pieces, old ones included.
      settings: see there; whether text is lower-cased is the tokenizer's.

    Raises:
      InputError: the text has fewer pieces to add, and the settings do not say to do with those.
    """
    room = vocab_size - tokenizer.vocab_size
    candidates = _candidates(tokenizer, sentences, vocab_size, settings)
    uses = _uses(tokenizer.with_pieces(candidates), sentences)[tokenizer.vocab_size :]
    saved = uses * _shorter_by(tokenizer, tokenizer.spell(candidates))
    order = np.lexsort((np.arange(len(candidates)), -saved))  # of equally useful ones, the likelier one
    chosen = [candidates[i] for i in order[:room] if saved[i] > 0]
    if len(chosen) < room and settings.when_text_is_small == "fail":
        raise InputError(
            f"vocab_size {vocab_size} of the model's config is more than this text supports: it has {len(chosen)} new "
            f"pieces for the {tokenizer.vocab_size} of the model to start from. Set it to "
            f"{tokenizer.vocab_size + len(chosen)} or less, add text, or set tokenizer.when_text_is_small: shrink."
        )
    return tokenizer.with_pieces(chosen) if chosen else tokenizer


def _candidates(
    tokenizer: Tokenizer, sentences: Iterable[str], vocab_size: int, settings: TokenizerSettings
) -> list[str]:
    """The new ones among the pieces of a vocabulary of this text alone, likely ones first."""
    lines = (line for batch in _batches(sentences) for line in tokenizer.plain(batch))
    model = train_unigram(lines, vocab_size, settings.character_coverage, shrink=True)
    trained = Tokenizer.of(Vocabulary(model, FILE_NAME), "the text's own vocabulary")
    old = set(tokenizer.pieces)
    pieces = (piece for i in trained.ordinary_ids for piece in tokenizer.pieces_for(trained.pieces[i]))
    return [piece for piece in dict.fromkeys(pieces) if piece not in old]


def _batches(sentences: Iterable[str]) -> Iterator[list[str]]:
    sentences = iter(sentences)
    while batch := list(itertools.islice(sentences, _BATCH)):
        yield batch


def _uses(tokenizer: Tokenizer, sentences: Iterable[str]) -> np.ndarray:
    """int64 [V]: how often each piece stands in the text."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for batch in _batches(sentences):
        counts += np.bincount(tokenizer.encode(batch).values, minlength=len(counts))
    return counts


def _shorter_by(tokenizer: Tokenizer, spelt: Ragged) -> np.ndarray:
    """int64: pieces that each use saves. What was unknown counts as one more: it said nothing."""
    unknown = spelt.values == tokenizer.unknown_id
    return spelt.lengths - 1 + np.add.reduceat(unknown, spelt.offsets[:-1], dtype=np.int64)
