"""What the gate lets through on real text, in runs that go on from the demo's second version."""

import gzip
import json
import random
from pathlib import Path

import pytest

from pipeline.lineage import Lineage
from tests.conftest import MANUAL
from tests.demo import ROOT
from tests.pipeline.test_end_to_end import run_again


def judged(demo, span, **settings):
    """What a run said, and its verdict. Nothing is pushed by it."""
    versions = demo.versions
    done = run_again(demo.root, [span], **settings).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert demo.versions == versions
    lineage = Lineage(str(demo.root / "metadata.sqlite"))
    evaluation = lineage.nodes(lineage.run_ids[-1])["Evaluator"].outputs["evaluation"].uri
    return done.stdout, json.loads(Path(evaluation, "verdict.json").read_text())


def failed(verdict):
    return {rule["name"] for rule in verdict["rules"] if not rule["passed"]}


def corpus_at(folder, span, domain, text):
    path = folder / f"span-{span}" / domain / "text.txt"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder


def test_shuffled_words_are_not_blessed(demo, tmp_path):
    """Though the model gets better at them: it learns which words there are."""
    lines = (MANUAL / "span-2" / "postgresql" / "manual.txt").read_text().splitlines()
    words = " ".join(lines).split()
    random.Random(7).shuffle(words)
    remaining = iter(words)
    garbage = "\n".join(" ".join(next(remaining) for _ in line.split()) for line in lines)
    corpus = corpus_at(tmp_path, 3, "postgresql", garbage)
    said, verdict = judged(demo, 3, **{"corpus.path": corpus, "training.max_steps": 60})
    assert "word order" in failed(verdict)
    assert "not blessed: the text reads as if its words were shuffled" in " ".join(said.split())


def test_a_model_that_forgets_general_text_is_stopped_by_the_guard(demo, tmp_path, shared_data):
    """Law makes it better at law, and worse at what it knew."""
    with gzip.open(shared_data / "corpora" / "us_code.txt.gz", "rt") as file:
        law = "".join(next(file) for _ in range(12000))
    settings = {
        **{"corpus.path": corpus_at(tmp_path, 4, "law", law), "training.max_steps": 200},
        **{"evaluation.anchor.path": MANUAL, "evaluation.anchor.pattern": "span-1/*/*.txt"},
        "evaluation.max_forgetting": 0.005,
    }
    said, verdict = judged(demo, 4, **settings)
    assert [(text["text"], text["domain"]) for text in verdict["texts"]] == [
        *(("this text", None), ("this text", "law"), ("text before", None), ("text before", "postgresql")),
        *(("anchor", None), ("anchor", "postgresql")),
    ]
    gain = verdict["texts"][0]["difference"]["mlm_accuracy"]
    assert gain["low"] > 0.01
    assert failed(verdict) == {"forgetting"}
    assert "MLM accuracy on the anchor text -" in " ".join(said.split())


def test_too_few_held_out_documents_are_not_judged(demo):
    said, verdict = judged(demo, 2, **{"evaluation.min_documents": 500})
    assert failed(verdict) == {"enough text"}
    assert "500 documents are needed at least; add text, or raise corpus.eval_fraction" in " ".join(said.split())


def test_between_vocabularies_bits_per_character_decide(demo, tmp_path):
    """Another size of network, too; one step of training makes it worse."""
    config = json.loads((ROOT / "configs" / "models" / "tiny.json").read_text())
    model = tmp_path / "other.json"
    model.write_text(json.dumps(config | {"vocab_size": 1500, "num_hidden_layers": 2}))
    _, verdict = judged(
        demo, 2, **{"model": model, "start": "random", "training.max_steps": 5, "evaluation.min_mlm_accuracy": 0}
    )
    assert verdict["comparison"] == "bits per character"
    this = verdict["texts"][0]
    assert this["difference"]["bits_per_character"]["low"] > 0.1
    assert "gain" in failed(verdict)
    assert 1 < this["baseline"]["bits_per_character"]["value"] < this["candidate"]["bits_per_character"]["value"] < 6


def test_models_of_other_lengths_are_scored_on_what_both_can_read(demo):
    settings = {"examples.max_seq_length": 32, "examples.max_predictions_per_seq": 5, "training.max_steps": 5}
    _, verdict = judged(demo, 2, **settings)
    assert verdict["comparison"] == "same predictions"
    this = verdict["texts"][0]
    assert this["candidate"]["padding_share"] != this["baseline"]["padding_share"]
    assert abs(this["difference"]["mlm_accuracy"]["value"]) < 0.03


@pytest.mark.parametrize("interval", ["mlm_accuracy", "bits_per_character"])
def test_the_good_text_was_blessed_by_a_significant_gain(demo, interval):
    lineage = Lineage(str(demo.root / "metadata.sqlite"))
    evaluation = lineage.nodes(lineage.run_ids[1])["Evaluator"].outputs["evaluation"].uri
    verdict = json.loads(Path(evaluation, "verdict.json").read_text())
    assert verdict["blessed"]
    difference = verdict["texts"][0]["difference"][interval]
    assert difference["low"] > 0 if interval == "mlm_accuracy" else difference["high"] < 0
    assert {rule["name"] for rule in verdict["rules"]} >= {"enough text", "word order", "gain", "forgetting"}
