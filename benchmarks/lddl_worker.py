"""Makes examples with NVIDIA LDDL and prints counts and seconds as JSON. `examples.py` runs it in LDDL's environment.

python lddl_worker.py novels.txt.gz vocab.txt

LDDL's functions are called as its own command calls them, in one thread: `create_pairs_from_document` for each copy of
each document of a partition, a shuffle of the partition, `_save` to Parquet. What its command does before that is left
out where a slope does not show it: it splits text into sentences and shuffles documents.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import dask
import dask.bag
import tokenizers
import transformers
from lddl.dask.bert import pretrain

_VOCAB_SIZE = 30_000
_PARTITIONS = 5  # of some megabytes of text each
_LENGTH = 512
# Name, share of pieces to predict, copies of the text: fewer and more.
_CASES = (("static, P = 20", 20 / _LENGTH, (1, 3)), ("static, P = 77", 0.15, (1, 3)), ("deferred", None, (2, 12)))


def main() -> None:
    text_path, vocabulary_path = map(Path, sys.argv[1:])
    with gzip.open(text_path, "rt", encoding="utf-8") as file:
        text = file.read()
    if not vocabulary_path.exists():
        trainer = tokenizers.BertWordPieceTokenizer()
        trainer.train_from_iterator(text.split("\n"), vocab_size=_VOCAB_SIZE, show_progress=False)
        trainer.save_model(str(vocabulary_path.parent))
    tokenizer = transformers.BertTokenizerFast(str(vocabulary_path))
    started = time.process_time()
    documents = [document(part, tokenizer) for part in text.split("\n\n") if part.strip()]
    figures = {"tokenising": time.process_time() - started}
    for name, share, copies in _CASES:
        figures[name] = [make(documents, tokenizer, share, count) for count in copies]
    print(json.dumps(figures))


def document(text: str, tokenizer) -> pretrain.Document:
    """As `_get_documents` makes it, from one sentence a line."""
    pieces = (tokenizer.tokenize(line, max_length=_LENGTH, truncation=True) for line in text.split("\n"))
    return pretrain.Document("", tuple(pretrain.Sentence(tuple(sentence)) for sentence in pieces if sentence))


def make(documents: list, tokenizer, share: float | None, copies: int) -> tuple[int, float]:
    """Examples and seconds of the processor; `share` None leaves the masks out."""
    masking, made = share is not None, []
    vocabulary = tuple(tokenizer.vocab.keys())

    def pairs_of(partition):
        partition, pairs = tuple(partition), []
        for index in list(range(len(partition))) * copies:
            pairs += pretrain.create_pairs_from_document(
                *(partition, index, _LENGTH), masking=masking, masked_lm_ratio=share, vocab_words=vocabulary
            )
        random.shuffle(pairs)
        made.append(len(pairs))
        return pairs

    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="synchronous"):
        bag = dask.bag.from_sequence(documents, npartitions=_PARTITIONS).map_partitions(pairs_of)
        pretrain._save(bag, folder, target_seq_length=_LENGTH, masking=masking)
    return sum(made), time.process_time() - started


if __name__ == "__main__":
    main()
