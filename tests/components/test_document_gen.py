import gzip

import pytest
import tensorflow as tf

from albert_model.text.documents import identify, split_of
from albert_model.text.examples import decode_documents
from components import manifests
from components.document_gen.component import DocumentGen
from components.document_gen.executor import domain_base, domain_of
from components.sharding import split_files
from pipeline.local_runner import user_error
from tests.components.local import run_components, write_corpus

PATTERN = "span-{SPAN}/*/*.txt*"


def generate(tmp_path, files, pattern=PATTERN, max_sentences=100, eval_fraction=0.3, span=None):
    corpus = write_corpus(tmp_path / "corpus", files)
    component = DocumentGen(str(corpus), pattern, eval_fraction, max_sentences, span)
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
    assert manifest["dropped"] == {"duplicate_documents": 5}
    assert (manifest["read"]["files"], manifest["read"]["sentences"]) == (4, 110)
    assert artifact.custom_properties["train_documents"].int_value == len(found["train"])
    assert artifact.custom_properties["span"].int_value == 1


def test_the_same_text_in_other_files_gives_the_same_bytes(tmp_path):
    one = generate(tmp_path / "one", {"x/all.txt": texts(60)})
    many = {f"x/{9 - i}.txt": texts(10, start=10 * i) for i in range(6)}
    other = generate(tmp_path / "other", many)
    for split in ("train", "eval"):
        shards = [[tf.io.gfile.GFile(p, "rb").read() for p in split_files(a.uri, split)] for a in (one, other)]
        assert shards[0] == shards[1]
        assert shards[0][0]
    assert manifests.read(one.uri)["fingerprint"] == manifests.read(other.uri)["fingerprint"]


def test_the_fingerprint_tells_texts_apart(tmp_path):
    artifacts = [generate(tmp_path / str(n), {"x/a.txt": texts(n)}) for n in (40, 41)]
    assert len({manifests.read(a.uri)["fingerprint"] for a in artifacts}) == 2


def test_a_corpus_without_blank_line_is_one_document_with_a_warning(tmp_path, caplog):
    text = "".join(f"Sentence {i}.\n" for i in range(500))
    artifact = generate(tmp_path, {"x/a.txt": text}, max_sentences=20)
    manifest = manifests.read(artifact.uri)
    assert (manifest["documents"], manifest["read"]["cut_documents"]) == (25, 24)
    assert "a.txt: no blank line, so it is one document, cut every 20" in caplog.text


def test_a_short_corpus_without_blank_line_is_cut_finer_so_that_some_is_held_out(tmp_path, caplog):
    """At 100 sentences a document, these two would all fall into one split."""
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
        ({"x/a.txt": "\n \n\n"}, "the files hold no text"),
        ({"x/a.txt": ""}, "the files hold no text"),
        ({"x/a.txt.gz": gzip.compress(texts(50).encode())[:-20]}, "a.txt.gz: damaged gzip file"),
        ({"x/a.txt.gz": texts(50)}, "a.txt.gz: damaged gzip file"),
        ({"x/a.txt": "One.\nTwo.\n"}, "no document of 1 falls into the"),
    ],
    ids=["not utf-8", "blank lines", "empty", "truncated gzip", "no gzip", "one document"],
)
def test_bad_text_is_refused_with_file_and_remedy(tmp_path, files, message):
    assert message in refusal(tmp_path, files)


def test_where_the_domain_begins():
    assert domain_base("/data/span-1/*/*.txt*") == "/data/span-1"
    assert domain_of("/data/span-1/law/a.txt", "/data/span-1") == "law"
    assert domain_of("/data/span-1/law/v1.2/a.txt", "/data/span-1") == "law/v1.2"
    assert domain_of("/data/span-1/a.txt", "/data/span-1") == "default"
