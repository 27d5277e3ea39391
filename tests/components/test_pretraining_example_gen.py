import re

import pytest
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import TokenizerSettings, read_vocabulary
from components import manifests
from components.document_gen.component import DocumentGen
from components.initial_model.component import InitialModel
from components.pretraining_example_gen.component import PretrainingExampleGen
from components.sharding import split_files
from components.tokenizer_trainer.component import TokenizerTrainer
from tests.components.local import run_components, write_corpus

SETTINGS = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10, dupe_factor=2)


def generate(tmp_path, files, config: AlbertConfig):
    corpus = write_corpus(tmp_path / "corpus", files)
    documents = DocumentGen(str(corpus), "span-{SPAN}/*/*.txt", 0.2, 256)
    initial = InitialModel(model_config=config.model_dump_json())
    tokenizer = TokenizerTrainer(
        documents=documents.outputs["examples"],
        initial_model=initial.outputs["model"],
        vocab_size=config.vocab_size,
        settings=TokenizerSettings().model_dump_json(),
    )
    examples = PretrainingExampleGen(
        documents=documents.outputs["examples"],
        tokenizer=tokenizer.outputs["tokenizer"],
        settings=SETTINGS.model_dump_json(),
    )
    return run_components(tmp_path / "root", [documents, initial, tokenizer, examples])


@pytest.fixture(scope="module")
def texts(documents):
    return ["\n".join(d.sentences) + "\n" for d in documents[:60]]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, texts, small_config):
    return generate(tmp_path_factory.mktemp("one"), {"pg/all.txt": "\n".join(texts)}, small_config)


def test_the_tokenizer_is_trained_and_says_what_it_is(nodes):
    artifact = nodes["TokenizerTrainer"].outputs["tokenizer"]
    tokenizer = read_vocabulary(artifact.uri)
    assert tokenizer.vocab_size == 1000
    assert artifact.custom_properties["fingerprint"].string_value == tokenizer.fingerprint
    assert artifact.custom_properties["source"].string_value == "trained"
    assert artifact.type == "components.Tokenizer"


def test_the_manifest_agrees_with_the_records(nodes):
    artifact = nodes["PretrainingExampleGen"].outputs["examples"]
    manifest = manifests.read(artifact.uri)
    count = tokens = swapped = 0
    spec = {name: tf.io.RaggedFeature(tf.int64) for name in ("input_ids", "sentence_order_label")}
    for split in ("train", "eval"):
        records = [r for p in split_files(artifact.uri, split) for r in tf.data.TFRecordDataset(p).as_numpy_iterator()]
        parsed = tf.io.parse_example(records, spec)
        assert (
            len(records) == manifest[f"{split}_examples"] == artifact.custom_properties[f"{split}_examples"].int_value
        )
        count += len(records)
        tokens += parsed["input_ids"].flat_values.shape[0]
        swapped += int(tf.reduce_sum(parsed["sentence_order_label"].flat_values))
    assert (manifest["examples"], manifest["tokens"], manifest["swapped"]) == (count, tokens, swapped)
    assert sum(manifest["lengths"].values()) == count
    assert max(map(int, manifest["lengths"])) == 64
    assert manifest["tokenizer_fingerprint"] == read_vocabulary(f"{artifact.uri}/vocab").fingerprint
    assert manifest["settings"] == SETTINGS.model_dump()
    assert manifest["dropped"].keys() == {
        *("duplicate_documents", "empty_documents", "empty_sentences"),
        *("single_sentence_chunks", "single_sentence_pieces"),
    }


def test_text_that_is_not_one_sentence_a_line_is_pointed_out(tmp_path, texts, small_config, caplog):
    files = {"pg/all.txt": "\n\n".join(" ".join(text.split("\n")) for text in texts)}
    with caplog.at_level("WARNING", "albert"):
        generate(tmp_path, files, small_config)
    assert re.search(r"\d+ of 60 sentences are longer than an example and were broken between words", caplog.text)


def test_no_temporary_file_is_left(nodes):
    uri = nodes["PretrainingExampleGen"].outputs["examples"].uri
    assert sorted(tf.io.gfile.listdir(uri)) == ["Split-eval", "Split-train", "manifest.json", "vocab"]


def test_other_files_in_another_order_give_the_same_bytes(nodes, tmp_path, texts, small_config):
    files = {f"pg/{99 - i}.txt": "\n".join(texts[i : i + 7]) for i in range(0, len(texts), 7)}
    other = generate(tmp_path, files, small_config)
    for split in ("train", "eval"):
        uris = [n["PretrainingExampleGen"].outputs["examples"].uri for n in (nodes, other)]
        first, second = ([tf.io.gfile.GFile(p, "rb").read() for p in split_files(uri, split)] for uri in uris)
        assert first == second
        assert len(first[0]) > 10_000
