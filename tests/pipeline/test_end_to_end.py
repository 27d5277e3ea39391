"""The demo's story: trained from scratch, trained on from there on newer text, and nothing to do the third time."""

import json
import math
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

from albert_model.text.tokenizer import read_vocabulary
from albert_model.weights import network as network_weights
from albert_model.weights import package
from albert_model.weights.names import parameters
from components import manifests
from components.model_layout import package_folder
from pipeline.lineage import Lineage
from tests.demo import ROOT, demo_command
from tests.forks import Fork, albert_fork

COMPONENTS = [
    *("DocumentGen", "InitialModel", "TokenizerTrainer", "PretrainingExampleGen", "StatisticsGen", "SchemaGen"),
    *("ExampleValidator", "Transform", "Trainer", "Evaluator", "ExportCheck", "EncoderPusher", "Report"),
]


@pytest.fixture(scope="module")
def runs(demo):
    """What each node did in each of the three runs, resolvers left out."""
    lineage = Lineage(str(demo.root / "metadata.sqlite"))
    first = lineage.run_ids[:3]  # other tests may have run it since
    return [{n: r for n, r in lineage.nodes(i).items() if not r.is_resolver} for i in first]


def run_again(root, spans, **settings) -> Fork:
    """In a process of its own."""
    _, *words = demo_command(root, spans, **settings)
    return albert_fork(*words)


