"""albert run-pretraining as users of run_pretraining.py give it, and what they get."""

import json
import re
import shutil
import signal
import subprocess
import time

import click
import h5py
import numpy as np
import pytest
import tensorflow as tf

from albert_model.text.tfrecords import write_tfrecords
from albert_model.weights import keras_h5
from pipeline.examples_cli import create_pretraining_data
from pipeline.pretraining_cli import run_pretraining
from tests.conftest import MANUAL
from tests.demo import ALBERT, ROOT, albert

TEXT = MANUAL / "span-1" / "postgresql" / "manual.txt"
SHORT = ("--max_seq_length=32", "--max_predictions_per_seq=5", "--dupe_factor=1")
FEW = ("--train_batch_size=16", "--num_train_steps=4", "--save_checkpoints_steps=2", "--max_eval_steps=1")


@pytest.fixture(scope="module")
def data(tokenizer, small_config, tmp_path_factory):
    """A config, and records in both layouts as `albert create-pretraining-data` makes them."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "config.json").write_text(small_config.to_json())
    vocabulary = tokenizer.vocabulary.write(folder)
    pages = TEXT.read_text().split("\n\n")
    for name, some, more in (
        ("train.tf_record", pages[:6], [f"--meta_data_file_path={folder}/train_meta_data"]),
        ("train.compact", pages[:6], ["--layout=compact"]),
        ("eval.tf_record", pages[6:8], []),
    ):
        (folder / "text").write_text("\n\n".join(some))
        words = [f"--input_file={folder}/text", f"--output_file={folder}/{name}", f"--spm_model_file={vocabulary}"]
        create_pretraining_data.main([*words, *SHORT, *more], standalone_mode=False)
    return folder


@pytest.fixture
def run(data, tmp_path):
    """Gives what calls the command; flags that are said go before those that every training needs."""
    return caller(data, tmp_path)


def caller(data, folder):
    def call(*flags, output="out", **said):
        words = {
            "albert_config_file": data / "config.json",
            "input_files": data / "train.tf_record",
            "eval_files": data / "eval.tf_record",
            "output_dir": folder / output,
            **said,
        }
        given = [f"--{name}={value}" for name, value in words.items() if value is not None]
        run_pretraining.main([*given, *FEW, *flags], standalone_mode=False)
        return folder / output

    return call


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A training that is done, by itself."""
    return caller(data, tmp_path_factory.mktemp("finished"))()


@pytest.fixture
def trained(finished, tmp_path):
    """The same, for a test to work with."""
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def refused(run):
    def call(*flags, **said):
        with pytest.raises(click.ClickException) as error:
            run(*flags, **said)
        return error.value.message

    return call


def weights_of(folder, config, file=keras_h5.FULL_FILE):
    weights, _ = keras_h5.read(folder / file, config)
    return {name: weights[name] for name in weights}


def same(one, other):
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


# === What users of the original get ===


def test_help_has_the_flags_of_both_scripts():
    done = albert("run-pretraining", "--help")
    assert done.returncode == 0
    for flag in (
        *("albert_config_file", "input_files", "meta_data_file_path", "output_dir", "init_checkpoint", "do_train"),
        *("max_seq_length", "max_predictions_per_seq", "do_eval", "train_batch_size", "eval_batch_size", "optimizer"),
        *("learning_rate", "num_train_epochs", "warmup_proportion", "weight_decay", "adam_epsilon", "strategy_type"),
        *("poly_power", "num_train_steps", "num_warmup_steps", "start_warmup_step", "save_checkpoints_steps"),
        *("keep_checkpoint_max", "max_eval_steps", "use_tpu", "init_from_group0", "masked_lm_budget"),
    ):
        assert re.search(rf"--{flag}\b", done.stdout), flag
    assert "albert run-pretraining --albert_config_file=base/config.json" in done.stdout


