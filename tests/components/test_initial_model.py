import pytest
from tfx.types import standard_artifacts

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import network as network_weights
from albert_model.weights import package
from albert_model.weights.model import Model
from components import manifests
from components.initial_model import executor
from components.model_layout import package_folder


def model_at(folder):
    model = standard_artifacts.Model()
    model.uri = str(folder)
    return model


@pytest.fixture(scope="module")
def blessed(small_config, tokenizer, tmp_path_factory):
    model = model_at(tmp_path_factory.mktemp("blessed"))
    weights = network_weights.read(AlbertPretrainer(small_config))
    package.write(package_folder(model.uri), Model(small_config, weights, tokenizer.vocabulary))
    return model


def test_without_a_blessed_model_training_starts_from_random_weights(small_config, tmp_path, caplog):
    with caplog.at_level("INFO", "albert"):
        executor.choose(model_at(tmp_path), None, None, small_config.model_dump_json())
    assert manifests.read(str(tmp_path))["source"] == "random"
    assert "starting from random weights" in caplog.text


def test_the_blessed_model_is_passed_on_whole(blessed, small_config, tmp_path, tokenizer, caplog):
    output = model_at(tmp_path)
    with caplog.at_level("INFO", "albert"):
        executor.choose(output, blessed, None, small_config.model_dump_json())
    given, taken = (package.read(package_folder(m.uri)) for m in (blessed, output))
    assert all((given.weights[name] == taken.weights[name]).all() for name in given.weights)
    assert manifests.read(output.uri) == {
        "format_version": 1,
        "source": "blessed model",
        "model_uri": blessed.uri,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "fresh_heads": [],
    }
    assert f"starting from the blessed model {blessed.uri}" in caplog.text


def test_other_sizes_than_the_blessed_models_are_refused(blessed, small_config, tmp_path):
    wanted = small_config.model_copy(update={"num_hidden_layers": 6})
    with pytest.raises(InputError, match=r"num_hidden_layers 3 there, 6 here.*start: random"):
        executor.choose(model_at(tmp_path), blessed, None, wanted.model_dump_json())


def test_another_dropout_is_no_other_network(blessed, small_config, tmp_path):
    wanted = small_config.model_copy(update={"hidden_dropout_prob": 0.1, "initializer_range": 0.01})
    executor.choose(model_at(tmp_path), blessed, None, wanted.model_dump_json())
    assert manifests.read(str(tmp_path))["source"] == "blessed model"


def test_without_a_blessed_model_converted_weights_come_next(blessed, small_config, tmp_path, caplog):
    manifests.write(blessed, {"initialised": ["sop"]})  # as HubConverter says it
    with caplog.at_level("INFO", "albert"):
        executor.choose(model_at(tmp_path), None, blessed, small_config.model_dump_json())
    made = manifests.read(str(tmp_path))
    assert (made["source"], made["fresh_heads"]) == ("converted model", ["sop"])
    assert f"starting from the converted model {blessed.uri}" in caplog.text


def test_a_blessed_model_goes_before_converted_weights(blessed, small_config, tmp_path):
    executor.choose(model_at(tmp_path), blessed, model_at(tmp_path / "other"), small_config.model_dump_json())
    assert manifests.read(str(tmp_path))["model_uri"] == blessed.uri


def test_a_larger_vocabulary_needs_to_be_asked_for(blessed, small_config, tmp_path):
    wanted = small_config.model_copy(update={"vocab_size": 1200}).model_dump_json()
    with pytest.raises(InputError, match=r"vocab_size 1000 there, 1200 here.*set tokenizer\.extend: true"):
        executor.choose(model_at(tmp_path / "a"), blessed, None, wanted)
    executor.choose(model_at(tmp_path / "b"), blessed, None, wanted, extend_vocabulary=True)
    assert manifests.read(str(tmp_path / "b"))["source"] == "blessed model"


@pytest.mark.parametrize("change", [{"vocab_size": 900}, {"vocab_size": 1200, "hidden_size": 64}])
def test_nothing_else_may_change_with_the_vocabulary(blessed, small_config, tmp_path, change):
    wanted = small_config.model_copy(update=change)
    with pytest.raises(InputError, match="set start: random"):
        executor.choose(model_at(tmp_path), blessed, None, wanted.model_dump_json(), extend_vocabulary=True)
