"""Re-pretraining on the newest span with older text replayed, through the whole pipeline and as a simulation."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components import manifests
from pipeline.lineage import Lineage
from tests.conftest import MANUAL
from tests.demo import ROOT
from tests.pipeline.test_end_to_end import run_again


@pytest.fixture(scope="module")
def firing(demo, tmp_path_factory, shared_data):
    """Span 3, law, after the demo's two of a manual: (what its run said, what the next one said, root)."""
    root = tmp_path_factory.mktemp("firing")
    shutil.copy(demo.root / "metadata.sqlite", root)
    shutil.copytree(demo.encoders, root / "encoders")
    corpus = root / "corpus"
    for span in (1, 2):
        shutil.copytree(MANUAL / f"span-{span}", corpus / f"span-{span}")
    (corpus / "span-3" / "law").mkdir(parents=True)
    with gzip.open(shared_data / "corpora" / "us_code.txt.gz", "rt") as file:
        law = "".join(next(file) for _ in range(8000))
    (corpus / "span-3" / "law" / "code.txt").write_text(law)
    settings = {
        **{"corpus.path": corpus, "corpus.replay": 0.4, "training.max_steps": 150},
        **{"evaluation.anchor.path": MANUAL, "evaluation.anchor.pattern": "span-1/*/*.txt"},
        "evaluation.max_forgetting": 0.9,
    }
    said = []
    for _ in range(2):
        done = run_again(root, [], **settings).done()
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    return *said, root


@pytest.fixture(scope="module")
def nodes(firing):
    """What each component did in the run of span 3."""
    lineage = Lineage(str(firing[2] / "metadata.sqlite"))
    return lineage.nodes(lineage.run_ids[-2])


def test_it_starts_from_the_latest_blessed_model_and_pushes_what_is_better(firing):
    said, _, root = firing
    assert "demo, span 3" in said
    assert "pushed version 3" in said
    lineage = json.loads((root / "encoders" / "3" / "manifest.json").read_text())["lineage"]
    before = json.loads((root / "encoders" / "2" / "manifest.json").read_text())["lineage"]
    assert lineage["start"]["model_uri"] == before["model"]


def test_it_trains_on_the_share_of_older_text_that_is_asked_for(nodes):
    manifest = manifests.read(nodes["DocumentGen"].outputs["examples"].uri)
    assert [(row["span"], row["part"]) for row in manifest["spans"]] == [(1, "replay"), (2, "replay"), (3, "newest")]
    first, second, newest = (row["text_bytes"] for row in manifest["spans"])
    assert min(first, second) > 0
    assert (first + second) / (first + second + 0.9 * newest) == pytest.approx(0.4, abs=0.05)


def test_it_is_judged_on_the_new_text_and_the_anchor(nodes):
    verdict = json.loads(Path(nodes["Evaluator"].outputs["evaluation"].uri, "verdict.json").read_text())
    texts = {(text["text"], text["domain"]) for text in verdict["texts"] if text["domain"]}
    assert ("this text", "law") in texts
    assert ("this text", "postgresql") not in texts
    assert any(name == "anchor" for name, _ in texts)


def test_with_nothing_new_it_does_nothing(firing):
    _, again, root = firing
    assert "nothing new: everything was cached, nothing pushed" in again
    assert sorted(path.name for path in (root / "encoders").iterdir() if path.name.isdecimal()) == ["1", "2", "3"]


def test_a_simulation_of_six_spans_from_law_to_novels(tmp_path, shared_data):
    """Without replay the model knows less of the law in the end; both ways it learns the novels."""
    figures = tmp_path / "figures.json"
    command = [
        sys.executable,
        "benchmarks/repretraining.py",
        "--steps",
        "700",
        "200",
        "--span-bytes",
        "1000000",
        "--figures",
    ]
    done = subprocess.run([*command, str(figures)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    points = {(p["policy"], p["span"]): p for p in json.loads(figures.read_text())}
    never, without, replayed = (
        points[policy, 6] for policy in ("never retrained", "retrained", "retrained with replay")
    )
    assert without["newest"] > never["newest"] + 0.02
    assert replayed["newest"] > never["newest"] + 0.02
    assert replayed["first"] > without["first"] + 0.02
    assert without["first"] < points["retrained", 4]["first"] - 0.02  # the last two spans have no law in them
