"""Remakes `manual.tsv` from the text of the PostgreSQL manual in the folder beside this one.

    python remake.py

A page is about the topic of which it says the words most often, if it says them often enough. Of each topic's pages,
a hash chooses the sentences. Each is labelled with the topic of its page, whether it names the topic itself or not.
"""

import hashlib
import re
from pathlib import Path

HERE = Path(__file__).parent
MANUAL = HERE.parent / "postgresql-manual"
TOPICS = {
    "index": re.compile(r"\b(index|indexes|btree|b-tree|gin|gist|brin|hash)\b", re.IGNORECASE),
    "replication": re.compile(r"\b(replication|standby|subscriber|publication|subscription|wal)\b", re.IGNORECASE),
    "security": re.compile(r"\b(role|roles|privilege|privileges|password|authentication|ssl)\b", re.IGNORECASE),
    "types": re.compile(r"\b(numeric|integer|timestamp|interval|string|character|json|array)\b", re.IGNORECASE),
}
MIN_SHARE = 0.35  # of a page's sentences that name its topic
LENGTHS = range(50, 170)  # characters
SENTENCES = 120  # of each topic


def main() -> None:
    pages = [page for path in sorted(MANUAL.glob("span-*/*/*.txt")) for page in path.read_text("utf-8").split("\n\n")]
    found: dict[str, set[str]] = {topic: set() for topic in TOPICS}
    for page in pages:
        sentences = page.strip().split("\n")
        if topic := topic_of(sentences):
            found[topic] |= {sentence for sentence in sentences if len(sentence) in LENGTHS}
    rows = [(s, topic) for topic, known in found.items() for s in sorted(known, key=place)[:SENTENCES]]
    lines = ["text\tlabel", *("\t".join(row) for row in sorted(rows, key=lambda row: place(row[0])))]
    (HERE / "manual.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print({topic: len(known) for topic, known in found.items()}, len(rows), "lines")


def topic_of(sentences: list[str]) -> str | None:
    shares = {topic: sum(bool(p.search(s)) for s in sentences) / len(sentences) for topic, p in TOPICS.items()}
    best = max(shares, key=lambda topic: shares[topic])
    return best if shares[best] >= MIN_SHARE else None


def place(sentence: str) -> bytes:
    return hashlib.blake2b(sentence.encode(), digest_size=8).digest()


if __name__ == "__main__":
    main()
