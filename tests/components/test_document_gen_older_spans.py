"""DocumentGen with a window of spans and a replay of older ones."""

import itertools
import random

import pytest
from tfx.types import standard_artifacts

from albert_model.text import mixing
from albert_model.text.documents import SPLITS, identify, split_of
from albert_model.text.mixing import MixingSettings
from components import manifests
from components.document_gen import executor, reading
from components.document_gen.component import DocumentGen
from pipeline.local_runner import user_error
from tests.components.local import run_components, shards
from tests.components.test_document_gen import documents_of

EVAL = 0.3
SETTINGS = "{}"


@pytest.fixture(scope="module")
def spans():
    """Six spans of 60 documents each, of their own words but for ten documents that go through all of them."""
    number = random.Random(5)

    def text(span, i):
        return tuple(
            f"Span {span} says {number.random()} of {i}, line {line}." for line in range(number.randint(2, 12))
        )

    always = [text("every", i) for i in range(10)]
    return {span: [*always, *(text(span, i) for i in range(50))] for span in range(1, 7)}


@pytest.fixture(scope="module")
def corpus(spans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for span, texts in spans.items():
        for name, some in (("law/a.txt", texts[:20]), ("law/b.txt", texts[20:40]), ("code/c.txt", texts[40:])):
            path = folder / f"span-{span}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join("\n".join(sentences) for sentences in some))
    return folder


def component(corpus, span=None, pattern="span-{SPAN}/*/*.txt", **settings):
    return DocumentGen(str(corpus), pattern, EVAL, SETTINGS, span, MixingSettings(**settings).model_dump_json())


def generate(root, *arguments, **settings):
    return run_components(root, [component(*arguments, **settings)])["DocumentGen"].outputs["examples"]


def ids(texts, split):
    found = {identify(sentences) for sentences in texts}
    return {document_id for document_id in found if split_of(document_id, EVAL) == split}


def written(artifact):
    return tuple([document.document_id for document in documents_of(artifact, split)] for split in SPLITS)


def size(texts):
    return sum(len(sentence) for text in texts for sentence in text)


def test_a_window_adds_the_training_documents_of_the_spans_before(corpus, spans, tmp_path):
    artifact = generate(tmp_path, corpus, 5, window=3)
    train, held_out = written(artifact)
    recent = list(itertools.chain(*(spans[span] for span in (3, 4, 5))))
    assert sorted(train) == sorted(ids(recent, "train"))
    assert sorted(held_out) == sorted(ids(spans[5], "eval"))
    manifest = manifests.read(artifact.uri)
    assert [(row["span"], row["part"], row["files"]) for row in manifest["spans"]] == [
        *((3, "window", 3), (4, "window", 3), (5, "newest", 3))
    ]
    assert [row["documents"] for row in manifest["spans"]] == [
        *(len(ids(spans[3], "train")), len(ids(spans[4], "train")), 60)
    ]
    assert manifest["spans"][-1]["text_bytes"] == size(spans[5])
    left_out = sum(len(ids(spans[span], "eval")) for span in (3, 4))
    assert manifest["dropped"]["held_out_of_older_spans"] == left_out > 20
    assert manifest["dropped"]["duplicate_documents"] == 2 * len(ids(spans[1][:10], "train"))
    assert manifest["read"]["text_bytes"] == sum(row["text_bytes"] for row in manifest["spans"])
    assert manifest["span"] == 5
    assert manifest["settings"]["window"] == 3


def replayed(artifact, spans, newest, window=1):
    recent = list(itertools.chain(*(spans[span] for span in range(newest - window + 1, newest + 1))))
    train, held_out = map(set, written(artifact))
    assert held_out == ids(spans[newest], "eval")
    assert ids(recent, "train") <= train
    return train - ids(recent, "train"), recent


def test_replayed_documents_have_their_share_and_are_others_for_each_span(corpus, spans, tmp_path):
    found = {}
    for span in (5, 6):
        artifact = generate(tmp_path / str(span), corpus, span, replay=0.4)
        found[span], recent = replayed(artifact, spans, span)
        older = list(itertools.chain(*(spans[s] for s in range(1, span))))
        assert found[span] <= ids(older, "train")
        trained = [text for text in older + recent if identify(text) in {*found[span], *ids(recent, "train")}]
        bytes_of = {identify(text): size([text]) for text in trained}
        share = sum(bytes_of[i] for i in found[span]) / sum(bytes_of.values())
        assert share == pytest.approx(0.4, abs=0.03)
        manifest = manifests.read(artifact.uri)
        assert manifest["replayed_share"] == 0.4
        assert manifest["replayed_documents"] >= len(found[span])
        assert manifest["dropped"]["not_replayed"] > 100 - manifest["replayed_documents"]
        assert {row["part"] for row in manifest["spans"][:-1]} == {"replay"}
    both = found[5] & found[6]
    assert found[5] - ids(spans[5], "train")
    assert len(both) < 0.5 * len(found[5])


def test_the_documents_that_are_replayed_are_those_of_the_smallest_numbers(corpus, spans, tmp_path):
    """Measured on Beam in shards, or drawn here in one list: the same."""
    artifact = generate(tmp_path, corpus, 6, window=2, replay=0.25)
    found, recent = replayed(artifact, spans, 6, window=2)
    older = {identify(text): size([text]) for span in range(1, 5) for text in spans[span]}
    names = sorted(set(older) & ids(itertools.chain(*spans.values()), "train") - ids(recent, "train"))
    numbers = mixing.replay_numbers(names, 6)
    sums = mixing.sums_of_buckets(numbers, [older[name] for name in names])
    recent_bytes = sum({identify(t): size([t]) for t in recent if identify(t) in ids(recent, "train")}.values())
    limit = mixing.replay_limit(sums, recent_bytes, 0.25)
    assert found == {name for name, number in zip(names, numbers, strict=True) if number < limit}


def test_where_older_text_is_short_all_of_it_is_replayed(corpus, spans, tmp_path, caplog):
    artifact = generate(tmp_path, corpus, 3, replay=0.9)
    found, _ = replayed(artifact, spans, 3)
    older = ids([*spans[1], *spans[2]], "train") - ids(spans[3], "train")
    assert found == older
    assert "corpus.replay is 0.9, but the text older than the window is" in caplog.text
    assert 0.5 < manifests.read(artifact.uri)["replayed_share"] < 0.9


def test_the_first_span_has_nothing_older(corpus, tmp_path, caplog):
    mixed = generate(tmp_path / "mixed", corpus, 1, window=2, replay=0.2)
    alone = generate(tmp_path / "alone", corpus, 1)
    assert shards(mixed.uri) == shards(alone.uri)
    assert "corpus.window is 2, but only 0 older spans are there" in caplog.text
    assert "there is no text older than the window" in caplog.text


def test_the_same_bytes_whatever_the_ranges_and_whoever_finds_the_span(corpus, tmp_path, monkeypatch):
    """The driver finds the latest span, or it is given to the executor, as where no driver runs."""
    settings = {"window": 2, "replay": 0.3}
    latest = generate(tmp_path / "latest", corpus, **settings)
    monkeypatch.setattr(executor, "_RANGE_BYTES", 700)
    monkeypatch.setattr(reading, "_BATCH", 3)
    given = component(corpus, **settings)
    given.spec.exec_properties[executor.GIVEN_SPAN] = 6
    without_driver = standard_artifacts.Examples()
    without_driver.uri = str(tmp_path / "given")
    said = {key: value for key, value in given.exec_properties.items() if value is not None}
    executor.Executor().Do({}, {"examples": [without_driver]}, said)
    assert shards(latest.uri) == shards(without_driver.uri)
    assert without_driver.get_int_custom_property("span") == latest.custom_properties["span"].int_value == 6
    assert manifests.read(latest.uri)["spans"] == manifests.read(without_driver.uri)["spans"]


def test_without_older_text_the_component_is_what_it_was(corpus):
    """So what was cached stays so."""
    plain = DocumentGen(str(corpus), "span-{SPAN}/*/*.txt", EVAL, SETTINGS, 5)
    assert component(corpus, 5).exec_properties == plain.exec_properties
    assert component(corpus, 5, window=2).exec_properties != plain.exec_properties


def test_spans_may_be_dates(spans, tmp_path):
    for day, span in (("2025-12-31", 1), ("2026-01-01", 2), ("2026-01-02", 3)):
        path = tmp_path / "corpus" / day / "law" / "a.txt"
        path.parent.mkdir(parents=True)
        path.write_text("\n\n".join("\n".join(sentences) for sentences in spans[span]))
    artifact = generate(tmp_path / "root", tmp_path / "corpus", pattern="{YYYY}-{MM}-{DD}/*/*.txt", window=2)
    train, held_out = map(set, written(artifact))
    assert train == ids([*spans[2], *spans[3]], "train")
    assert held_out == ids(spans[3], "eval")
    assert {d.domain for d in documents_of(artifact, "train")} == {"law"}


def test_a_span_whose_number_is_written_otherwise_is_named(corpus, tmp_path, spans):
    for name in ("span-07", "span-8"):
        path = tmp_path / "corpus" / name / "law" / "a.txt"
        path.parent.mkdir(parents=True)
        path.write_text("\n\n".join("\n".join(sentences) for sentences in spans[1]))
    with pytest.raises(Exception, match=r"span-07.*is of span 7") as raised:
        generate(tmp_path / "root", tmp_path / "corpus", 8, window=2)
    assert "{SPAN:2}" in str(user_error(raised.value))


def test_a_file_of_an_older_span_that_goes_while_it_is_read_is_named(corpus, tmp_path):
    gone = reading.Source([str(tmp_path / "span-1" / "gone.txt")], str(tmp_path / "span-1"))
    with pytest.raises(Exception, match=r"gone\.txt: cannot be read"):
        reading.text_size([gone])
