"""Spans in order, one after the other."""

import json
import shlex
import signal
import time

import pytest

from albert_model.errors import InputError
from pipeline.schedule.backfill import spans_to_run
from tests.demo import QUICK, ROOT
from tests.forks import Fork, albert_fork
from tests.pipeline.cloud.fakes import FakeVertex, serving


def backfill(*words):
    """In a process of its own."""
    return albert_fork("pipeline", "backfill", *words)


@pytest.fixture
def corpus(tmp_path, demo_settings):
    """Makes spans; gives settings that read them."""

    def made(*spans, text=b"A sentence.\n"):
        for span in spans:
            file = tmp_path / "corpus" / f"span-{span}" / "domain" / "text.txt"
            file.parent.mkdir(parents=True)
            file.write_bytes(text)
        text_settings = demo_settings.corpus.model_copy(update={"path": str(tmp_path / "corpus")})
        return demo_settings.model_copy(update={"corpus": text_settings, "root": str(tmp_path / "root")})

    return made


def test_spans_in_order(corpus):
    assert spans_to_run(corpus(10, 9, 2), 2, 12, skip_missing=True) == [2, 9, 10]


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (1, 6, "No text of span 3, 4, 6. --skip-missing runs the 3 others in order."),
        (5, 10**9, "No text of span 6, 7, 8, 9, 10, 11, 12, 13 and 999999987 more."),
        (7, 9, "no span from 7 to 9"),
        (2, 1, "Give the lower number first"),
    ],
)
def test_spans_that_are_not_there(corpus, first, last, words):
    with pytest.raises(InputError) as error:
        spans_to_run(corpus(1, 2, 5), first, last, skip_missing=False)
    assert words in str(error.value)


def test_it_stops_at_the_first_failure_and_says_how_to_go_on(corpus, tmp_path):
    settings = corpus(1, 2, 4, text=b"\xff\xfe is no text\n")
    config = tmp_path / "my config.yaml"
    config.write_text(settings.model_dump_json())
    done = backfill("--config", config, "--from", 1, "--to=4", "--skip-missing").done()
    assert done.returncode == 1
    assert "demo, span 1 (1 of 3)" in done.stdout
    assert "span 2" not in done.stdout
    go_on = ["albert", "pipeline", "backfill", "--config", str(config), "--from", "1", "--to=4", "--skip-missing"]
    assert f"Stopped at span 1; 0 of 3 spans are done. To go on:\n  {shlex.join(go_on)}\n" in done.stderr
    assert "Error: " in done.stderr
    assert "UTF-8" in done.stderr


@pytest.fixture
def of_demo(demo):
    values = {"root": demo.root, "push.destination": demo.encoders, **QUICK}
    overrides = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return ["--config", ROOT / "configs" / "pipelines" / "demo.yaml", *overrides]


def test_what_was_done_before_is_cached(demo, of_demo):
    done = backfill(*of_demo, "--from", 1, "--to", 2).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing new: everything was cached, nothing pushed") == 2
    for line in ("demo, span 1 (1 of 2)", "demo, span 2 (2 of 2)"):
        assert line in done.stdout
    table = done.stdout[done.stdout.index("Runs") :]
    assert "span 1" in table
    assert "span 2" in table
    assert demo.versions == ["1", "2"]


def test_it_goes_on_where_it_was_interrupted(demo, of_demo):
    process = backfill(*of_demo, "--from=1", "--to=2")
    stdout, _ = process._written
    end = time.monotonic() + 300
    while "(2 of 2)" not in stdout.read_text():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    done = process.done()
    assert done.returncode == 130
    assert "Stopped at span 2; 1 of 2 spans are done. To go on:" in done.stderr
    assert "--from=2 --to=2" in done.stderr
    assert "span 1" in done.stdout[done.stdout.index("Runs") :]


# === On a service ===


def test_on_a_service_it_waits_for_the_run_that_it_left_at_work(monkeypatch):
    """The run goes on where Ctrl-C ends the waiting for it."""
    fake = FakeVertex()
    parent = "projects/a-project/locations/us-central1/pipelineJobs"
    left = {"name": f"{parent}/left", "pipelineSpec": {"pipelineInfo": {"name": "news"}}}
    fake.jobs[left["name"]] = left | {"state": "PIPELINE_STATE_RUNNING"}
    with serving(fake) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        done = Fork(_backfill_on_vertex, url).done()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("  http")]
    assert lines == [
        *("span 1 (1 of 2)", "news: a run is at work; waiting for its end"),
        *("news: submitted, of span 1", "news: succeeded"),
        *("span 2 (2 of 2)", "news: submitted, of span 2", "news: succeeded"),
    ]
    asked = [(request.method, request.path.rpartition("/")[2]) for request in fake.requests]
    assert asked.index(("GET", "left")) < asked.index(("POST", "pipelineJobs"))
    assert len(fake.jobs) == 3


def _backfill_on_vertex(url: str) -> None:
    import tensorflow as tf

    from pipeline.cli import main

    for span in (1, 2):
        tf.io.gfile.makedirs(f"ram://corpus/span-{span}/manual")
        with tf.io.gfile.GFile(f"ram://corpus/span-{span}/manual/a.txt", "w") as file:
            file.write("One sentence.\n")
    cloud = {"image": "example/albert:1.0", "project": "a-project", "host": url}
    values = {"name": "news", "root": "gs://bucket/root", "corpus.path": "ram://corpus", "cloud": json.dumps(cloud)}
    words = [f"--set={key}={value}" for key, value in (values | {"push.destination": "ram://out"}).items()]
    config = ROOT / "configs" / "pipelines" / "demo.yaml"
    main(["pipeline", "backfill", "--target=vertex", f"--config={config}", "--from=1", "--to=2", *words])
