"""The Evaluator's parts; that it judges is in tests/pipeline/test_gate.py."""

import random

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from tfx.types import standard_artifacts

from albert_model.errors import InputError
from albert_model.text.settings import ExampleSettings
from components.evaluator.distinct import Distinct
from components.evaluator.texts import HELD_OUT, HeldOutExamples, ScoredModel, Text, sentences, shared_settings
from components.sharding import split_files
from pipeline.lineage import Lineage


@pytest.fixture(scope="module")
def runs(demo):
    lineage = Lineage(str(demo.root / "metadata.sqlite"))
    return [lineage.nodes(run) for run in lineage.run_ids[:2]]


def model_of(run):
    artifact = standard_artifacts.Model()
    artifact.uri = run["Trainer"].outputs["model"].uri
    return ScoredModel.of(artifact)


def records(text, model, settings, folder):
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        _ = pipeline | HeldOutExamples(text, model, settings) | beam.io.WriteToTFRecord(str(folder / "records"))
    return read(map(str, folder.glob("records*")))


def read(files):
    return sorted(tf.data.TFRecordDataset(list(files)).as_numpy_iterator())


def test_examples_that_are_made_anew_are_those_that_were_held_out(runs, tmp_path):
    """So that it makes no difference which of both a model is scored on."""
    model = model_of(runs[0])
    documents = Text("", model.documents, HELD_OUT, None)
    assert records(documents, model, model.settings, tmp_path) == read(split_files(model.examples, "eval"))


def test_examples_of_other_lengths_are_made_anew(runs, tmp_path):
    model = model_of(runs[0])
    text = Text("", model.documents, HELD_OUT, model.examples)
    shorter = model.settings.model_copy(update={"max_seq_length": 32, "max_predictions_per_seq": 5})
    made = [tf.train.Example.FromString(record) for record in records(text, model, shorter, tmp_path)]
    assert max(len(example.features.feature["input_ids"].int64_list.value) for example in made) <= 32
    assert len(made) > len(read(split_files(model.examples, "eval")))


def test_the_sentences_are_those_of_the_held_out_documents(runs):
    model = model_of(runs[0])
    held_out = list(sentences(Text("", model.documents, HELD_OUT, None)))
    everything = list(sentences(Text("", model.documents, ("train", "eval"), None)))
    assert 100 < len(held_out) < len(everything) / 3
    assert set(held_out) <= set(everything)


def scored(fingerprint="a", **settings):
    return ScoredModel("", "", fingerprint, ExampleSettings(**settings), "", "")


def test_both_models_read_what_both_can():
    candidate = scored(max_seq_length=128, max_predictions_per_seq=20, packing="pack", random_seed=1)
    baseline = scored(max_seq_length=64, max_predictions_per_seq=30, ngram=1, dupe_factor=3)
    ours, theirs = shared_settings(candidate, baseline)
    for each in (ours, theirs):
        assert (each.max_seq_length, each.max_predictions_per_seq, each.ngram, each.random_seed) == (64, 20, 3, 1)
    assert (ours.packing, theirs.packing) == ("pack", "none")


def test_predictions_are_as_many_as_a_packed_row_of_either_holds():
    """A row of 128 pieces at 15 % has room for 23, though an example may ask for 40."""
    candidate = scored(max_seq_length=128, max_predictions_per_seq=40, masked_lm_prob=0.3)
    packed = scored(max_seq_length=128, max_predictions_per_seq=40, packing="pack", examples_per_row=4)
    assert [each.max_predictions_per_seq for each in shared_settings(candidate, packed)] == [23, 23]


def test_a_model_of_an_earlier_version_is_said_to_be_one(tmp_path):
    artifact = standard_artifacts.Model()
    artifact.uri = str(tmp_path)
    package = tmp_path / "Format-Serving" / "assets.extra"
    package.mkdir(parents=True)
    (package / "training.json").write_text('{"examples": {"settings": {}}, "tokenizer_fingerprint": ""}')
    with pytest.raises(InputError, match="trained by an earlier version"):
        ScoredModel.of(artifact)


@pytest.mark.parametrize("number", [0, 1, 100, 4095])
def test_few_are_counted_exactly(number):
    counter = Distinct()
    ids = [f"{random.Random(i).getrandbits(128):032x}" for i in range(number)]
    for each in ids * 3:
        counter.add(each)
    assert len(counter) == number


def test_many_are_counted_roughly_in_parts():
    parts = [Distinct() for _ in range(3)]
    generator = random.Random(6)
    for number in range(60_000):
        parts[number % 3].add(f"{generator.getrandbits(128):032x}")
    for other in parts[1:]:
        parts[0].update(other)
    assert len(parts[0]) == pytest.approx(60_000, rel=0.05)
