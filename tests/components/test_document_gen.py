import gzip

import numpy as np
import pytest
import tensorflow as tf

from albert_model.text.documents import SPLITS, DocumentSettings, identify, split_of
from albert_model.text.examples import decode_documents
from components import manifests
from components.document_gen import executor
from components.document_gen.component import DocumentGen
from components.document_gen.reading import domain_base, domain_of
from components.sharding import split_files
from pipeline.local_runner import user_error
from tests.components.local import run_components, write_corpus

PATTERN = "span-{SPAN}/*/*.txt*"


def generate(tmp_path, files, pattern=PATTERN, eval_fraction=0.3, span=None, **settings):
    corpus = write_corpus(tmp_path / "corpus", files)
    settings = DocumentSettings(**settings).model_dump_json()
    component = DocumentGen(str(corpus), pattern, eval_fraction, settings, span)
    return run_components(tmp_path / "root", [component])["DocumentGen"].outputs["examples"]


def documents_of(artifact, split):
    return [
        document
        for path in split_files(artifact.uri, split)
        for document in decode_documents(tf.data.TFRecordDataset(path).as_numpy_iterator())
    ]


def texts(n, start=0):
    """n documents of two sentences each."""
    return "\n".join(f"Sentence {i} one.\nSentence {i} two.\n" for i in range(start, start + n))


def refusal(tmp_path, files, **options) -> str:
    with pytest.raises(Exception) as raised:
        generate(tmp_path, files, **options)
    error = user_error(raised.value)
    assert error is not None, raised.value
    return str(error)


def test_documents_splits_domains_and_counts(tmp_path):
    files = {
        "law/a.txt": texts(20),
        "law/b.txt.gz": gzip.compress(texts(20, start=20).encode()),
        "code/c.txt": "\ufeff" + texts(10, start=100).replace("\n", "\r\n"),
        "code/d.txt": texts(5, start=3),  # all of them in law/a.txt already
    }
    artifact = generate(tmp_path, files)
    found = {split: documents_of(artifact, split) for split in ("train", "eval")}
    everything = found["train"] + found["eval"]
    assert {d.sentences for d in everything} == {
        (f"Sentence {i} one.", f"Sentence {i} two.") for i in [*range(40), *range(100, 110)]
    }
    for split, documents in found.items():
        assert all(d.document_id == identify(d.sentences) for d in documents)
        assert all(split_of(d.document_id, 0.3) == split for d in documents)
    assert {d.domain for d in everything} == {"law", "code"}

    manifest = manifests.read(artifact.uri)
    assert manifest["documents"] == len(everything) == 50
    assert manifest["dropped"] == {
        "duplicate_documents": 5,
        "near_duplicate_documents": 0,
        "invalid_utf8_lines": 0,
    }
    assert (manifest["read"]["files"], manifest["read"]["sentences"]) == (4, 110)
    assert artifact.custom_properties["train_documents"].int_value == len(found["train"])
    assert artifact.custom_properties["span"].int_value == 1


def test_the_same_text_in_other_files_gives_the_same_bytes(tmp_path, monkeypatch):
    """One file, several in another order, and one that many workers read. Some text is in two domains."""
    settings = {"near_duplicates": "drop", "max_sentences_per_document": 2}
    text = texts(30) + "\nLong one.\nLong two.\nLong three.\n\n" + texts(30, start=30)
    one = generate(tmp_path / "one", {"x/all.txt": text, "other/all.txt": texts(20)}, **settings)
    parts = {f"x/{9 - i}.txt": part for i, part in enumerate(text.split("\n\n"))}
    other = generate(tmp_path / "other", {"other/0.txt.gz": gzip.compress(texts(20).encode())} | parts, **settings)
    monkeypatch.setattr(executor, "_RANGE_BYTES", 50)
    windows = {"x/z.txt": text.replace("\n", "\r\n"), "other/a.txt": texts(20)}
    ranges = generate(tmp_path / "ranges", windows, **settings)
    shards = [
        [tf.io.gfile.GFile(path, "rb").read() for split in SPLITS for path in split_files(artifact.uri, split)]
        for artifact in (one, other, ranges)
    ]
    assert shards[0][0]
    assert shards[0] == shards[1] == shards[2]
    first, *rest = [{k: v for k, v in manifests.read(a.uri).items() if k != "settings"} for a in (one, other, ranges)]
    assert first["documents"] == 62 - first["dropped"]["near_duplicate_documents"]
    assert first["dropped"]["duplicate_documents"] == 20
    for manifest in rest:
        assert manifest | {"read": {}} == first | {"read": {}}
    assert first["read"] == rest[1]["read"]


def test_near_duplicates_are_dropped_across_files_and_splits(tmp_path):
    """Of each pair the document with the smaller id stays, whatever file or split the other one is in."""
    vocabulary = [f"word{i}" for i in range(500)]
    random = np.random.RandomState(0)
    originals = [[" ".join(random.choice(vocabulary, 12)) + "." for _ in range(10)] for _ in range(60)]
    changed = [[*sentences[:-1], sentences[-1].replace("word", "Word", 1) + " More."] for sentences in originals[:40]]
    first, second = ("\n\n".join(map("\n".join, some)) for some in (originals, changed))
    files = {"x/a.txt": first, "y/b.txt": second}
    artifact = generate(tmp_path, files, eval_fraction=0.5, near_duplicates="drop")
    kept = {d.document_id for split in SPLITS for d in documents_of(artifact, split)}
    pairs = [(identify(a), identify(b)) for a, b in zip(originals[:40], changed, strict=True)]
    assert kept == {min(pair) for pair in pairs} | {identify(sentences) for sentences in originals[40:]}
    assert any(split_of(a, 0.5) != split_of(b, 0.5) for a, b in pairs)
    manifest = manifests.read(artifact.uri)
    assert manifest["documents"] == 60
    assert manifest["dropped"]["near_duplicate_documents"] == 40
    assert manifest["dropped"]["duplicate_documents"] == 0


