import numpy as np
import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.orchestration.pipeline import RunOptions
from tfx.types import standard_artifacts

from albert_model.errors import InputError
from albert_model.text.documents import DocumentSettings
from albert_model.text.tokenizer import Tokenizer, read_vocabulary
from albert_model.text.vocabulary import Vocabulary
from albert_model.text.vocabulary_training import TokenizerSettings
from albert_model.weights import package
from albert_model.weights.model import Model
from albert_model.weights.names import WORD_EMBEDDINGS, parameters
from components import Tokenizer as TokenizerArtifact
from components import beam_options, manifests
from components.document_gen.component import DocumentGen
from components.model_layout import package_folder
from components.tokenizer_trainer import executor
from pipeline.lineage import Lineage
from pipeline.pipeline import create_pipeline
from pipeline.settings import PipelineSettings
from tests.albert_model.weights.small_models import random_weights
from tests.components.local import run_components, write_corpus

IN_MEMORY = ["--runner=FnApiRunner"]
TWO_PROCESSES = [*IN_MEMORY, "--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture(scope="module")
def texts(documents):
    return ["\n".join(d.sentences) + "\n" for d in documents[:60]]


def documents_of(folder, files):
    corpus = write_corpus(folder / "corpus", files)
    component = DocumentGen(str(corpus), "span-{SPAN}/*/*.txt", 0.2, DocumentSettings().model_dump_json())
    return run_components(folder / "root", [component])["DocumentGen"].outputs["examples"]


@pytest.fixture(scope="module")
def read_documents(tmp_path_factory, texts):
    return documents_of(tmp_path_factory.mktemp("documents"), {"pg/all.txt": "\n".join(texts)})


def artifact_at(kind, folder):
    artifact = kind()
    artifact.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return artifact


def model_at(folder, model=None):
    """As InitialModel leaves one."""
    artifact = artifact_at(standard_artifacts.Model, folder)
    manifests.write(artifact, {"source": "blessed model" if model else "random"})
    if model:
        package.write(package_folder(artifact.uri), model)
    return artifact


def tokenizer_of(folder, documents, vocab_size=1000, model=None, beam_args=IN_MEMORY, **settings):
    """What the component writes, without a pipeline around it."""
    output = artifact_at(TokenizerArtifact, folder / "tokenizer")
    options = beam_options.for_components(beam_args)
    context = executor.Executor.Context(beam_pipeline_args=options, tmp_dir=str(folder / "tmp"), unique_id="1")
    executor.Executor(context).Do(
        {"documents": [documents], "initial_model": [model_at(folder / "model", model)]},
        {"tokenizer": [output]},
        {"vocab_size": vocab_size, "settings": TokenizerSettings(**settings).model_dump_json()},
    )
    return read_vocabulary(output.uri), manifests.read(output.uri)


# === Training ===


def test_the_manifest_says_what_was_made_and_nothing_else_is_left(read_documents, tmp_path):
    made, manifest = tokenizer_of(tmp_path, read_documents)
    assert manifest == {
        "format_version": 1,
        "fingerprint": made.fingerprint,
        "vocab_size": 1000,
        "vocab_size_asked_for": 1000,
        "source": "trained",
    }
    assert sorted(path.name for path in (tmp_path / "tokenizer").iterdir()) == [
        *("manifest.json", "spm.model", "spm.vocab", "tokenizer_config.json")
    ]


def test_the_vocabulary_depends_on_neither_files_nor_workers(read_documents, texts, tmp_path):
    files = {f"pg/{99 - i}.txt": "\n".join(texts[i : i + 7]) for i in range(0, len(texts), 7)}
    others = documents_of(tmp_path, files)
    size = {"vocab_size": 500, "max_sentences": 500}
    one, _ = tokenizer_of(tmp_path / "one", read_documents, **size)
    two, _ = tokenizer_of(tmp_path / "two", others, **size, beam_args=TWO_PROCESSES)
    assert one.vocabulary == two.vocabulary


def test_it_is_trained_on_a_sample_of_all_training_documents(read_documents, tmp_path, monkeypatch):
    """As many sentences as are allowed at most, none of which is held out."""
    seen = {}

    def record(sentences, vocab_size, settings):
        seen[settings.max_sentences] = [list(sentences), list(sentences)]
        return trained(sentences, vocab_size, settings)

    trained = executor.train
    monkeypatch.setattr(executor, "train", record)
    for most in (10_000, 600):
        tokenizer_of(tmp_path / str(most), read_documents, 400, max_sentences=most)
    (everything, again), (some, _) = seen.values()
    assert everything == again
    assert 400 < len(some) <= 600 < len(everything)
    assert some == everything[: len(some)]
    in_order = [s for path in tf.io.gfile.glob(f"{read_documents.uri}/Split-train/*") for s in sentences_in(path)]
    assert sorted(everything) == sorted(in_order)
    assert everything != in_order


def sentences_in(path):
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        yield from (value.decode() for value in features["sentences"].bytes_list.value)


def test_a_text_that_is_too_small_is_refused_or_gives_what_it_has(read_documents, tmp_path, caplog):
    with pytest.raises(InputError, match=r"vocab_size 20000 .*set it to \d+ or less"):
        tokenizer_of(tmp_path / "a", read_documents, 20_000)
    with caplog.at_level("WARNING", "albert"):
        made, manifest = tokenizer_of(tmp_path / "b", read_documents, 20_000, when_text_is_small="shrink")
    assert (manifest["vocab_size"], manifest["vocab_size_asked_for"]) == (made.vocab_size, 20_000)
    assert f"the text supports {made.vocab_size:,} pieces only; vocab_size is 20,000" in caplog.text


# === Where there is a model to start from ===


@pytest.fixture(scope="module")
def start(small_config, tokenizer):
    return Model(small_config, random_weights(small_config), tokenizer.vocabulary)


@pytest.mark.parametrize("settings", [{}, {"extend": True}])
def test_its_vocabulary_is_passed_on(read_documents, start, tokenizer, tmp_path, settings):
    made, manifest = tokenizer_of(tmp_path, read_documents, 1000, start, **settings)
    assert (made.vocabulary, manifest["source"]) == (tokenizer.vocabulary, "initial model")


def test_it_is_extended_on_request(read_documents, start, tokenizer, tmp_path):
    made, manifest = tokenizer_of(tmp_path, read_documents, 1100, start, extend=True)
    assert (made.pieces[:1000], made.vocab_size) == (tokenizer.pieces, 1100)
    assert (manifest["source"], manifest["vocab_size"]) == ("initial model, extended", 1100)


def test_so_is_a_wordpiece_vocabulary(read_documents, small_config, tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "the", "##s", "##e", "##n"]
    vocabulary = Vocabulary("\n".join(pieces).encode(), "vocab.txt")
    config = small_config.model_copy(update={"vocab_size": len(pieces)})
    start = Model(config, random_weights(config), vocabulary)
    made, _ = tokenizer_of(tmp_path, read_documents, 300, start, extend=True)
    assert (made.vocabulary.kind, made.pieces[: len(pieces)], made.vocab_size) == ("wordpiece", tuple(pieces), 300)


# === From weights to a trained model ===


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, checkpoint, texts):
    """The pipeline up to the Trainer: converted weights, a larger vocabulary, two steps that change hardly anything."""
    root = tmp_path_factory.mktemp("pipeline")
    old, folder = checkpoint
    write_corpus(root / "corpus", {"pg/all.txt": "\n".join(texts)})
    settings = PipelineSettings.model_validate(
        {
            "name": "extended",
            "root": str(root / "root"),
            "corpus": {"path": str(root / "corpus"), "eval_fraction": 0.2, "span": 1},
            "model": old.config.model_copy(update={"vocab_size": 1100}),
            "initial": {"source": str(folder)},
            "tokenizer": {"extend": True},
            "examples": {"max_seq_length": 64, "max_predictions_per_seq": 10, "dupe_factor": 1},
            "training": {"learning_rate": 1e-9, "max_steps": 2, "warmup_steps": 1, "batch_size": 8},
            "push": {"destination": str(root / "encoders")},
        }
    )
    tfx.orchestration.LocalDagRunner().run(create_pipeline(settings), RunOptions(to_nodes=["Trainer"]))
    lineage = Lineage(settings.metadata.connection(settings.root, read_only=True))
    return lineage.nodes(lineage.run_ids[-1])


