"""What the documentation says is run, or compared with what it speaks of."""

import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from pipeline.conversion_list import read_conversion_list
from pipeline.settings import PipelineSettings, load_settings
from pipeline.settings_reference import reference
from tests.demo import ROOT, albert
from tests.forks import albert_fork

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MANUAL_TEXT = ROOT / "tests" / "data" / "postgresql-manual" / "span-1" / "postgresql" / "manual.txt"
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def blocks(language):
    return [
        pytest.param(block[2], id=f"{page.name}-{number}")
        for page in PAGES
        for number, block in enumerate(BLOCK.finditer(page.read_text()), start=1)
        if block[1] == language
    ]


@pytest.mark.parametrize("block", blocks("bash"))
def test_commands(block, demo, tmp_path):
    """Every command line works: quick ones are run; of the long ones the words are checked, as other tests run them.

    my.yaml is the reader's copy of the demo's file.
    """
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(demo.root)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for line in filter(None, map(str.strip, block.splitlines())):
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            subprocess.run(["make", "--dry-run", *words], check=True, cwd=ROOT, capture_output=True)
        elif program == "albert" and words[:2] == ["pipeline", "run"]:
            check_run(words[2:])
        elif program == "albert" and words[:2] in (["pipeline", name] for name in ("runs", "show", "lineage")):
            done = albert_fork(*words, cwd=tmp_path).done()
            assert done.returncode == 0, done.stdout + done.stderr
        elif program == "albert" and words[:2] in (["pipeline", name] for name in _ELSEWHERE):
            check_elsewhere(words[1:])
        elif program == "albert" and words[0] in ("inspect", "convert", "parity", "versions", "rollback", "verify"):
            check_on_weights(words, tmp_path)
        elif program == "albert" and words[0] == "create-pretraining-data":
            check_on_text(words, demo, tmp_path)
        elif program == "albert" and words[0] == "run-pretraining":
            check_on_records(words, demo, tmp_path)
        elif program == "albert":
            assert albert(*words).returncode == 0, line
        elif program == ".venv/bin/python":
            done = subprocess.run([program, words[0], "--help"], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, line
            assert all(word in done.stdout for word in words if word.startswith("--")), line
        elif program not in ("source", "git", "cd", "tensorboard"):
            pytest.fail(f"a command that this test does not know: {line}")


_ELSEWHERE = ("compile", "check", "submit", "schedule", "backfill")


def check_elsewhere(words):
    """The words are checked, and the file that they name: other tests do what the commands do."""
    from pipeline.cli import pipeline

    command = pipeline.commands[words.pop(0)]
    if words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    with command.make_context(command.name, words) as context:
        name = context.params["config"]
    if name != "my.yaml":
        model = yaml.safe_load((ROOT / name).read_text())["model"]
        load_settings(ROOT / name, {"model": str(ROOT / model)})


def check_run(words):
    from pipeline.cli import run

    with run.make_context("run", list(words)) as context:
        config, overrides = context.params["config"], context.params["overrides"]
        path = ROOT / config.replace("my.yaml", "configs/pipelines/demo.yaml")
        load_settings(path, overrides | {"model": str(ROOT / "configs/models/tiny.json")})


def check_on_weights(words, folder):
    """Commands on the demo's encoder run; of those on files that the reader has, the words are checked."""
    if any(word.startswith("runs/demo") for word in words):
        done = albert_fork(*words, cwd=folder).done()
        assert done.returncode == 0, done.stdout + done.stderr
        return
    from pipeline.cli import main

    command = main.commands[words[0]]
    with command.make_context(words[0], list(words[1:])) as context:
        if manifest := context.params.get("manifest"):
            read_conversion_list(ROOT / manifest)


def check_on_text(words, demo, folder):
    """The command runs on pages of the manual and the demo's vocabulary; of one on Beam the words are checked."""
    from pipeline.cli import main

    if any(word.startswith("--runner") for word in words):
        main.commands[words[0]].make_context(words[0], list(words[1:]))
        return
    for name, pages in (("data/a.txt", slice(0, 3)), ("data/b.txt", slice(3, 6))):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("\n\n".join(MANUAL_TEXT.read_text().split("\n\n")[pages]))
    (folder / "base" / "vocab").mkdir(parents=True, exist_ok=True)
    shutil.copy(demo.encoders / "2" / "vocab" / "spm.model", folder / "base" / "vocab" / "30k-clean.model")
    done = albert_fork(*words, cwd=folder).done()
    assert done.returncode == 0, done.stdout + done.stderr


def check_on_records(words, demo, folder):
    """The command runs for two steps on records of the manual; of one for many machines the words are checked."""
    from pipeline.cli import main

    if any(word.startswith("--strategy_type=multiworker") for word in words):
        main.commands[words[0]].make_context(words[0], list(words[1:]))
        return
    shutil.copytree(demo.encoders / "2", folder / "base", dirs_exist_ok=True)
    making = "create-pretraining-data --input_file=data/*.txt --spm_model_file=base/vocab/30k-clean.model"
    small = ("--max_seq_length=64", "--max_predictions_per_seq=10", "--dupe_factor=1", "--overwrite")
    for records in ("processed/train.tf_record", "held-out/dev.tf_record"):
        metadata = "--meta_data_file_path=processed/train_meta_data" if "train" in records else "--ngram=2"
        check_on_text([*making.split(), f"--output_file={records}", metadata, *small], demo, folder)
    few = ("--num_train_steps=2", "--train_batch_size=8", "--max_eval_steps=2")
    done = albert_fork(*words, *few, cwd=folder).done()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.interop
@pytest.mark.parametrize("block", blocks("py"))
def test_snippets_with_other_software(block, demo, monkeypatch):
    pytest.importorskip("transformers")
    test_snippets(block, demo, monkeypatch)


@pytest.mark.parametrize("block", blocks("python"))
def test_snippets(block, demo, monkeypatch):
    """Snippets run as they stand, on the demo's encoder."""
    monkeypatch.chdir(demo.root.parent)
    exec(compile(block.replace("runs/demo", str(demo.root)), "snippet", "exec"), {})


def test_the_list_of_settings_is_up_to_date():
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page.endswith(reference(PipelineSettings) + "\n"), "docs/settings.md: end it with `albert pipeline settings`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target


_FOLDERS = ("configs", "docs", "tests", "components", "pipeline", "benchmarks", "albert_model", "kubeflow")


def test_files_that_docs_name_exist():
    for page in PAGES:
        for name in re.findall(rf"`((?:{'|'.join(_FOLDERS)})/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def words_of(text):
    """Lines without their numbers: what stays the same in every run."""
    return {" ".join(re.sub(r"[+\d.,:%e-]*\d[\d.,:%e+-]*", "#", line).split()) for line in text.splitlines()}


def test_what_the_readme_shows_of_the_demo_is_what_the_demo_prints(demo):
    (shown,) = (b[2] for b in BLOCK.finditer((ROOT / "README.md").read_text()) if b[1] == "text")
    lines = shown[: shown.index("Runs")].replace("runs/demo", str(demo.root))
    printed = words_of(demo.output)
    assert {line for line in words_of(lines) if line not in printed and line != "…"} == set()
    rows = re.findall(r"^│ (\S.*?) +│", shown, re.MULTILINE)
    assert {"starts from", "documents", "MLM accuracy", "verdict", "pushed"} <= set(rows)
    assert all(f"│ {row} " in demo.output for row in rows)