def metrics(run):
    path = Path(run["Trainer"].outputs["model_run"].uri, "metrics.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_component_ran_once_in_each_of_three_runs(runs):
    assert [list(run) for run in runs] == [COMPONENTS] * 3


def test_two_runs_worked_and_the_third_was_all_cached(runs):
    states = [{node.state for node in run.values()} for run in runs]
    assert states == [{"COMPLETE"}, {"COMPLETE"}, {"CACHED"}]


def test_both_models_were_blessed_and_pushed_once(runs, demo):
    blessed = [run["Evaluator"].outputs["blessing"].custom_properties["blessed"].int_value for run in runs]
    assert blessed == [1, 1, 1]
    assert demo.versions == ["1", "2"]
    # The third run's blessing and push are those of the second, not new ones.
    for component, channel in (("Evaluator", "blessing"), ("EncoderPusher", "pushed_model")):
        assert runs[2][component].outputs[channel].id == runs[1][component].outputs[channel].id


def test_the_second_run_starts_from_the_first_and_is_compared_with_it(runs):
    first = runs[0]["Trainer"].outputs["model"].id
    assert "blessed_model" not in runs[0]["InitialModel"].inputs
    assert "baseline_model" not in runs[0]["Evaluator"].inputs
    assert runs[1]["InitialModel"].inputs["blessed_model"].id == first
    assert runs[1]["Evaluator"].inputs["baseline_model"].id == first


def test_the_second_training_goes_on_where_the_first_ended(runs):
    """Held-out losses, as those of single batches jump; the spans hold the same kind of text."""
    from_scratch, *_, last = (line["mlm_loss"] for line in metrics(runs[0]) if line["split"] == "eval")
    warm, *_, better = (line["mlm_loss"] for line in metrics(runs[1]) if line["split"] == "eval")
    assert abs(from_scratch - math.log(2000)) < 0.2
    assert abs(warm - last) < 0.2
    assert better < warm < from_scratch - 0.5
    first_step = next(line["mlm_loss"] for line in metrics(runs[1]) if line["split"] == "train")
    assert first_step < from_scratch - 0.5


def test_one_vocabulary_goes_through_both_runs(runs):
    sources = [run["TokenizerTrainer"].outputs["tokenizer"].custom_properties["source"].string_value for run in runs]
    assert sources == ["trained", "initial model", "initial model"]
    fingerprints = {
        run[component].outputs[channel].custom_properties[key].string_value
        for run in runs
        for component, channel, key in (
            ("TokenizerTrainer", "tokenizer", "fingerprint"),
            ("PretrainingExampleGen", "examples", "tokenizer_fingerprint"),
        )
    }
    assert len(fingerprints) == 1


def test_the_spans_hold_other_documents(runs):
    documents = [run["DocumentGen"].outputs["examples"].custom_properties for run in runs]
    assert [d["span"].int_value for d in documents] == [1, 2, 2]
    # A few pages of one sentence repeated may be left out as duplicates; most of the 246 pages are not.
    assert all(d["documents"].int_value > 200 for d in documents)


def test_what_is_measured_is_what_the_trainer_saw(runs):
    """TFMA, on the exported model and through its own Transform graph, agrees with the training loop's last scores."""
    for run in runs[:2]:
        verdict = json.loads(Path(run["Evaluator"].outputs["evaluation"].uri, "verdict.json").read_text())
        everything, postgresql = verdict["texts"][:2]
        assert [everything["domain"], postgresql["domain"]] == [None, "postgresql"]
        assert everything["candidate"] == postgresql["candidate"]
        seen = [line for line in metrics(run) if line["split"] == "eval"][-1]
        for name in ("mlm_accuracy", "mlm_loss", "sop_accuracy", "sop_loss"):
            assert everything["candidate"][name]["value"] == pytest.approx(seen[name], rel=1e-4)
        eval_examples = run["PretrainingExampleGen"].outputs["examples"].custom_properties["eval_examples"].int_value
        assert everything["examples"] == eval_examples


def test_the_pushed_files_agree_with_each_other(demo):
    """tf2_model.h5, tf2_model_full.h5, and the SavedModel hold one encoder."""
    for version in ("1", "2"):
        folder = demo.encoders / version
        pushed = package.read(folder)
        rows = [row for row in parameters(pushed.config) if row.role in ("encoder", "pooler")]
        with h5py.File(folder / "tf2_model.h5") as file:
            group = file["albert_model"]
            arrays = [group[name][()] for name in group.attrs["weight_names"]]
        encoder_weights = dict(zip((row.name for row in rows), arrays, strict=True))
        assert all((encoder_weights[row.name] == pushed.weights[row.name]).all() for row in rows)

        network = pushed.network()
        network_weights.assign(network, pushed.weights | encoder_weights, "tf2_model.h5")
        tokenizer = read_vocabulary(folder / "vocab")
        ids = tokenizer.encode(["The planner reads statistics.", "An index may be used."]).rows()
        sequence = [tokenizer.cls_id, *ids[0], tokenizer.sep_id, *ids[1], tokenizer.sep_id]
        inputs = {
            "input_word_ids": tf.constant([sequence]),
            "input_mask": tf.ones((1, len(sequence)), tf.int32),
            "input_type_ids": tf.constant([[0] * (len(ids[0]) + 2) + [1] * (len(ids[1]) + 1)]),
        }
        expected = network.encoder(*inputs.values())
        saved = tf.saved_model.load(str(folder / "saved_model"))
        for name in ("pooled_output", "sequence_output"):
            np.testing.assert_allclose(saved(inputs)[name], expected[name], atol=1e-5)
            np.testing.assert_allclose(saved.signatures["serving_default"](**inputs)[name], expected[name], atol=1e-5)


def test_the_pushed_encoder_can_be_fine_tuned(demo):
    """As the documentation of tensorflow/albert_en_base/1 does: three inputs, two outputs, a classifier."""
    folder = demo.encoders / "2"
    tokenizer = read_vocabulary(folder / "vocab")
    subjects = [
        f"the {kind} {word}" for kind in ("first", "second", "new", "old") for word in ("table", "query", "row")
    ]
    texts = [f"{subject} {verb}" for subject in subjects for verb in ("uses an index.", "waits for a lock.")]
    rows = [[tokenizer.cls_id, *ids, tokenizer.sep_id] for ids in tokenizer.encode(texts).rows()]
    word_ids = np.array([[*row, *[0] * (24 - len(row))] for row in rows])
    inputs = [word_ids, (word_ids > 0).astype(np.int32), np.zeros_like(word_ids)]

    names = ("input_word_ids", "input_mask", "input_type_ids")
    layers = [tf_keras.layers.Input((24,), dtype=tf.int32, name=name) for name in names]
    pooled_output, sequence_output = hub.KerasLayer(str(folder / "saved_model"), trainable=True)(layers)
    assert sequence_output.shape[-1] == pooled_output.shape[-1] == 128
    model = tf_keras.Model(layers, tf_keras.layers.Dense(2)(pooled_output))
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-3), loss, ["accuracy"])
    history = model.fit(inputs, np.array([0, 1] * len(subjects)), batch_size=8, epochs=8, verbose=0).history
    assert history["accuracy"][-1] == 1.0
    assert history["loss"][-1] < history["loss"][0] / 2


def test_the_pushed_weights_are_those_of_the_trained_model(runs, demo):
    for run, version in zip(runs, "12", strict=False):
        trained = package.read(package_folder(run["Trainer"].outputs["model"].uri))
        pushed = package.read(demo.encoders / version)
        assert all((trained.weights[name] == pushed.weights[name]).all() for name in trained.weights)


def test_the_schema_and_the_statistics_describe_the_examples(runs):
    for run in runs[:2]:
        anomalies = Path(run["ExampleValidator"].outputs["anomalies"].uri)
        assert {path.name for path in anomalies.iterdir()} == {"Split-train", "Split-eval"}
        schema = Path(run["SchemaGen"].outputs["schema"].uri, "schema.pbtxt").read_text()
        for feature in ("input_ids", "masked_lm_ids", "sentence_order_label", "document_id", "domain"):
            assert f'name: "{feature}"' in schema