def test_damaged_lines_and_prose(tmp_path, caplog):
    prose = "".join(f"Dr. Bell wrote\npage {i} today. It is\nlong.\n\n" for i in range(40)).encode()
    files = {"x/a.txt": prose, "x/b.txt": b"A\xff.\n\xff\xfa\n"}
    artifact = generate(tmp_path, files, invalid_utf8="skip", sentences="split")
    manifest = manifests.read(artifact.uri)
    assert manifest["dropped"]["invalid_utf8_lines"] == 2
    assert manifest["settings"]["invalid_utf8"] == "skip"
    assert manifest["read"]["sentences"] == 80
    found = {d.sentences for split in SPLITS for d in documents_of(artifact, split)}
    assert found == {(f"Dr. Bell wrote page {i} today.", "It is long.") for i in range(40)}
    assert "2 lines are not UTF-8 and were left out" in caplog.text


def test_the_fingerprint_tells_texts_apart(tmp_path):
    artifacts = [generate(tmp_path / str(n), {"x/a.txt": texts(n)}) for n in (40, 41)]
    assert len({manifests.read(a.uri)["fingerprint"] for a in artifacts}) == 2


def test_a_corpus_without_blank_line_is_one_document_with_a_warning(tmp_path, caplog):
    text = "".join(f"Sentence {i}.\n" for i in range(500))
    artifact = generate(tmp_path, {"x/a.txt": text}, max_sentences_per_document=20)
    manifest = manifests.read(artifact.uri)
    assert (manifest["documents"], manifest["read"]["cut_documents"]) == (25, 24)
    assert "a.txt: no blank line, so it is one document, cut every 20" in caplog.text


def test_a_short_corpus_without_blank_line_is_cut_finer_so_that_some_is_held_out(tmp_path, caplog):
    """At 256 sentences a document, these two would all fall into one split."""
    text = "".join(f"Sentence {i}.\n" for i in range(120))
    artifact = generate(tmp_path, {"x/a.txt": text, "x/empty.txt": "\n"}, eval_fraction=0.1)
    manifest = manifests.read(artifact.uri)
    assert manifest["train_documents"] > 0
    assert manifest["eval_documents"] > 0
    assert sum(len(d.sentences) for s in ("train", "eval") for d in documents_of(artifact, s)) == 120
    assert "1 of 2 files (grep -L '^$' finds them): no blank line, so it is one document, cut every 6" in caplog.text


def test_folders_that_only_look_like_spans_do_not_disturb(tmp_path):
    other = tmp_path / "corpus" / "span-old" / "x"
    other.mkdir(parents=True)
    (other / "a.txt").write_text("Old.\n")
    artifact = generate(tmp_path, {"x/a.txt": texts(40)}, span=1)
    assert manifests.read(artifact.uri)["documents"] == 40


def test_files_without_a_folder_between_have_the_default_domain(tmp_path):
    artifact = generate(tmp_path, {"a.txt": texts(40)}, pattern="span-{SPAN}/*.txt")
    assert {d.domain for d in documents_of(artifact, "train")} == {"default"}


def test_leftovers_of_editors_are_passed_over(tmp_path, caplog):
    artifact = generate(tmp_path, {"x/a.txt": texts(40), "x/a.txt~": texts(60)})
    assert manifests.read(artifact.uri)["documents"] == 40
    assert "a.txt~ passed over" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x/a.txt": texts(9).encode() + b"\ncaf\xe9\n"}, r"a.txt, line 28: not UTF-8"),
        ({"x/a.txt.gz": gzip.compress(texts(9).encode() + b"\ncaf\xe9\n")}, r"a.txt.gz, line 28: not UTF-8"),
        ({"x/a.txt": gzip.compress(texts(9).encode())}, "a.txt: is gzipped, but its name does not end in .gz"),
        ({"x/a.txt": "\n \n\n"}, "the files hold no text"),
        ({"x/a.txt": ""}, "the files hold no text"),
        ({"x/a.txt.gz": gzip.compress(texts(50).encode())[:-20]}, "a.txt.gz: damaged gzip file"),
        ({"x/a.txt.gz": texts(50)}, "a.txt.gz: damaged gzip file"),
        ({"x/a.txt": "One.\nTwo.\n"}, "no document of 1 falls into the"),
    ],
    ids=["not utf-8", "gzipped", "wrong name", "blank lines", "empty", "truncated gzip", "no gzip", "one document"],
)
def test_bad_text_is_refused_with_file_and_remedy(tmp_path, files, message):
    assert message in refusal(tmp_path, files)


def test_where_the_domain_begins():
    assert domain_base("/data/span-1/*/*.txt*") == "/data/span-1"
    assert domain_of("/data/span-1/law/a.txt", "/data/span-1") == "law"
    assert domain_of("/data/span-1/law/v1.2/a.txt", "/data/span-1") == "law/v1.2"
    assert domain_of("/data/span-1/a.txt", "/data/span-1") == "default"
