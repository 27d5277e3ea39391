import logging
import time

from components import progress

_log = logging.getLogger("albert.test")


def test_lines_add_up_what_workers_have_done(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.05)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_FILES", 0.0)
    workers = [progress.Reporter(str(tmp_path / "progress")) for _ in range(2)]
    with caplog.at_level("INFO", "albert"), progress.lines(str(tmp_path / "progress"), 2000, "documents", _log):
        workers[0].add(300)
        workers[0].add(200)
        workers[1].add(500)
        time.sleep(0.3)
    assert "1,000 of 2,000 documents (50 %), ETA 0:00:00" in caplog.text


def test_nothing_is_said_before_something_is_done(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.02)
    with caplog.at_level("INFO", "albert"), progress.lines(str(tmp_path / "none"), 10, "documents", _log):
        time.sleep(0.1)
    assert caplog.text == ""


def test_workers_elsewhere_write_nothing_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    progress.Reporter("gs://bucket/progress").add(5)
    assert list(tmp_path.iterdir()) == []
