import http.server
import os
import re
import shutil
import tarfile
import threading

import numpy as np
import pytest

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.weights import parity, source
from albert_model.weights.names import parameters
from albert_model.weights.settings import ReadOptions
from tests.albert_model.weights.other_software import write_hub_module
from tests.albert_model.weights.small_models import ALBERT, assert_same, random_weights
from tests.albert_model.weights.test_tf1_checkpoint import save

PARTS = ("encoder", "pooler", "mlm")  # modules come without a sentence-order head
WEIGHTS = random_weights(ALBERT, parts=PARTS)


def agrees_with_its_own_computation(opened: source.Source, *chosen: str) -> bool:
    """Whether the module and this project's network give the same, in float32 and where there is text."""
    cases = parity.make_inputs(opened.model.config)
    cases = {name: cases[name] for name in chosen or cases}
    theirs = parity.run_source(opened.load, cases)
    ours = parity.run_network(opened.model.network(), cases)
    worst = 0.0
    for case, inputs in cases.items():
        valid = inputs["input_mask"].astype(bool)
        assert theirs[case].keys() == {"sequence_output", "pooled_output", "mlm_logits"}
        sequence = ours[case]["encoder_outputs"][-1][valid]
        worst = max(worst, np.abs(theirs[case]["sequence_output"][valid] - sequence).max())
        for name in ("pooled_output", "mlm_logits"):
            worst = max(worst, np.abs(theirs[case][name] - ours[case][name]).max())
    return worst <= 2e-5


# === A small module ===


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = write_hub_module(tmp_path_factory.mktemp("hub") / "module", ALBERT, WEIGHTS)
    (folder / "assets").mkdir()
    (folder / "assets" / "albert_config.json").write_text(ALBERT.to_json())
    return folder


@pytest.fixture(scope="module")
def packed(small, tmp_path_factory):
    """As TF-Hub sends it: the files at the top."""
    path = tmp_path_factory.mktemp("packed") / "module.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(small, ".")
    return path


@pytest.fixture
def copied(small, tmp_path):
    return shutil.copytree(small, tmp_path / "module")


def test_a_module_is_read_and_runs(small):
    with source.opened(str(small)) as opened:
        assert (opened.format, opened.notes, opened.model.left_out) == ("hub_module", (), ())
        assert (opened.model.config, opened.model.roles) == (ALBERT, PARTS)
        assert_same(opened.model.weights, WEIGHTS)
        assert agrees_with_its_own_computation(opened)


def test_a_module_in_an_archive_is_read_and_runs(packed):
    with source.opened(str(packed)) as opened:
        assert opened.format == "hub_module"
        assert_same(opened.model.weights, WEIGHTS)
        assert agrees_with_its_own_computation(opened)
        folder = opened.path
    assert not folder.exists()