def test_what_is_wrong_is_said_before_tensorflow_is_imported(data, tmp_path):
    program = (
        "import sys; from pipeline.cli import main\n"
        "try: main(sys.argv[1:], standalone_mode=False)\n"
        "except Exception as error: print(error.message)\n"
        "print({'tfx', 'apache_beam', 'tensorflow'} & sys.modules.keys())"
    )
    (tmp_path / "config.json").write_text((data / "config.json").read_text().replace("1000", "900"))
    words = [f"--albert_config_file={tmp_path}/config.json", f"--input_files={data}/train.tf_record"]
    command = [ALBERT.with_name("python"), "-c", program, "run-pretraining", *words, f"--output_dir={tmp_path}/out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "and vocab_size is 900. Give the config of the vocabulary that it was made with." in done.stdout
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


def test_the_command_of_the_readme(data, run, small_config, capfd):
    """Trains, says what it does, and leaves what fine-tuning scripts load and what TensorBoard shows."""
    out = run("--do_train", "--log_every=2", meta_data_file_path=data / "train_meta_data", strategy_type="one")
    said = capfd.readouterr().out
    assert "train.tf_record: " in said
    assert "4 steps, " in said
    assert "--learning_rate 0.00176 was published for batches of 4096" in said
    assert "step 4 of 4, loss " in said
    assert "step 4, held out: loss " in said
    full, encoder = (weights_of(out, small_config, name) for name in (keras_h5.FULL_FILE, keras_h5.ENCODER_FILE))
    assert all((full[name] == encoder[name]).all() for name in encoder)
    with h5py.File(out / "tf2_model.h5") as file:
        assert [name.decode() for name in file.attrs["layer_names"]][-1] == "albert_model"
    assert tf.train.latest_checkpoint(str(out)) == str(out / "ckpt-4")
    record = json.loads((out / "training.json").read_text())
    assert (record["steps"], record["finished"], record["settings"]["warmup_steps"]) == (4, True, 0)
    assert record["last_interval"]["mlm_loss"] > 0
    assert len((out / "summaries" / "metrics.jsonl").read_text().splitlines()) >= 3
    assert list((out / "summaries").glob("*/events.out.*"))
    assert not list(out.glob(".unfinished*"))


def test_without_held_out_records(run, small_config):
    assert weights_of(run(eval_files=None), small_config)


def test_steps_are_counted_as_the_original_does(data, run, capfd):
    examples = json.loads((data / "train_meta_data").read_text())["train_data_size"]
    run("--num_train_steps=1000", "--train_batch_size=32", "--warmup_proportion=0.5", "--num_train_epochs=1")
    said = capfd.readouterr().out
    assert f"{examples // 32:,} steps, {examples // 32:,} an epoch" in said
    assert f"warm-up {examples // 64}," in said


def test_the_layout_makes_no_difference(data, run, small_config):
    """As far as the sentence order goes, which padded records cannot leave out: here the masked pieces decide."""
    padded, compact = (
        run(input_files=data / name, output=name, eval_files=None) for name in ("train.tf_record", "train.compact")
    )
    figures = [json.loads((out / "training.json").read_text())["last_interval"] for out in (padded, compact)]
    assert figures[0]["mlm_loss"] == pytest.approx(figures[1]["mlm_loss"], rel=0.01)


def test_records_of_others(run, small_config, tmp_path):
    """Written as google-research/albert does, some features aside that others do not have."""
    generator = np.random.default_rng(0)
    values = []
    for _ in range(32):
        example = tf.train.Example()
        pieces = int(generator.integers(8, 24))
        ids = [2, *generator.integers(5, 1000, pieces - 2), 3] + [0] * (24 - pieces)
        for name, row in {
            "input_ids": ids,
            "input_mask": [1] * pieces + [0] * (24 - pieces),
            "segment_ids": [0] * 5 + [1] * (pieces - 5) + [0] * (24 - pieces),
            "masked_lm_positions": [3, 5, 0],
            "masked_lm_ids": [*generator.integers(5, 1000, 2), 0],
            "next_sentence_labels": [int(generator.integers(2))],
        }.items():
            example.features.feature[name].int64_list.value.extend(map(int, row))
        example.features.feature["masked_lm_weights"].float_list.value.extend([1.0, 1.0, 0.0])
        values.append(example.SerializeToString())
    write_tfrecords(tmp_path / "a.tfrecord", values[:20])
    write_tfrecords(tmp_path / "b.tfrecord", values[20:])
    flags = ("--train_batch_size=16", "--max_seq_length=24", "--max_predictions_per_seq=3")
    out = run(*flags, input_files=tmp_path / "*.tfrecord")
    assert weights_of(out, small_config)


# === Going on ===


def test_an_interrupted_training_goes_on(data, run, small_config, tmp_path):
    words = [f"--albert_config_file={data}/config.json", f"--input_files={data}/train.tf_record"]
    words += [f"--eval_files={data}/eval.tf_record", f"--output_dir={tmp_path}/stopped", *FEW]
    longer = ("--num_train_steps=40", "--log_every=10")
    running = subprocess.Popen(
        [ALBERT, "run-pretraining", *words, *longer],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    while not list(tmp_path.glob("stopped/ckpt-*.index")):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    said, errors = running.communicate(timeout=120)
    assert running.returncode == 143, said + errors
    assert errors.splitlines()[-1] == "Interrupted. The same command goes on where this one stopped."
    assert not (tmp_path / "stopped" / "tf2_model.h5").exists()
    stopped, undisturbed = run(*longer, output="stopped"), run(*longer, output="undisturbed")
    assert same(weights_of(stopped, small_config), weights_of(undisturbed, small_config))


def test_again_when_all_is_done(run, trained, small_config):
    first = weights_of(trained, small_config)
    assert same(first, weights_of(run("--log_every=1"), small_config))


def test_the_folder_of_another_training(data, trained, refused):
    message = refused("--learning_rate=0.001", "--seed=1", input_files=data / "train.compact")
    assert "--learning_rate was 0.00176, and is 0.001" in message
    assert "--seed was 12345, and is 1" in message
    assert "input_files was" in message
    assert f"--init_checkpoint={trained} starts from its weights" in message


def test_a_folder_with_weights_of_others(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tf2_model.h5").write_text("precious")
    assert "has a tf2_model.h5 that is not of this command" in refused()
    assert (tmp_path / "out" / "tf2_model.h5").read_text() == "precious"


# === Weights to start from ===


def test_a_checkpoint_without_its_sentence_order_head(run, checkpoint, small_config, capfd):
    """At a learning rate of next to nothing the weights stay those of the checkpoint."""
    model, folder = checkpoint
    out = run("--learning_rate=1e-30", init_checkpoint=folder / "model.ckpt-best")
    assert "it has none for the sentence-order head: these are random" in capfd.readouterr().out
    trained = weights_of(out, small_config)
    heads = {name for name in trained if "seq_relationship" in name}
    for name in trained.keys() - heads:
        np.testing.assert_allclose(trained[name], model.weights[name], atol=1e-20, err_msg=name)
    assert json.loads((out / "training.json").read_text())["initialised"] == ["sop"]
    assert (out / "vocab" / model.vocabulary.file_name).exists()


def test_the_full_h5_file_by_itself(run, finished, small_config, tmp_path):
    shutil.copy(finished / "tf2_model_full.h5", tmp_path / "alone.h5")
    out = run("--learning_rate=1e-30", init_checkpoint=tmp_path / "alone.h5", output="on")
    assert same(weights_of(out, small_config), weights_of(finished, small_config))


def test_a_checkpoint_of_another_config(data, finished, refused, tmp_path):
    changed = json.loads((data / "config.json").read_text()) | {"num_attention_heads": 2, "num_hidden_layers": 4}
    (tmp_path / "other.json").write_text(json.dumps(changed))
    message = refused(init_checkpoint=finished, albert_config_file=tmp_path / "other.json", output="on")
    assert "num_hidden_layers is 3 there, and 4 in --albert_config_file; num_attention_heads is 4 there" in message
    shutil.copy(finished / "tf2_model_full.h5", tmp_path / "alone.h5")
    changed = json.loads((data / "config.json").read_text()) | {"hidden_size": 64}
    (tmp_path / "other.json").write_text(json.dumps(changed))
    message = refused(init_checkpoint=tmp_path / "alone.h5", albert_config_file=tmp_path / "other.json", output="on")
    assert "query/kernel has shape (32, 32), the config says (64, 64)" in message


# === Scores ===


def test_scores_at_the_end_and_by_themselves(data, run, capfd):
    out = run("--do_train", "--do_eval")
    said = capfd.readouterr().out
    results = json.loads((out / "eval_results.json").read_text())
    assert results["global_step"] == 4
    assert f"masked_lm_loss = {results['masked_lm_loss']:.4g}" in said
    lines = dict(line.split(" = ") for line in (out / "eval_results.txt").read_text().splitlines())
    assert {key: float(value) for key, value in lines.items()} == {key: results[key] for key in lines}
    assert {"loss", "masked_lm_accuracy", "sentence_order_accuracy", "sentence_order_loss"} < lines.keys()

    again = run("--do_eval", init_checkpoint=out / "ckpt-4", input_files=None, output="scores")
    scores = json.loads((again / "eval_results.json").read_text())
    assert scores["masked_lm_loss"] == pytest.approx(results["masked_lm_loss"], rel=1e-5)
    assert not (again / "ckpt-4.index").exists()
    run("--do_eval")
    assert json.loads((out / "eval_results.json").read_text()) == results


# === Mistakes ===


@pytest.mark.parametrize(
    ("flags", "said", "message"),
    [
        ([], {"input_files": "{tmp}/*.none"}, "--input_files: no file matches"),
        ([], {"input_files": None}, "Say --input_files"),
        ([], {"input_files": "{tmp}/empty"}, "empty: there is no record"),
        ([], {"input_files": "{tmp}/cut"}, "the file ends within it. Copy or make the file again"),
        ([], {"eval_files": "{data}/text"}, "text: is no TFRecord file"),
        ([], {"albert_config_file": "{tmp}/none.json"}, "none.json: cannot be read"),
        (
            [],
            {"albert_config_file": "{tmp}/short.json"},
            "examples take 32 positions, and max_position_embeddings is 16",
        ),
        ([], {"meta_data_file_path": "{tmp}/meta"}, "train_data_size is 7, and the files hold"),
        ([], {"meta_data_file_path": "{tmp}/short.json"}, "train_data_size should be a number"),
        ([], {"output_dir": "{data}/text/out"}, "--output_dir: cannot write to"),
        ([], {"output_dir": "gs://bucket/out"}, "is not on this machine"),
        ([], {"init_checkpoint": "{tmp}/none.h5"}, "there is no such file or folder"),
        (["--max_seq_length=64"], {}, "--max_seq_length: max_seq_length is 64, and the records have 32"),
        (["--max_predictions_per_seq=4"], {}, "max_predictions_per_seq is 4, and the records have 5"),
        (["--train_batch_size=100000"], {}, "--train_batch_size: 100000 is more than the"),
        (["--train_batch_size=0"], {}, "--train_batch_size: Input should be greater than or equal to 1"),
        (["--train_batch_size=15", "--accumulation=2"], {}, "--train_batch_size: 15 cannot be divided by 1 devices"),
        (["--strategy_type=many"], {}, "'many' is not one of 'one', 'mirror', 'multiworker', 'tpu'"),
        (["--strategy_type=multiworker"], {}, "--strategy_type: multiworker needs the variable TF_CONFIG"),
        (["--nodo_train"], {}, "Say --do_train, --do_eval or both"),
        (["--nodo_train", "--do_eval"], {}, "has no weights to score. Name them with --init_checkpoint"),
        (["--poly_power=2"], {}, "can only be 1: the learning rate falls in a line"),
        (["--init_from_group0"], {}, "is not supported: a checkpoint has the groups of its config"),
        (["--learning_rat=1"], {}, "No such option: --learning_rat"),
    ],
)
def test_mistakes(data, refused, tmp_path, flags, said, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut").write_bytes((data / "train.tf_record").read_bytes()[:-5])
    (tmp_path / "meta").write_text(
        json.dumps({"train_data_size": 7, "max_seq_length": 32, "max_predictions_per_seq": 5})
    )
    config = json.loads((data / "config.json").read_text()) | {"max_position_embeddings": 16}
    (tmp_path / "short.json").write_text(json.dumps(config))
    given = {name: value and value.format(tmp=tmp_path, data=data) for name, value in said.items()}
    assert message in refused(*flags, **given)
    assert not list(tmp_path.glob("out/*.h5"))


def test_flags_without_a_meaning_are_named(run, capfd):
    run("--iterations_per_loop=10", "-tpu_zone", "here", "--nouse_tpu")
    assert "without a meaning here: --iterations_per_loop, --tpu_zone" in capfd.readouterr().out
