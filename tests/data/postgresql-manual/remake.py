# /// script
# requires-python = ">=3.11"
# dependencies = ["beautifulsoup4==4.15.0", "sentencex==1.0.32"]
# ///
"""Remakes this folder's text from Debian's package of the PostgreSQL manual.

    apt-get download postgresql-doc-15
    uv run remake.py postgresql-doc-15_*.deb

Each page of the manual becomes a document: its paragraphs in order, one sentence per line. A hash of its
name deals a page to span 1, to span 2 or (half of them, to keep this folder small) to neither, so that both
spans hold the same kind of text and share no page.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import bs4
import sentencex

HERE = Path(__file__).parent
MIN_SENTENCES = 4  # shorter pages are lists of links
PROSE = re.compile(r"[A-Z].*[a-z]{2,} .*[.!?:]\S{0,2}$")


def main(package: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        pages = sorted(Path(folder).glob("usr/share/doc/postgresql-doc-*/html/*.html"))
        spans: dict[int, list[str]] = {1: [], 2: []}
        for page in pages:
            sentences = page_sentences(page.read_text(encoding="utf-8"))
            span = span_of(page.name)
            if span in spans and len(sentences) >= MIN_SENTENCES:
                spans[span].append("\n".join(sentences) + "\n")
        legal = next(page for page in pages if page.name == "legalnotice.html")
        (HERE / "LICENSE").write_text(licence_text(legal.read_text(encoding="utf-8")), encoding="utf-8")
    for span, documents in spans.items():
        target = HERE / f"span-{span}" / "postgresql" / "manual.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(documents), encoding="utf-8")
        print(f"{target.relative_to(HERE)}: {len(documents)} documents, {target.stat().st_size:,} bytes")


def page_sentences(html: str) -> list[str]:
    soup = bs4.BeautifulSoup(html, "html.parser")
    for noise in soup.select("pre, table, .navheader, .navfooter, .toc, .titlepage, .indexterm"):
        noise.decompose()
    sentences: list[str] = []
    for paragraph in soup.find_all("p"):
        text = " ".join(paragraph.get_text().split())
        sentences += [s for s in (s.strip() for s in sentencex.segment("en", text)) if PROSE.match(s)]
    return sentences


def span_of(name: str) -> int:
    return 1 + hashlib.blake2b(name.encode()).digest()[0] % 4


def licence_text(html: str) -> str:
    paragraphs = bs4.BeautifulSoup(html, "html.parser").select("div.legalnotice p")
    return "\n\n".join(" ".join(p.get_text().split()) for p in paragraphs) + "\n"


if __name__ == "__main__":
    main(sys.argv[1])
