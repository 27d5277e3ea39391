"""What users get for what they may do wrong: one clear error, status 1, nothing written."""

import subprocess

import filelock
import pytest

from tests.conftest import MANUAL
from tests.demo import ROOT, albert, demo_command


def test_help_has_examples():
    for words in ([], ["pipeline"], ["pipeline", "run"], ["pipeline", "settings"]):
        done = albert(*words, "--help")
        assert done.returncode == 0
        assert "Usage: albert" in done.stdout
    assert "albert pipeline run --config my.yaml --span 1 --span 2" in albert("pipeline", "run", "--help").stdout


def refused(tmp_path, **settings) -> str:
    """The one error line of a run with these settings."""
    done = subprocess.run(demo_command(tmp_path / "root", [1], **settings), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "root" / "encoders" / "1").exists()
    return done.stderr


def test_a_missing_corpus(tmp_path):
    message = refused(tmp_path, **{"corpus.path": tmp_path / "nowhere"})
    assert f"corpus.path: there is no folder {tmp_path / 'nowhere'}" in message
    assert not (tmp_path / "root").exists()


def test_an_empty_corpus(tmp_path):
    (tmp_path / "corpus" / "span-1").mkdir(parents=True)
    message = refused(tmp_path, **{"corpus.path": tmp_path / "corpus"})
    assert f"corpus.pattern: no file matches {tmp_path / 'corpus'}/span-1/*/*.txt*" in message


def test_a_span_that_is_not_there(tmp_path):
    done = subprocess.run(demo_command(tmp_path, [9]), capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, "span-9/*/*.txt*" in done.stderr) == (1, True)


def test_a_destination_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(tmp_path, **{"push.destination": tmp_path / "file" / "encoders"})
    assert f"push.destination: cannot write to {tmp_path / 'file' / 'encoders'}" in message


def test_an_unknown_key(tmp_path):
    assert "configs/pipelines/demo.yaml: training.steps: is not a known key" in refused(
        tmp_path, **{"training.steps": 3}
    )


def test_text_that_is_not_utf8(tmp_path):
    folder = tmp_path / "corpus" / "span-1" / "x"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"Fine.\ncaf\xe9\n")
    message = refused(tmp_path, **{"corpus.path": tmp_path / "corpus"})
    assert f"{folder / 'a.txt'}, line 2: not UTF-8" in message
    assert "iconv" in message


def test_a_vocabulary_that_the_text_does_not_support(tmp_path):
    folder = tmp_path / "corpus" / "span-1" / "x"
    folder.mkdir(parents=True)
    text = (MANUAL / "span-1" / "postgresql" / "manual.txt").read_text()
    (folder / "a.txt").write_text(text[:60_000])
    message = refused(tmp_path, **{"corpus.path": tmp_path / "corpus"})
    assert "vocab_size 2000 of the model's config is more than this text supports: set it to" in message


def test_debug_shows_where_an_error_came_from(tmp_path):
    command = [*demo_command(tmp_path, [1], **{"corpus.path": tmp_path / "nowhere"}), "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "corpus.path: there is no folder" in done.stderr


def test_two_runs_in_one_root(tmp_path):
    (tmp_path / "root").mkdir()
    with filelock.FileLock(tmp_path / "root" / ".lock"):
        assert "another run is at work" in refused(tmp_path)


@pytest.mark.parametrize("option", ["training.max_steps", "=3", "training.max_steps=["])
def test_a_malformed_override(option):
    done = albert("pipeline", "run", "--config", "configs/pipelines/demo.yaml", "--set", option)
    assert done.returncode == 2
    assert "Invalid value for '--set'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_that_diverges_pushes_nothing(tmp_path):
    message = refused(tmp_path, **{"training.learning_rate": 1e30, "training.log_every": 5})
    assert "training: the loss is not a number any more at step" in message
    assert "Lower training.learning_rate" in message
