import re
from pathlib import Path

import pytest
import tensorflow as tf

from albert_model.text import records
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import read_vocabulary
from components import manifests
from components.sharding import split_files
from tests.components.local import make_examples, shards

SETTINGS = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10, dupe_factor=2)


def generate(folder, files, config, settings=SETTINGS):
    return make_examples(folder, files, config, settings)


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
    assert manifest["train_records"] == manifest["train_examples"]
    assert manifest["tokenizer_fingerprint"] == read_vocabulary(f"{artifact.uri}/vocab").fingerprint
    assert manifest["settings"] == SETTINGS.model_dump()
    assert manifest["dropped"].keys() == {
        *("duplicate_documents", "near_duplicate_documents", "invalid_utf8_lines"),
        *("empty_documents", "empty_sentences"),
        *("single_sentence_chunks", "single_sentence_pieces"),
    }


LAYOUTS = {
    "none": SETTINGS,
    "bins": SETTINGS.model_copy(update={"packing": "bins", "bin_width": 16}),
    "pack": SETTINGS.model_copy(update={"packing": "pack", "examples_per_row": 3, "short_seq_prob": 0.5}),
    "deferred": SETTINGS.model_copy(update={"masking": "deferred", "packing": "pack"}),
}


def rows_of(path):
    return records.decode(list(tf.data.TFRecordDataset(path).as_numpy_iterator())).to_pylist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_padding_that_is_left_is_that_of_the_files(tmp_path, texts, small_config, layout):
    made = generate(tmp_path, {"pg/all.txt": "\n".join(texts[:30])}, small_config, LAYOUTS[layout])
    uri = made["PretrainingExampleGen"].outputs["examples"].uri
    manifest = manifests.read(uri)
    files = {Path(path).name: rows_of(path) for path in split_files(uri, "train")}
    tokens = slots = 0
    for name, rows in files.items():
        width = int(name.removeprefix("length-").split("_")[0]) if layout == "bins" else 64
        lengths = [len(row["input_ids"]) for row in rows]
        assert all(width - 16 < length <= width if layout == "bins" else length <= 64 for length in lengths)
        tokens, slots = tokens + sum(lengths), slots + width * len(rows)
    assert len(files) == (4 if layout == "bins" else 1)
    assert manifest["padding_share"] == round(1 - tokens / slots, 4)
    everything = [row for rows in files.values() for row in rows]
    assert manifest["train_records"] == len(everything)
    assert manifest["train_examples"] == sum(len(row["segment_a_length"]) for row in everything)
    assert all(("masked_lm_ids" in row) == (layout != "deferred") for row in everything)
    (eval_file,) = split_files(uri, "eval")
    for row in rows_of(eval_file):
        assert len(row["segment_a_length"]) == 1
        assert row.get("example_lengths", [len(row["input_ids"])]) == [len(row["input_ids"])]
        assert row["masked_lm_ids"]


def test_text_that_is_not_one_sentence_a_line_is_pointed_out(tmp_path, texts, small_config, caplog):
    files = {"pg/all.txt": "\n\n".join(" ".join(text.split("\n")) for text in texts)}
    with caplog.at_level("WARNING", "albert"):
        generate(tmp_path, files, small_config)
    assert re.search(r"\d+ of 60 sentences are longer than an example and were broken between words", caplog.text)


def test_no_temporary_file_is_left(nodes):
    uri = nodes["PretrainingExampleGen"].outputs["examples"].uri
    assert sorted(tf.io.gfile.listdir(uri)) == ["Split-eval", "Split-train", "manifest.json", "vocab"]


@pytest.mark.parametrize("layout", ["none", "bins", "pack"])
def test_other_files_in_another_order_give_the_same_bytes(nodes, tmp_path, texts, small_config, layout):
    one = nodes
    if layout != "none":
        one = generate(tmp_path / "one", {"pg/all.txt": "\n".join(texts)}, small_config, LAYOUTS[layout])
    files = {f"pg/{99 - i}.txt": "\n".join(texts[i : i + 7]) for i in range(0, len(texts), 7)}
    other = generate(tmp_path / "other", files, small_config, LAYOUTS[layout])
    first, second = (shards(n["PretrainingExampleGen"].outputs["examples"].uri) for n in (one, other))
    assert first == second
    assert max(map(len, first.values())) > 10_000
