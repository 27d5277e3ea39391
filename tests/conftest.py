"""Fixtures that several folders of tests use."""

from __future__ import annotations

import gc
import os
import subprocess
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

from albert_model.config import AlbertConfig
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.text.documents import Document, DocumentSettings, read_documents
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary_training import TokenizerSettings, train
from albert_model.weights import network as network_weights
from albert_model.weights import tf1_checkpoint
from albert_model.weights.model import Model
from tests.demo import ROOT, Demo, demo_command

# A machine that has other work to do is no error.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

MANUAL = ROOT / "tests" / "data" / "postgresql-manual"


@pytest.fixture(scope="module", autouse=True)
def no_old_garbage() -> None:
    """What is collected in a module's tests is its own: graphs of hundreds of tests would be gone through each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Released vocabularies and weights, too large to be kept here."""
    folder = Path(os.environ.get("ALBERT_TEST_DATA", ROOT / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; ALBERT_TEST_DATA says where it is")
    return folder


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """The documents of the manual's first span."""
    path = MANUAL / "span-1" / "postgresql" / "manual.txt"
    with path.open("rb") as file:
        return list(read_documents(file, str(path), "postgresql", DocumentSettings(), Counter()))


@pytest.fixture(scope="session")
def tokenizer(documents) -> Tokenizer:
    """A vocabulary of 1,000 pieces, trained on them."""
    return train((s for d in documents[:60] for s in d.sentences), 1000, TokenizerSettings())


@pytest.fixture(scope="session")
def small_config() -> AlbertConfig:
    """A network for the vocabulary of `tokenizer`, with dropout."""
    return AlbertConfig(
        vocab_size=1000,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
    )


@pytest.fixture(scope="session")
def checkpoint(small_config, tokenizer, tmp_path_factory) -> tuple[Model, Path]:
    """A model, and the folder in which it lies as google-research publishes it, without its sentence-order head."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model = Model(small_config, network_weights.read(AlbertPretrainer(small_config, seed=8)), tokenizer.vocabulary)
    published = model.only(("encoder", "pooler", "mlm"))
    tf1_checkpoint.write(folder / "model.ckpt-best", published.weights, small_config)
    (folder / "albert_config.json").write_text(small_config.to_json())
    tokenizer.vocabulary.write(folder)
    return model, folder


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Demo:
    root = tmp_path_factory.mktemp("demo")
    temporary = tmp_path_factory.mktemp("temporary")
    environment = os.environ | {"TMPDIR": str(temporary)}
    command = demo_command(root, [1, 2, 2])
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Demo(root, done.stdout, temporary)