def test_the_screen_tells_the_story_and_nothing_else(demo):
    for line in (
        "starting from random weights: no blessed model yet",
        "2,000 pieces, trained",
        "pushed version 1",
        "starting from the blessed model",
        "2,000 pieces, initial model",
        "pushed version 2",
        "nothing new: everything was cached, nothing pushed",
    ):
        assert demo.output.count(line) == 1, line
    table = demo.output[demo.output.index("starts from") :]
    for word in ("scratch", "version 1", "documents", "tokens/s", "MLM accuracy", "SOP accuracy", "verdict", "→"):
        assert word in table
    assert not any(noise in demo.output for noise in ("Traceback", "WARNING", "absl", "cuda", "oneDNN"))
    assert "Component Trainer is running." in (demo.root / "run.log").read_text()


def test_nothing_is_left_in_the_temporary_folder(demo):
    assert [str(path) for path in demo.temporary.rglob("*") if path.is_file()] == []


def test_a_later_run_in_a_process_of_its_own_finds_everything_in_the_cache(demo):
    """Also for the older span: its model was there before the newer one, and is not compared with it."""
    for span in (1, 2):
        done = run_again(demo.root, [span]).done()
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"demo, span {span}: nothing new: everything was cached, nothing pushed" in done.stdout
        assert not any(word in done.stdout for word in ("DocumentGen", "Runs", "tokens/s"))
    assert demo.versions == ["1", "2"]


def test_the_latest_span_is_the_same_as_its_number(demo):
    done = run_again(demo.root, []).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "demo, span 2" in done.stdout
    assert "nothing new: everything was cached, nothing pushed" in done.stdout


def test_a_version_that_is_gone_is_said_to_be(demo):
    moved = (demo.encoders / "2").rename(demo.encoders / "away")
    try:
        done = run_again(demo.root, [2]).done()
    finally:
        moved.rename(demo.encoders / "2")
    assert f"warning: {demo.encoders / '2'} was pushed before and is gone" in done.stdout


def test_a_model_that_is_not_better_is_not_pushed(demo):
    """One step on from version 1 gains too little, and the run says so."""
    settings = {"training.max_steps": 1, "evaluation.min_mlm_accuracy_gain": 0.05}
    done = run_again(demo.root, [2], **settings).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not blessed: MLM accuracy" in done.stdout
    assert "against version 2, should be +5.00 points or better" in done.stdout
    assert "nothing pushed: the model was not blessed" in done.stdout
    assert demo.versions == ["1", "2"]


def test_a_model_below_the_floor_is_not_pushed(demo):
    settings = {"training.max_steps": 1, "start": "random", "evaluation.min_mlm_accuracy": 0.99}
    done = run_again(demo.root, [1], **settings).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"not blessed: MLM accuracy \d\.\d\d% is below the floor of 99\.00%", done.stdout)
    assert demo.versions == ["1", "2"]


def test_a_run_whose_screen_is_closed_goes_on(demo):
    """As with `| head`."""
    command = f"{shlex.join(demo_command(demo.root, [2]))} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_that_was_killed_in_training_goes_on_and_ends_with_the_same_weights(demo, tmp_path):
    process = run_again(tmp_path, [1])
    try:
        while not any("ckpt-50" in path.read_text() for path in tmp_path.glob("checkpoints/*/checkpoint")):
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = run_again(tmp_path, [1]).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming at step 50 of 200" in done.stdout
    undisturbed, resumed = (package.read(root / "encoders" / "1").weights for root in (demo.root, tmp_path))
    assert all((undisturbed[name] == resumed[name]).all() for name in undisturbed)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_the_pushed_manifest_says_where_the_model_came_from(runs, demo):
    lineage = json.loads((demo.encoders / "2" / "manifest.json").read_text())["lineage"]
    assert lineage["model"] == runs[1]["Trainer"].outputs["model"].uri
    assert lineage["start"]["source"] == "blessed model"
    assert lineage["start"]["model_uri"] == runs[0]["Trainer"].outputs["model"].uri
    examples = manifests.read(runs[1]["PretrainingExampleGen"].outputs["examples"].uri)
    assert lineage["examples"]["documents"] == examples["documents"]
    assert lineage["tokenizer_fingerprint"] == examples["tokenizer_fingerprint"]


def test_converted_weights_are_as_good_a_start_as_the_model_itself(demo, tmp_path):
    """Version 1, as its Hugging Face folder, in a pipeline that knows nothing of it: the same training, bit for bit."""
    source = demo.encoders / "1" / "huggingface"
    done = run_again(tmp_path, [2, 2], **{"initial.source": source}).done()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{source} converted and proven" in done.stdout
    assert "starting from the converted model" in done.stdout
    assert done.stdout.count("nothing new: everything was cached, nothing pushed") == 1
    folders = (demo.encoders / "2", tmp_path / "encoders" / "1")
    from_blessed, from_converted = (package.read(folder).weights for folder in folders)
    assert all((from_blessed[name] == from_converted[name]).all() for name in from_blessed)
    start = json.loads((tmp_path / "encoders" / "1" / "manifest.json").read_text())["lineage"]["start"]
    assert start["source"] == "converted model"
