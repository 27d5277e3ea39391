import sqlite3
from pathlib import Path

import pytest

from albert_model.errors import InputError
from pipeline.checks import check
from pipeline.settings import load_settings
from tests.demo import ROOT


@pytest.fixture
def corpus(tmp_path):
    for name in (
        "span-1/law/a.txt",
        "span-2/law/a.txt",
        "span-10/law/a.txt.gz",
        "span-x/law/a.txt",
        "span-11/law/b.md",
        "span-12-draft/law/a.txt",
    ):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True)
        path.write_text("A.\n")
    return tmp_path / "corpus"


def settings(corpus, monkeypatch, **overrides):
    monkeypatch.chdir(ROOT)
    values = {"corpus.path": str(corpus), "root": f"{corpus}/../root", "push.destination": f"{corpus}/../root/encoders"}
    return load_settings("configs/pipelines/demo.yaml", values | overrides)


def test_the_latest_span_is_the_highest_number_with_files(corpus, monkeypatch):
    assert check(settings(corpus, monkeypatch)).corpus.span == 10


def test_the_latest_span_of_a_pattern_with_more_wildcards(corpus, monkeypatch):
    for name in ("2026-v3.1/law/a.txt", "2026-v20.x/law/a.txt", "2025-v4.0/law/a.txt"):
        (corpus / name).parent.mkdir(parents=True)
        (corpus / name).write_text("A.\n")
    pattern = {"corpus.pattern": "20[0-9]?-[vx]{SPAN}.*/*/*.txt"}
    assert check(settings(corpus, monkeypatch, **pattern)).corpus.span == 20


def test_a_span_may_have_leading_zeros(corpus, monkeypatch):
    (corpus / "s03").mkdir()
    (corpus / "s03" / "a.txt").write_text("A.\n")
    overrides = {"corpus.pattern": "s{SPAN:2}/*.txt"}
    assert check(settings(corpus, monkeypatch, **overrides)).corpus.span == 3
    assert check(settings(corpus, monkeypatch, **overrides, **{"corpus.span": 3})).corpus.span == 3


def test_a_padded_span_that_the_pattern_does_not_say_is_pointed_out(corpus, monkeypatch):
    (corpus / "span-012" / "law").mkdir(parents=True)
    (corpus / "span-012" / "law" / "a.txt").write_text("A.\n")
    with pytest.raises(InputError, match=r"no file matches .*/span-12/.*\{SPAN:2\} for numbers such as 02"):
        check(settings(corpus, monkeypatch))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"corpus.span": 3}, "no file matches .*/span-3/"),
        ({"corpus.pattern": "*/*.txt", "corpus.span": 3}, "corpus.span: 3 is asked for, but corpus.pattern has no"),
        ({"corpus.pattern": "span-{SPAN}/*.txt"}, "corpus.pattern: no file matches"),
        ({"root": "gs://bucket/root"}, "root: gs://bucket/root is not on this machine"),
        ({"evaluation.anchor.path": "gs://bucket/a"}, "evaluation.anchor.path: gs://bucket/a is not on this machine"),
        ({"evaluation.anchor.path": "."}, "evaluation.anchor: no file matches .*the anchor is the same for every span"),
        ({"corpus.path": "a[b]"}, "corpus.path: .*a\\[b\\] holds a character"),
        ({"root": "a*b"}, "root: .*holds a character"),
    ],
)
def test_what_cannot_work_is_refused(corpus, monkeypatch, overrides, message):
    with pytest.raises(InputError, match=message):
        check(settings(corpus, monkeypatch, **overrides))


def test_a_link_that_leads_nowhere_is_named(corpus, monkeypatch):
    (corpus / "span-10" / "law" / "b.txt").symlink_to(corpus / "gone")
    with pytest.raises(InputError, match=r"b\.txt: is a link to something that is gone"):
        check(settings(corpus, monkeypatch))


def test_a_labelled_file_that_cannot_be_used_is_refused_before_anything_runs(corpus, monkeypatch, tmp_path):
    labels = tmp_path / "labels.tsv"
    labels.write_text("a query\tx\nno label\n")
    with pytest.raises(InputError, match=r"labels\.tsv.*2"):
        check(settings(corpus, monkeypatch, **{"evaluation.probe.path": str(labels)}))


def test_encoders_may_go_elsewhere(corpus, monkeypatch):
    checked = check(settings(corpus, monkeypatch, **{"push.destination": "gs://bucket/e"}))
    assert checked.push.destination == "gs://bucket/e"


def test_artifacts_without_metadata_and_damaged_metadata_are_refused(corpus, monkeypatch):
    checked = check(settings(corpus, monkeypatch))
    root = corpus.parent / "root"
    (root / "DocumentGen").mkdir()
    with pytest.raises(InputError, match=r"holds artifacts, but .*metadata\.sqlite is gone"):
        check(checked)
    (root / "metadata.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(InputError, match=r"metadata\.sqlite is damaged"):
        check(checked)
    (root / "metadata.sqlite").unlink()
    sqlite3.connect(root / "metadata.sqlite").close()
    with pytest.raises(InputError, match=r"metadata\.sqlite is damaged \(it is empty\)"):
        check(checked)
    (root / "DocumentGen").rmdir()
    assert check(checked) == checked


def test_a_newest_span_that_is_gone_is_spoken_of(corpus, monkeypatch, caplog):
    """The run takes the one before it, which is in the cache if it ran."""
    from components.document_gen.component import DocumentGen
    from tests.components.local import run_components

    (corpus / "span-2" / "law" / "a.txt").write_text("".join(f"Sentence {i}.\n\n" for i in range(40)))
    checked = check(settings(corpus, monkeypatch))
    run_components(Path(checked.root), [DocumentGen(str(corpus), "span-{SPAN}/*/*.txt", 0.3, "{}", 2)])
    assert check(settings(corpus, monkeypatch)).corpus.span == 10
    assert "was read before" not in caplog.text
    (corpus / "span-10" / "law" / "a.txt.gz").unlink()
    (corpus / "span-2" / "law" / "a.txt").unlink()
    assert check(settings(corpus, monkeypatch)).corpus.span == 1
    assert f"span 2 was read before; the newest in {corpus} is 1 now" in caplog.text
