import json

import pytest

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from tests.demo import ROOT

MODELS = sorted((ROOT / "configs" / "models").glob("*.json"))
# Hidden size, layers, heads: arXiv:1909.11942, table 1, and the rule "hidden size / 64" for the heads.
PUBLISHED = {"base": (768, 12, 12), "large": (1024, 24, 16), "xlarge": (2048, 24, 32), "xxlarge": (4096, 12, 64)}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_config_that_ships_is_read_and_round_trips(path):
    config = AlbertConfig.from_file(path)
    assert json.loads(config.to_json()) == json.loads(path.read_text())


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes(size, version):
    config = AlbertConfig.from_file(ROOT / "configs" / "models" / f"{size}_{version}.json")
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == PUBLISHED[size]
    assert config.intermediate_size == 4 * config.hidden_size
    dropout = 0.1 if version == "v1" and size != "xxlarge" else 0.0
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == dropout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size 768 is not a multiple of num_attention_heads 5"),
        ({"num_hidden_groups": 5}, "num_hidden_layers 12 is not a multiple of num_hidden_groups 5"),
        ({"hiden_size": 3}, "hiden_size: is not a known key"),
        ({"vocab_size": "many"}, "vocab_size: Input should be a valid integer"),
    ],
)
def test_a_wrong_config_is_refused_with_file_and_key(tmp_path, change, message):
    values = json.loads((ROOT / "configs" / "models" / "base_v2.json").read_text()) | change
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError) as error:
        AlbertConfig.from_file(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        AlbertConfig.from_file(tmp_path / "nowhere.json")


def test_the_genuine_config_is_read(shared_data):
    config = AlbertConfig.from_file(shared_data / "hub" / "albert_base_3" / "assets" / "albert_config.json")
    assert config == AlbertConfig.from_file(ROOT / "configs" / "models" / "base_v2.json")
