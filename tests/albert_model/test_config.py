import json

import pytest

from albert_model.config import PUBLISHED_SIZES, AlbertConfig, read_json
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


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_what_is_published_is_what_ships(size, version):
    path = ROOT / "configs" / "models" / f"{size}_v{min(version, 2)}.json"
    assert AlbertConfig.published(size, version) == AlbertConfig.from_file(path)


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


# === BERT ===

# As Google's small BERTs have it, with the keys that some of its releases add.
BERT = {
    "hidden_size": 128,
    "hidden_act": "gelu",
    "initializer_range": 0.02,
    "vocab_size": 30522,
    "hidden_dropout_prob": 0.1,
    "num_attention_heads": 2,
    "type_vocab_size": 2,
    "max_position_embeddings": 512,
    "num_hidden_layers": 4,
    "intermediate_size": 512,
    "attention_probs_dropout_prob": 0.1,
    "directionality": "bidi",
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_type": "first_token_transform",
}


def write(path, values):
    path.write_text(json.dumps(values))
    return path


def test_a_bert_config_is_read_with_what_it_leaves_unsaid(tmp_path):
    config = AlbertConfig.from_file(write(tmp_path / "bert_config.json", BERT), "bert")
    assert config.architecture == "bert"
    assert (config.embedding_size, config.num_hidden_groups, config.inner_group_num) == (128, 4, 1)
    assert not config.projects_embedding
    assert {key: getattr(config, key) for key in BERT if key in AlbertConfig.model_fields} == {
        key: value for key, value in BERT.items() if not key.startswith(("directionality", "pooler"))
    }


def test_a_bert_may_have_a_factorised_embedding(tmp_path):
    config = AlbertConfig.from_file(write(tmp_path / "bert_config.json", BERT | {"embedding_size": 64}), "bert")
    assert (config.embedding_size, config.projects_embedding) == (64, True)


@pytest.mark.parametrize("read_as", ["albert", "bert"])
def test_a_berts_config_round_trips_and_says_what_it_is(tmp_path, read_as):
    config = AlbertConfig.from_values(BERT | {"architecture": "bert"}, "a test")
    (tmp_path / "config.json").write_text(config.to_json())
    assert read_json(tmp_path / "config.json")["architecture"] == "bert"
    assert AlbertConfig.from_file(tmp_path / "config.json", read_as) == config


def test_an_alberts_config_has_googles_keys_alone():
    assert "architecture" not in json.loads(AlbertConfig.published("base").to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_groups": 1}, "a BERT has one group for each layer (num_hidden_groups) and inner_group_num 1"),
        ({"inner_group_num": 2}, "a BERT has one group for each layer (num_hidden_groups) and inner_group_num 1"),
        ({"pooler": 1}, "pooler: is not a known key"),
        ({"hidden_act": "gelu_new"}, "hidden_act: Input should be 'gelu', 'gelu_erf' or 'relu' (got 'gelu_new')"),
        ({"architecture": "gpt"}, "architecture: Input should be 'albert' or 'bert' (got 'gpt')"),
    ],
)
def test_a_wrong_bert_config_is_refused_with_file_and_key(tmp_path, change, message):
    path = write(tmp_path / "bert_config.json", BERT | change)
    with pytest.raises(InputError) as raised:
        AlbertConfig.from_file(path, "bert")
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_a_berts_own_keys_are_unknown_to_an_albert(tmp_path):
    with pytest.raises(InputError, match="directionality: is not a known key"):
        AlbertConfig.from_file(write(tmp_path / "albert_config.json", BERT))


@pytest.mark.parametrize(("content", "message"), [(b"\xff", "not JSON"), (b"[]", "should hold a JSON object")])
def test_a_file_of_something_else_is_named(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        AlbertConfig.from_file(tmp_path / "config.json")


def test_the_genuine_bert_config_is_read(shared_data):
    config = AlbertConfig.from_file(shared_data / "checkpoints" / "simbert_tiny_zh" / "bert_config.json", "bert")
    assert (config.num_hidden_layers, config.num_hidden_groups, config.embedding_size) == (4, 4, 128)


@pytest.mark.parametrize(
    ("change", "same"),
    [({"hidden_dropout_prob": 0.3}, True), ({"num_attention_heads": 4}, False), ({"hidden_act": "relu"}, False)],
)
def test_configs_share_weights_if_the_network_is_the_same(change, same):
    one, other = (AlbertConfig.from_values(BERT | {"architecture": "bert"} | c, "a test") for c in ({}, change))
    assert (one.network() == other.network()) == same
