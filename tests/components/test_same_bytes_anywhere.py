"""The same examples, byte for byte, from any runner, number of workers, size of bundles, and division into files."""

import gzip
import itertools
from types import SimpleNamespace

import pytest
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.worker import sdk_worker_main

from albert_model.text.settings import ExampleSettings
from components.document_gen import executor as document_gen
from components.pretraining_example_gen import executor as example_gen
from tests.components.local import make_examples, shards
from tests.forks import Fork

SETTINGS = ExampleSettings(max_seq_length=128, dupe_factor=2, packing="bins", bin_width=32)
_LINES = 4000  # of each text


@pytest.fixture(scope="module")
def files(shared_data):
    """Prose and law, a part of each."""
    texts = {}
    for name in ("novels", "us_code"):
        with gzip.open(shared_data / "corpora" / f"{name}.txt.gz", "rt", encoding="utf-8") as lines:
            texts[f"{name}/all.txt"] = "".join(itertools.islice(lines, _LINES))
    return texts


def examples_of(folder, files, config, beam_args=()):
    nodes = make_examples(folder, files, config, SETTINGS, beam_args)
    return shards(nodes["PretrainingExampleGen"].outputs["examples"].uri)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, files, small_config):
    made = examples_of(tmp_path_factory.mktemp("memory"), files, small_config)
    assert sum(map(len, made.values())) > 2_000_000
    assert len(made) == 5
    return made


def _start_worker(command, env, **_):
    python, *words = command.split()
    assert words == ["-m", sdk_worker_main.__name__], command
    return Fork(sdk_worker_main.main, [python], env=env)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_worker_processes(tmp_path, files, small_config, expected, workers, monkeypatch):
    """Beam's own worker processes, which are forked: most of their time they would import TensorFlow and TFX."""
    monkeypatch.setattr(local_job_service, "subprocess", SimpleNamespace(Popen=_start_worker))
    arguments = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    assert examples_of(tmp_path, files, small_config, arguments) == expected


def test_small_bundles_and_ranges(tmp_path, files, small_config, expected, monkeypatch):
    monkeypatch.setattr(document_gen, "_RANGE_BYTES", 5_000)
    monkeypatch.setattr(example_gen, "_BATCH", 3)
    monkeypatch.setattr("components.sharding._RUN_BYTES", 50_000)
    assert examples_of(tmp_path, files, small_config) == expected


def test_twenty_files_in_another_order(tmp_path, files, small_config, expected):
    divided = {}
    for name, text in files.items():
        documents = [part for part in text.split("\n\n") if part.strip()]
        domain = name.split("/")[0]
        for i in range(10):
            data = "\n\n\n".join(documents[i::10]).encode()
            divided[f"{domain}/{9 - i}.txt.gz"] = gzip.compress(data)
    assert len(divided) == 20
    assert examples_of(tmp_path, divided, small_config) == expected
