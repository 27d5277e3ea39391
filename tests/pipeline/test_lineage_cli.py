from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from ml_metadata import metadata_store

from albert_model.errors import InputError
from pipeline.lineage import Lineage
from pipeline.lineage_story import story
from pipeline.metadata_settings import MetadataSettings
from tests.demo import albert
from tests.pipeline.metadata_sample import HOSTILE, Writer, served


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Three runs, each of which started from the model before; the last one failed to push."""
    root = tmp_path_factory.mktemp("metadata")
    writer = Writer(root / "metadata.sqlite")
    first = writer.run("2026-01-01T00")
    second = writer.run("2026-01-02T00", first)
    writer.run("2026-01-02T11", second, last_state="FAILED")
    return root / "metadata.sqlite"


@pytest.fixture
def queries(monkeypatch) -> list[str]:
    """The names of the questions that the store was asked."""
    asked: list[str] = []
    call = metadata_store.MetadataStore._call

    def counted(self, method_name, *arguments):
        asked.append(method_name)
        return call(self, method_name, *arguments)

    monkeypatch.setattr(metadata_store.MetadataStore, "_call", counted)
    return asked


def told(*words: object) -> str:
    done = albert("pipeline", *words)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def refused(*words: object) -> str:
    done = albert("pipeline", *words)
    assert done.returncode in (1, 2), done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


# === Lineage ===


def test_runs(store):
    runs = Lineage(store).runs(10)
    assert [(run.id, run.state, run.span, run.blessed, run.pushed) for run in runs] == [
        ("2026-01-01T00", "complete", 1, True, "1"),
        ("2026-01-02T00", "complete", 2, True, "2"),
        ("2026-01-02T11", "failed", 3, True, None),
    ]
    assert [run.id for run in Lineage(store).runs(1)] == ["2026-01-02T11"]


def test_nodes(store):
    nodes = Lineage(store).nodes("2026-01-02T00")
    assert list(nodes) == [
        *("DocumentGen", "InitialModel", "PretrainingExampleGen", "Trainer", "Evaluator", "EncoderPusher"),
    ]
    assert nodes["Trainer"].inputs["examples"].id == nodes["PretrainingExampleGen"].outputs["examples"].id
    assert nodes["DocumentGen"].properties["input_config"]["splits"][0]["pattern"] == "span-1/*.txt"


def test_questions_do_not_grow_with_runs(tmp_path, queries):
    writer = Writer(tmp_path / "metadata.sqlite")
    model = None
    for number in range(40):
        model = writer.run(f"run-{number:02}", model)
    lineage = Lineage(tmp_path / "metadata.sqlite")
    for ask, graphs in (
        (lambda: lineage.runs(100), 1),
        (lambda: lineage.nodes("run-20"), 1),
        (lineage.pushed_versions, 1),
        (lambda: story(lineage, "40"), 5),  # a hundred steps a question, of more than 150
    ):
        queries.clear()
        ask()
        assert queries.count("GetLineageSubgraph") <= graphs
        assert len(queries) <= 8 * graphs, queries  # a graph's nodes are fetched by kind
    told = story(lineage, "latest")
    assert [model.version for model in told.earlier] == [str(number) for number in range(39, 0, -1)]
    assert [model.span for model in told.earlier] == list(range(39, 0, -1))
    assert told.origin == "random weights"


def test_pushed_versions(store):
    lineage = Lineage(store)
    models = [lineage.nodes(run_id)["Trainer"].outputs["model"].id for run_id in lineage.run_ids]
    assert lineage.pushed_versions() == {models[0]: "1", models[1]: "2"}


def test_reading_changes_nothing(store):
    before = store.read_bytes()
    story(Lineage(store), "2")
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == ["metadata.sqlite"]


@pytest.mark.parametrize(("version", "word"), [(9, "Keep a copy"), (11, "Install the ml-metadata")])
def test_another_schema_version_is_said_and_left_as_it_is(store, tmp_path, version, word):
    path = shutil.copy(store, tmp_path / "metadata.sqlite")
    with sqlite3.connect(path) as database:
        database.execute(f"update MLMDEnv set schema_version = {version}")
    database.close()
    before = Path(path).read_bytes()
    message = refused("runs", "--root", tmp_path)
    assert f"its schema has version {version}, this ml-metadata reads version 10" in message
    assert word in message
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_file_that_is_no_metadata(tmp_path, content):
    (tmp_path / "metadata.sqlite").write_bytes(content)
    assert "is empty or damaged, or is no metadata of TFX" in refused("runs", "--root", tmp_path)
    assert (tmp_path / "metadata.sqlite").read_bytes() == content


def test_a_truncated_file(store, tmp_path):
    content = store.read_bytes()
    (tmp_path / "metadata.sqlite").write_bytes(content[: len(content) // 2])
    assert "Error: " in refused("runs", "--root", tmp_path)


def test_no_file(tmp_path):
    assert "there is no metadata. Run the pipeline first" in refused("runs", "--root", tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_store_without_runs(tmp_path):
    Writer(tmp_path / "metadata.sqlite")
    assert Lineage(tmp_path / "metadata.sqlite").pushed_versions() == {}
    assert told("runs", "--root", tmp_path) == "There is no run yet.\n"
    assert "knows of no run yet" in refused("show", "latest", "--root", tmp_path)
    assert "knows of no version that was pushed" in refused("lineage", "latest", "--root", tmp_path)


# === Other stores ===


def test_a_grpc_server(store):
    with served(store) as port:
        settings = MetadataSettings(kind="grpc", host="127.0.0.1", port=port)
        lineage = Lineage(settings.connection("", read_only=True))
        assert [run.pushed for run in lineage.runs(10)] == ["1", "2", None]
        assert story(lineage, "latest").earlier[0].version == "1"
        with pytest.raises(InputError, match="There is no version 9"):
            lineage.pushed_version("9")
    with pytest.raises(InputError, match=f"the metadata server 127.0.0.1:{port} does not answer"):
        _ = Lineage(settings.connection("", read_only=True)).run_ids


def test_a_mysql_connection(monkeypatch):
    monkeypatch.setenv("OF_THE_DATABASE", "p@ss word")
    said = {"kind": "mysql", "host": "127.0.0.1", "database": "runs", "user": "reader"}
    settings = MetadataSettings(**said, password_env="OF_THE_DATABASE")
    config = settings.connection("", read_only=True)
    server = config.mysql
    assert (server.host, server.port, server.database, server.user) == ("127.0.0.1", 3306, "runs", "reader")
    assert server.password == "p@ss word"
    assert server.skip_db_creation
    assert not settings.connection("").mysql.skip_db_creation
    server.port = 1  # where no server is
    with pytest.raises(InputError, match=r"MySQL database runs of reader at .* cannot be reached") as error:
        Lineage(config)
    assert "p@ss" not in str(error.value)
    assert "p@ss" not in settings.model_dump_json()
    monkeypatch.delenv("OF_THE_DATABASE")
    with pytest.raises(InputError, match="the environment has no OF_THE_DATABASE"):
        settings.connection("")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"kind": "mysql", "host": "h"}, "needs database and user"),
        ({"kind": "grpc"}, "needs host and port"),
        ({"kind": "grpc", "host": "h", "port": 1, "user": "u"}, "has no use for user"),
        ({"host": "h"}, "of kind sqlite has no use for host"),
        ({"kind": "mysql", "password": "secret"}, "password"),
    ],
)
def test_settings_that_do_not_fit(said, message):
    with pytest.raises(ValueError, match=message):
        MetadataSettings(**said)


def test_certificates(tmp_path):
    (tmp_path / "ca.pem").write_text("a certificate")
    settings = MetadataSettings(kind="grpc", host="h", port=1, ca_file=str(tmp_path / "ca.pem"))
    assert settings.connection("").ssl_config.custom_ca == "a certificate"
    with pytest.raises(InputError, match="/nowhere cannot be read"):
        settings.model_copy(update={"ca_file": "/nowhere"}).connection("")


# === Commands ===


def test_runs_table(store):
    lines = told("runs", "--root", store.parent).splitlines()
    assert len(lines) == 4
    assert lines[2].split()[-5:] == ["2", "complete", "blessed", "version", "2"]
    assert "The newest 1 of 3" in told("runs", "--root", store.parent, "--limit", 1)


def test_show(store):
    shown = told("show", "2026-01-01", "--root", store.parent)
    assert shown.startswith("run 2026-01-01T00\nDocumentGen  complete, ")
    assert "  ← base_model: Model 2  /runs/InitialModel/" in shown
    assert "EncoderPusher  failed" in told("show", "latest", "--root", store.parent)
    assert "is the beginning of 2 runs" in refused("show", "2026-01-02", "--root", store.parent)
    assert "There is no run 2027" in refused("show", "2027", "--root", store.parent)


def test_tree(store):
    tree = told("lineage", "2", "--root", store.parent)
    assert tree.startswith("version 2\n")
    for said in ("PushedModel", "by Trainer", "by DocumentGen", "num_files:3", "span-1/*.txt\n", "version 1 (Model "):
        assert said in tree, said
    assert "random weights, the first of them" in tree
    assert "\x1b" not in tree
    assert "input_config.splits" not in tree
    assert "input_config.splits" in told("lineage", "2", "--root", store.parent, "--settings")
    assert "There is no version 3. Pushed were: 1, 2." in refused("lineage", 3, "--root", store.parent)


def test_mermaid(store):
    lines = told("lineage", "2", "--root", store.parent, "--format", "mermaid").splitlines()
    assert lines[0] == "graph TD"
    assert any('-->|"Trainer"|' in line for line in lines)
    assert not any("<script>" in line or "\x1b" in line for line in lines)
    ids = {line.split("[")[0].split("(")[0].strip() for line in lines[1:] if "-->" not in line}
    ends = {end.strip() for line in lines if "-->" in line for end in (line.split("-->")[0], line.split()[-1])}
    assert ends <= ids


def test_page(store):
    page = told("lineage", "2", "--root", store.parent, "--format", "html")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "settings of DocumentGen" in page


def test_json(store):
    lineage = json.loads(told("lineage", "2", "--root", store.parent, "--format", "json"))
    artifacts = {artifact["id"]: artifact for artifact in lineage["artifacts"]}
    makers = {node["id"]: node for node in lineage["nodes"]}
    (pushed,) = (a for a in artifacts.values() if a["type"] == "PushedModel")
    model = artifacts[makers[pushed["made_by"]]["inputs"]["model"]]
    examples = artifacts[makers[model["made_by"]]["inputs"]["examples"]]
    documents = artifacts[makers[examples["made_by"]]["inputs"]["documents"]]
    assert documents["read_from"]["files"] == f"/corpus/{HOSTILE}/span-1/*.txt"
    assert documents["properties"]["span"] == 2
    assert documents["tfx_version"] == "1.21.0"
    assert [model["version"] for model in lineage["started_from"]] == ["1"]


def test_config_names_the_metadata(store, tmp_path):
    config = Path("configs/pipelines/demo.yaml").read_text()
    root = next(line for line in config.splitlines() if line.startswith("root:"))
    (tmp_path / "my.yaml").write_text(config.replace(root, f"root: {store.parent}"))
    assert "2026-01-02T11" in told("runs", "--config", tmp_path / "my.yaml")
    (tmp_path / "my.yaml").write_text(f"{config}\nmetadata: {{kind: sqlite, path: {store}}}\n")
    assert "2026-01-02T11" in told("runs", "--config", tmp_path / "my.yaml")
    (tmp_path / "my.yaml").write_text(f"{config}\nmetadata: {{kind: mysql, host: h}}\n")
    assert "my.yaml: metadata: metadata of kind mysql needs database and user" in refused(
        "runs", "--config", tmp_path / "my.yaml"
    )
    assert "Give one of --config and --root" in refused("runs")
    assert "cannot be read" in refused("runs", "--config", tmp_path / "other.yaml")


def test_a_run_of_the_demo(demo):
    """What TFX itself wrote."""
    shown = told("show", "latest", "--root", demo.root)
    assert "Trainer  cached" in shown
    tree = told("lineage", "latest", "--root", demo.root)
    assert tree.startswith("version 2\n")
    assert "tests/data/postgresql-manual/span-2/*/*.txt*" in tree
    assert "version 1 (Model " in tree
    table = told("runs", "--root", demo.root).splitlines()
    assert ["complete" in table[1], "cached" in table[3]] == [True, True]
