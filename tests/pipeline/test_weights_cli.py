"""albert convert, inspect and parity as users give them, and what they get for what they may do wrong."""

import json
import shutil
import subprocess

import pytest
import yaml

from albert_model.config import AlbertConfig
from albert_model.weights import keras_h5, package, tf1_checkpoint
from tests.albert_model.weights.other_software import write_hub_module
from tests.demo import ALBERT, ROOT, albert
from tests.forks import albert_fork


def listing(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(*arguments, status=1):
    done = albert_fork(*arguments).done()
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("command", ["convert", "inspect", "parity"])
def test_help_has_examples_and_is_quick(command):
    done = albert(command, "--help")
    assert done.returncode == 0
    assert f"albert {command} " in done.stdout


def test_the_commands_do_not_import_tfx(checkpoint):
    program = (
        "import sys; from pipeline.cli import main; main(['inspect', sys.argv[1]], standalone_mode=False); "
        "print({'tfx', 'apache_beam'} & sys.modules.keys())"
    )
    python = ALBERT.with_name("python")
    done = subprocess.run([python, "-c", program, checkpoint[1]], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


def test_several_formats_at_once(checkpoint, tmp_path):
    made, folder = checkpoint
    output = tmp_path / "converted"
    done = albert("convert", folder, "--to", "keras_h5", "--to", "huggingface", "--output", output)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(child.name for child in output.iterdir()) == [
        *("conversion.json", "huggingface", "keras_h5", "parity.json")
    ]
    assert "freshly initialised: sentence-order head" in done.stdout
    assert f"Converted and proven: {output}" in done.stdout
    read = package.read(output / "keras_h5")
    assert all((read.weights[name] == made.weights[name]).all() for name in made.only(("encoder", "mlm")).weights)
    again = refused("convert", folder, "--to", "keras_h5", "--to", "huggingface", "--output", output)
    assert "has conversion.json, parity.json already" in again
    done = albert_fork("convert", folder, "--to", "keras_h5", "--output", output, "--overwrite").done()
    assert done.returncode == 0


@pytest.fixture
def module(checkpoint, small_config, tmp_path):
    """A TF-Hub module, unpacked as ALBERT-TF2.0's documentation says."""
    made, _ = checkpoint
    published = made.only(("encoder", "pooler", "mlm")).weights
    folder = write_hub_module(tmp_path / "base", small_config, dict(published))
    made.vocabulary.write(folder / "assets")
    (folder / "assets" / "albert_config.json").write_text(small_config.to_json())
    return folder


@pytest.mark.parametrize(
    ("flags", "file", "arrays"),
    [
        (["--model_type=albert_encoder", "--version=2"], "tf2_model.h5", 25),
        (["--model-type=albert"], "tf2_model_full.h5", 32),
    ],
)
def test_the_flags_of_albert_tf2(module, small_config, flags, file, arrays):
    before = listing(module)
    done = albert_fork("convert", f"--tf_hub_path={module}/", *flags).done()
    assert done.returncode == 0, done.stdout + done.stderr
    after = listing(module)
    added = {"config.json", "vocab/spm.model", "vocab/spm.vocab", "vocab/tokenizer_config.json"}
    assert after.keys() - before.keys() == {file, "conversion.json", "parity.json", *added}
    assert before.items() <= after.items()
    weights, _ = keras_h5.read(module / file, AlbertConfig.from_file(module / "config.json"))
    assert len(weights) == arrays
    done = albert_fork("convert", f"--tf_hub_path={module}/", *flags).done()
    assert done.returncode == 0  # and once more over it


def test_a_size_that_is_not_the_modules_is_refused(module):
    before = listing(module)
    message = refused("convert", "--tf_hub_path", module, "--model", "base", "--version", "1")
    assert "bert/embeddings/word_embeddings has shape (1000, 16), the config says (30000, 128)" in message
    assert listing(module) == before


def test_inspect_says_what_a_model_is(checkpoint, small_config):
    made, folder = checkpoint
    found = json.loads(albert("inspect", folder, "--json").stdout)
    assert (found["format"], found["architecture"]) == ("tf1_checkpoint", "albert")
    assert (found["parts"], found["missing heads"]) == (["encoder", "pooler", "mlm"], ["sop"])
    assert found["vocabulary"]["released"] is False
    assert found["parameters"] == sum(array.size for array in made.only(("encoder", "pooler", "mlm")).weights.values())
    assert {"name": "bert/pooler/dense/bias", "shape": [32], "part": "pooler"} in found["variables"]
    shown = albert_fork("inspect", folder).done().stdout
    assert found["fingerprint"] in shown
    assert "bert/embeddings/word_embeddings" in shown


def test_parity_of_two_and_of_three(checkpoint, small_config, tmp_path):
    made, folder = checkpoint
    albert_fork("convert", folder, "--to", "saved_model", "--output", tmp_path / "saved").done()
    done = albert("parity", folder, tmp_path / "saved", "--output", tmp_path / "report.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "They compute the same." in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["agrees"]

    changed = {name: array.copy() for name, array in made.weights.items()}
    changed["bert/pooler/dense/bias"] += 0.1
    shutil.copytree(folder, tmp_path / "changed")
    tf1_checkpoint.write(tmp_path / "changed" / "model.ckpt-best", changed, small_config)
    done = albert_fork("parity", folder, tmp_path / "saved", tmp_path / "changed").done()
    assert done.returncode == 1
    assert "bert/pooler/dense/bias" in done.stdout
    assert f"{tmp_path / 'changed'} disagrees: " in done.stdout


def test_a_list_of_models(checkpoint, tmp_path):
    _, folder = checkpoint
    models = [{"name": "one", "source": str(folder)}, {"name": "lost", "source": str(tmp_path / "nowhere")}]
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": models}))
    command = ["convert", "--manifest", tmp_path / "models.yaml", "--to", "keras_h5", "--output", tmp_path / "out"]
    done = albert_fork(*command).done()
    assert done.returncode == 1
    assert "nowhere: there is no such file or folder" in done.stdout
    assert "1 of 2 models failed" in done.stderr
    assert package.read(tmp_path / "out" / "one")
    assert [child.name for child in (tmp_path / "out").iterdir()] == ["one"]
    assert "there already" in albert_fork(*command).done().stdout


def test_what_is_wrong_in_a_list_is_named(tmp_path):
    (tmp_path / "models.yaml").write_text("models: [{name: a, source: b, sizes: 3}]")
    message = refused("convert", "--manifest", tmp_path / "models.yaml", "--to", "keras_h5", "--output", tmp_path)
    assert "models.0.sizes: is not a known key" in message


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["convert"], 2, "Give one of SOURCE, --manifest and --tf-hub-path"),
        (["convert", "nowhere"], 2, "Say --to"),
        (["convert", "nowhere", "--to", "keras_h5", "--output", "x"], 1, "nowhere: there is no such file or folder"),
        (["convert", "nowhere", "--to", "onnx", "--output", "x"], 2, "'onnx' is not one of"),
        (["convert", "--tf-hub-path", "nowhere"], 2, "holds no TF-Hub module"),
        (
            ["convert", "x", "--config", "none.json", "--to", "keras_h5", "--output", "x"],
            1,
            "none.json: cannot be read",
        ),
        (["convert", "x", "--sha256", "12", "--to", "keras_h5", "--output", "x"], 1, "sha256"),
        (["inspect", "configs"], 1, "configs: holds nothing that can be read as a model"),
        (["parity", "one"], 2, "Give two or three models, not 1"),
    ],
)
def test_mistakes(arguments, status, message):
    assert message in refused(*arguments, status=status)


def test_a_refused_conversion_leaves_no_output(checkpoint, tmp_path):
    _, folder = checkpoint
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    data = damaged / "model.ckpt-best.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1000])
    message = refused("convert", damaged, "--to", "huggingface", "--output", tmp_path / "out")
    assert "cannot be read" in message
    assert not (tmp_path / "out").exists()
    assert sorted(child.name for child in tmp_path.iterdir()) == ["damaged"]