@pytest.fixture
def address(packed, tmp_path, monkeypatch):
    """Where a server gives the module out, as tfhub.dev does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            there = self.path == "/albert/1?tf-hub-format=compressed"
            self.send_response(200 if there else 404)
            self.end_headers()
            if there:
                self.wfile.write(packed.read_bytes())

        def log_message(self, *_):
            pass

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/albert"
        server.shutdown()
        thread.join()


def test_a_module_is_fetched_from_an_address(address, tmp_path):
    with source.opened(f"{address}/1") as opened:
        assert (opened.name, opened.format) == (f"{address}/1", "hub_module")
        assert_same(opened.model.weights, WEIGHTS)
        assert (tmp_path / "cache") in opened.path.parents


def test_an_address_without_a_module_is_refused(address):
    with pytest.raises(InputError, match=rf"{address}/2: cannot be fetched"), source.opened(f"{address}/2"):
        pass


def test_an_address_has_no_checksum_to_check(address):
    options = ReadOptions(sha256="0" * 64)
    with pytest.raises(InputError, match="Fetch it and give its path"), source.opened(f"{address}/1", options):
        pass


def test_a_module_without_a_config_and_of_no_released_size_needs_one(copied):
    shutil.rmtree(copied / "assets")
    with pytest.raises(InputError, match="no released model has its sizes"), source.opened(str(copied)):
        pass
    with source.opened(str(copied), ReadOptions(config=ALBERT)) as opened:
        assert_same(opened.model.weights, WEIGHTS)


def test_a_module_of_something_else_is_refused(copied):
    shutil.rmtree(copied / "variables")
    (copied / "variables").mkdir()
    save(copied / "variables" / "variables", {"module/conv/kernel": np.zeros(3, np.float32)})
    message = r"holds no ALBERT and no BERT \(it has conv/kernel"
    with pytest.raises(InputError, match=message), source.opened(str(copied)):
        pass


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("variables", "variables: there is no such folder; the module is incomplete"),
        ("variables/variables.index", "variables.index: there is no such file"),
        ("variables/variables.data-00000-of-00001", "this part of the checkpoint is missing"),
    ],
)
def test_a_module_that_lacks_a_file_is_refused(copied, lost, message):
    path = copied / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=f"{copied}.*{message}"), source.opened(str(copied)):
        pass


# === The genuine graph ===

BASE = AlbertConfig.published("base")


@pytest.fixture(scope="module")
def genuine(shared_data, tmp_path_factory):
    """google/albert_base/3 with random values, and those."""
    folder = tmp_path_factory.mktemp("genuine") / "albert_base_3"
    shutil.copytree(shared_data / "hub" / "albert_base_3", folder, copy_function=shutil.copyfile)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    lines = (folder / "genuine_crc32c.txt").read_text().splitlines()
    shapes = {
        found[1]: tuple(int(size) for size in found[2].split(","))
        for line in lines
        if (found := re.match(r"(\S+) \[([\d, ]+)\]", line))
    }
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.standard_normal(shape) * 0.02 + name.endswith("gamma")).astype(np.float32)
        for name, shape in shapes.items()
    }
    (folder / "variables").mkdir()
    save(folder / "variables" / "variables", weights)
    return folder, weights


def test_the_genuine_module_agrees_with_the_network(genuine):
    folder, weights = genuine
    assert weights.keys() == {row.tf1.name for row in parameters(BASE) if row.role in PARTS}
    with source.opened(str(folder)) as opened:
        assert (opened.format, opened.notes, opened.model.config) == ("hub_module", (), BASE)
        assert opened.model.vocabulary.is_released
        assert_same(opened.model.weights, weights)
        assert agrees_with_its_own_computation(opened, "padded")


@pytest.fixture
def version_1(genuine, tmp_path):
    """The genuine module's folder, without a config. Its files are links: what is changed is put in their place."""
    folder = shutil.copytree(genuine[0], tmp_path / "albert_base_1", copy_function=os.link)
    (folder / "assets" / "albert_config.json").unlink()
    return folder


@pytest.mark.parametrize("version", [1, 2])
def test_the_config_of_version_1_is_deduced(version_1, version):
    with source.opened(str(version_1), ReadOptions(version=version)) as opened:
        assert opened.model.config == AlbertConfig.published("base", version)
        assert opened.notes == ("the config was deduced from shapes",)
        assert len(opened.model.weights) == 30


@pytest.mark.parametrize("name", ["30k-clean.model", "spm.model"])
def test_a_look_alike_vocabulary_is_refused(version_1, shared_data, name):
    (version_1 / "assets" / "30k-clean.model").unlink()
    shutil.copyfile(shared_data / "tokenizer" / "not-albert-30k.model", version_1 / "assets" / name)
    with (
        pytest.raises(InputError, match=f"{name} is not the vocabulary of the released ALBERT models"),
        source.opened(str(version_1)),
    ):
        pass
    with source.opened(str(version_1), ReadOptions(any_vocabulary=True)) as opened:
        assert not opened.model.vocabulary.is_released
