"""albert versions, rollback and verify as users give them, and what they get for what they may do wrong."""

import subprocess

import pytest

from albert_model.publishing.versions import Versions
from tests.demo import ALBERT, ROOT, albert

TEXT = {"text": "this text", "domain": None, "candidate": {"mlm_accuracy": {"value": 0.256}, "sop_accuracy": None}}


@pytest.fixture
def encoders(tmp_path):
    """Two versions of small files."""
    (tmp_path / "source" / "vocab").mkdir(parents=True)
    for name in ("config.json", "vocab/spm.model"):
        (tmp_path / "source" / name).write_text(name)
    more = {"created": "2026-11-21T23:45:16+00:00", "spans": [7], "documents": {"documents": 1249}}
    for model, metrics in (("a", {}), ("b", {"texts": [TEXT]})):
        said = {**more, "metrics": metrics, "lineage": {"model": model}}
        Versions(str(tmp_path / "to")).push(str(tmp_path / "source"), "# A card", said, 5)
    return tmp_path / "to"


def refused(*arguments):
    done = albert(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("command", ["versions", "rollback", "verify"])
def test_help_has_examples(command):
    done = albert(command, "--help")
    assert done.returncode == 0
    assert f"  albert {command} " in done.stdout


def test_versions_are_listed(encoders):
    done = albert("versions", encoders)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[1] == ["1", "2026-11-21", "23:45", "7", "1,249", "–", "–"]
    assert rows[2] == ["2", "2026-11-21", "23:45", "7", "1,249", "25.6", "%", "–", "latest"]


def test_a_version_whose_manifest_is_damaged_is_listed_as_one(encoders):
    (encoders / "1" / "manifest.json").write_text("{")
    done = albert("versions", encoders)
    assert "1        damaged manifest" in done.stdout
    assert "25.6 %" in done.stdout


def test_what_latest_does_not_say_is_said(encoders):
    (encoders / "latest").write_text("3\n")
    assert "latest names version 3, which is not there." in albert("versions", encoders).stdout
    (encoders / "latest").unlink()
    assert "No version is served yet (latest is missing)" in albert("versions", encoders).stdout
    (encoders / "latest").write_text("x")
    assert "should hold the number of a version, holds 'x'" in refused("versions", encoders)
    assert "has no version. Give the folder that push.destination" in refused("versions", encoders.parent / "source")


def test_rollback(encoders):
    done = albert("rollback", 1, "--destination", encoders)
    assert (done.returncode, done.stdout) == (0, f"{encoders}: latest is version 1 now.\n")
    assert (encoders / "latest").read_text() == "1\n"
    assert "has no version 3; it has 1, 2." in refused("rollback", 3, "--destination", encoders)
    (encoders / "2" / "config.json").write_text("changed")
    assert "config.json was changed" in refused("rollback", 2, "--destination", encoders)
    assert (encoders / "latest").read_text() == "1\n"


def test_verify(encoders):
    done = albert("verify", encoders)
    assert (done.returncode, done.stdout) == (0, f"{encoders}/2: every file is as its manifest says.\n")
    (encoders / "1" / "config.json").write_text("changed")
    (encoders / "1" / "[bold]more").write_text("")
    assert albert("verify", encoders).returncode == 0
    done = albert("verify", encoders / "1")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"{encoders}/1: config.json was changed",
        f"{encoders}/1: [bold]more is extra",
    ]


@pytest.mark.parametrize("command", [["versions"], ["verify"], ["rollback", "1", "--destination"]])
def test_a_folder_that_is_not_there_is_named(command, tmp_path):
    assert str(tmp_path / "nothing") in refused(*command, tmp_path / "nothing")


def test_a_folder_on_a_disk_needs_no_tensorflow(encoders):
    program = (
        "import sys; from pipeline.cli import main\n"
        "main(['versions', sys.argv[1]], standalone_mode=False)\n"
        "main(['rollback', '1', '--destination', sys.argv[1]], standalone_mode=False)\n"
        "main(['verify', sys.argv[1]], standalone_mode=False)\n"
        "print({'tensorflow', 'numpy', 'tfx', 'apache_beam'} & sys.modules.keys())"
    )
    python = ALBERT.with_name("python")
    done = subprocess.run([python, "-c", program, encoders], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr
