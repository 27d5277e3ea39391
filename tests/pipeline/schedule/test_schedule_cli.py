"""The commands, in processes of their own where processes matter."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import filelock
import psutil
import pytest

from pipeline.schedule import cli
from pipeline.schedule.store import Store
from tests.demo import ALBERT, QUICK, ROOT

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def call(capfd):
    """Calls a command in this process; gives its exit status, and what it prints, both streams together."""

    def called(*words, command=cli.schedule):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            command.main([str(word) for word in words])
        return ended.value.code, "".join(capfd.readouterr())

    return called


@pytest.fixture
def config(tmp_path):
    """A pipeline's file, whose text is not there; its runs fail at once."""
    path = tmp_path / "my.yaml"
    path.write_text(
        f"name: demo\nroot: {tmp_path}/root\nmodel: {ROOT}/configs/models/tiny.json\n"
        f"examples: {{max_seq_length: 64}}\n"
        f"corpus: {{path: {tmp_path}/corpus}}\npush: {{destination: {tmp_path}/encoders}}\n"
        "schedule: {cron: '0 3 * * 1', timezone: Europe/Berlin}\n"
    )
    return path


@pytest.fixture
def corpus(tmp_path):
    """Text, so that a run begins. Tests remove it while the run waits, so that it fails at once."""
    file = tmp_path / "corpus" / "span-1" / "domain" / "text.txt"
    file.parent.mkdir(parents=True)
    file.write_text("A sentence.\n")
    return file


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "root"))


@pytest.fixture
def due(call, config, store):
    """The schedule was made a week ago, and nobody served it."""
    assert call("create", "--config", config)[0] == 0
    return make_due(store)


def make_due(store):
    return store.change(lambda there: there.model_copy(update={"handled": there.handled - 7 * 24 * HOUR}))


class Process:
    """A command in a process of its own; the lines it prints can be waited for."""

    def __init__(self, *words):
        command = [str(ALBERT), "pipeline", "schedule", *map(str, words)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        self.lines = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(iter(self._process.stdout.readline, "")))
        self._reader.start()
        self.pid = self._process.pid

    def wait_for(self, words):
        end = time.monotonic() + 60
        while not any(words in line for line in list(self.lines)):
            assert self._process.poll() is None and time.monotonic() < end, (words, self.lines)
            time.sleep(0.05)

    def end(self):
        """Waits for it; its exit status."""
        code = self._process.wait(timeout=60)
        self._reader.join(timeout=60)
        return code

    @property
    def said(self):
        return "".join(self.lines)


@pytest.fixture
def processes():
    """Starts processes, and leaves none behind."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            process = Process(*words)
            stack.callback(lambda: process._process.poll() is None and process._process.kill())
            return process

        yield start


# === Making and changing ===


def test_a_schedule_from_its_making_to_its_end(call, config, store):
    words = ("--config", config)
    assert "There is no schedule" in call("list", *words)[1]
    code, said = call("create", *words)
    assert code == 0
    assert "demo: 0 3 * * 1 (Europe/Berlin)" in said
    assert f"albert pipeline schedule serve --config {config}" in said
    _, listed = call("list", *words)
    assert "not served" in listed
    assert "No process makes its runs" in listed
    call("pause", *words)
    assert "paused" in call("list", *words)[1]
    call("resume", *words)
    assert "paused" not in call("list", *words)[1]
    assert call("delete", *words) == (0, "demo: deleted\n")
    assert "There is no schedule" in call("list", *words)[1]
    code, said = call("delete", *words)
    assert code == 1
    assert "--name demo: no such schedule" in said


def test_a_schedule_that_exists(call, config, store):
    call("create", "--config", config)
    code, said = call("create", "--config", config, "--name", "other", "--set", "schedule.cron=5 4 * * *")
    assert code == 1
    assert "has a schedule already: demo, 0 3 * * 1 (Europe/Berlin). --replace takes its place" in said
    code, _ = call("create", "--config", config, "--name", "other", "--set", "schedule.cron=5 4 * * *", "--replace")
    assert code == 0
    replaced = store.read()
    assert (replaced.name, replaced.schedule.cron) == ("other", "5 4 * * *")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("schedule.cron=61 3 * * *", "schedule.cron: '61 3 * * *' is no cron line"),
        ("schedule.cron=0 3 31 2 *", "names a day that never comes"),
        ("schedule.timezone=Mars/Phobos", "schedule.timezone: 'Mars/Phobos' is not known"),
        ("corpus.span=3", "corpus.span: is 3, so that each run would find nothing new"),
        ("schedule=null", "schedule: is missing"),
        ("root=gs://bucket/root", "the local scheduler works on local folders only"),
    ],
)
def test_what_cannot_be_scheduled(call, config, store, setting, words):
    code, said = call("create", "--config", config, "--set", setting)
    assert code == 1
    assert words in said
    assert not os.path.exists(store.path)


def test_a_later_change_of_the_file_is_told_and_has_no_effect(call, config, store):
    call("create", "--config", config)
    before = store.read()
    config.write_text(config.read_text() + "training: {learning_rate: 0.001}\n")
    assert "says something else now" in call("list", "--config", config)[1]
    assert store.read() == before
    call("create", "--config", config, "--replace")
    assert "says something else now" not in call("list", "--config", config)[1]
    assert store.read().settings.training.learning_rate == 0.001


@pytest.mark.parametrize("content", ["", '{"name": "de', "[]", '{"format": 2}'])
def test_a_file_that_is_damaged(call, config, store, content):
    call("create", "--config", config)
    Path(store.path).write_text(content)
    for command in ("list", "pause", "create", "serve"):
        code, said = call(command, "--config", config)
        assert code == 1
        assert "schedule.json: cannot be used" in said
    assert call("create", "--config", config, "--replace")[0] == 0
    assert "not served" in call("list", "--config", config)[1]


def test_a_folder_that_cannot_be_written(call, config, store, tmp_path):
    (tmp_path / "root").write_text("a file")
    code, said = call("create", "--config", config)
    assert code == 1
    assert "root: File exists" in said or "Not a directory" in said


# === Serving ===


def test_nothing_is_due(call, config):
    call("create", "--config", config)
    assert call("serve", "--config", config, "--once") == (0, "")


def test_there_is_nothing_to_serve(call, config):
    code, said = call("serve", "--config", config)
    assert code == 1
    assert "there is no schedule" in said


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    def do_POST(self):
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def webhook():
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        server.posted = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_run_that_fails_is_recorded_and_told(call, config, store, webhook, processes):
    config.write_text(
        config.read_text()
        + f"cloud: {{image: 'albert:1', notify: {{webhook: 'http://127.0.0.1:{webhook.server_port}/'}}}}\n"
    )
    call("create", "--config", config)
    make_due(store)
    process = processes("serve", "--config", config, "--once")
    assert process.end() == 1, process.said
    why = "corpus.path: there is no folder"
    assert f"demo: failed: {why}" in process.said
    (run,) = store.read().runs
    assert run.outcome.words.startswith(why)
    ((key, text),) = webhook.posted[0].items()
    assert key == "text"
    assert text.startswith("demo: the run due at ")
    assert why in text
    assert f"failed: {why}" in " ".join(call("list", "--config", config)[1].split())
    # Not again before the next time.
    assert call("serve", "--config", config, "--once") == (0, "")


def test_two_processes_at_once(call, config, due, corpus, processes):
    """One serves, and runs once; the other says which one does."""
    with filelock.FileLock(os.path.join(due.settings.root, ".lock")):
        first = processes("serve", "--config", config)
        first.wait_for("waiting for another run")
        corpus.unlink()
        second = processes("serve", "--config", config)
        assert second.end() == 1
        assert f"process {first.pid} (since " in second.said
        third = processes("serve", "--config", config, "--once")
        assert third.end() == 0
        assert f"process {first.pid}" in third.said
        listed = call("list", "--config", config)[1]
        assert "running" in listed
        assert f"Served by process {first.pid}" in listed
    first.wait_for("demo: failed: corpus.pattern: no file matches")
    first.wait_for("next run at")
    os.kill(first.pid, signal.SIGTERM)
    assert first.end() == 130
    assert first.said.count("run due at") == 1


def test_a_scheduler_that_is_killed_takes_its_run_along(call, config, due, corpus, store, processes):
    """And makes up for it when it is started again."""
    with filelock.FileLock(os.path.join(due.settings.root, ".lock")):
        first = processes("serve", "--config", config)
        first.wait_for("waiting for another run")
        (child,) = psutil.Process(first.pid).children()
        corpus.unlink()
        os.kill(first.pid, signal.SIGKILL)
        child.wait(timeout=30)
        assert store.read().working
        assert "cut off is made up for" in call("list", "--config", config)[1]
    again = processes("serve", "--config", config, "--once")
    assert again.end() == 1
    assert [run.outcome.result for run in store.read().runs] == ["interrupted", "failed"]
    assert store.read().runs[0].due == store.read().runs[1].due
    assert store.read().working is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_that_is_stopped_stops_its_run(config, due, corpus, store, processes, number):
    with filelock.FileLock(os.path.join(due.settings.root, ".lock")):
        process = processes("serve", "--config", config)
        process.wait_for("waiting for another run")
        (child,) = psutil.Process(process.pid).children()
        os.kill(process.pid, number)
        assert process.end() == 130
        assert not child.is_running()
    assert "Stopping the run at work; it goes on when the schedule is served again." in process.said
    assert process.said.endswith("Stopped.\n")
    assert [run.outcome.result for run in store.read().runs] == ["interrupted"]
    assert store.read().working


def test_a_run_that_is_killed_failed(config, due, corpus, store, processes):
    with filelock.FileLock(os.path.join(due.settings.root, ".lock")):
        process = processes("serve", "--config", config, "--once")
        process.wait_for("waiting for another run")
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        assert process.end() == 1
    (run,) = store.read().runs
    assert run.outcome.words == "its process was ended by SIGKILL: out of memory?"


def test_a_process_that_waits_stops_at_once(call, config, processes):
    call("create", "--config", config)
    process = processes("serve", "--config", config)
    process.wait_for("next run at")
    begin = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    assert process.end() == 130
    assert time.monotonic() - begin < 9  # it looks at the clock every 10 s


def test_the_demo_by_the_clock(call, demo, tmp_path, processes):
    """Nothing is new for it."""
    config = tmp_path / "demo.yaml"
    text = (ROOT / "configs" / "pipelines" / "demo.yaml").read_text()
    config.write_text(text + "schedule: {cron: 0 3 * * *}\n")
    values = {"root": demo.root, "push.destination": demo.encoders, **QUICK}
    values |= {"corpus.path": ROOT / "tests/data/postgresql-manual", "model": ROOT / "configs/models/tiny.json"}
    overrides = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    store = Store(str(demo.root))
    try:
        assert call("create", "--config", config, *overrides)[0] == 0
        make_due(store)
        place = tmp_path / "place.yaml"  # only says where the root is; what runs is in the schedule
        text = text.replace("configs/models", f"{ROOT}/configs/models")
        place.write_text(text.replace("root: runs/demo", f"root: {demo.root}"))
        process = processes("serve", "--config", place, "--once")
        assert process.end() == 0, process.said
        assert "demo: nothing new: span 2: everything was cached, nothing pushed" in process.said
        assert store.read().runs[-1].outcome.result == "nothing new"
        assert demo.versions == ["1", "2"]
    finally:
        store.change(lambda _: None)