def test_training_starts_from_the_extended_model(nodes, checkpoint):
    old, _ = checkpoint
    trained = package.read(package_folder(nodes["Trainer"].outputs["model"].uri))
    assert trained.config.vocab_size == 1100
    assert trained.vocabulary.pieces[:1000] == old.vocabulary.pieces
    table, before = trained.weights[WORD_EMBEDDINGS], old.weights[WORD_EMBEDDINGS]
    np.testing.assert_allclose(table[:1000], before, atol=1e-5)
    spellings = Tokenizer.of(old.vocabulary, "a test").spell(trained.vocabulary.pieces[1000:]).rows()
    np.testing.assert_allclose(table[1000:], [before[ids].mean(0) for ids in spellings], atol=1e-5)
    for row in parameters(old.config):
        if row.role == "encoder" and row.name != WORD_EMBEDDINGS:
            np.testing.assert_allclose(trained.weights[row.name], old.weights[row.name], atol=1e-5)


def test_a_later_span_starts_from_it_and_adds_nothing(nodes, tmp_path):
    blessed = package.read(package_folder(nodes["Trainer"].outputs["model"].uri))
    documents = nodes["DocumentGen"].outputs["examples"]
    made, manifest = tokenizer_of(tmp_path, documents, 1100, blessed, extend=True)
    assert manifest["source"] == "initial model"
    assert made.fingerprint == manifests.read(nodes["TokenizerTrainer"].outputs["tokenizer"].uri)["fingerprint"]
