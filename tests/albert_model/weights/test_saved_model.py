import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS
from albert_model.weights import parity, reference, saved_model, source
from albert_model.weights.settings import ReadOptions
from tests.albert_model.weights.other_software import split_heads, tensorflow_models_name, write_saved_model
from tests.albert_model.weights.small_models import (
    ALBERT,
    BERT,
    CONFIGS,
    ENCODER,
    assert_close,
    assert_same,
    random_model,
    random_weights,
)

INPUTS = parity.make_inputs(ALBERT)["padded"]
VALID = INPUTS["input_mask"].astype(bool)
FEEDS = {name: tf.constant(INPUTS[name]) for name in ENCODER_INPUTS}


# === What this project writes ===


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def network(model):
    return model.network()


@pytest.fixture(scope="module")
def folder(model, network, tmp_path_factory):
    vocabulary = model.vocabulary.write(tmp_path_factory.mktemp("vocab"))
    target = tmp_path_factory.mktemp("saved_model")
    saved_model.write(target, network, vocabulary)
    return target


@pytest.fixture(scope="module")
def module(folder):
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def expected(network):
    return network(INPUTS)


def test_the_dict_call_computes_what_the_network_does(module, expected):
    outputs = module(FEEDS)
    assert outputs.keys() == {"pooled_output", "sequence_output", "default", "encoder_outputs"}
    for name in ("pooled_output", "sequence_output"):
        assert_close(outputs[name].numpy(), expected[name].numpy(), 2e-5)
    assert (outputs["default"].numpy() == outputs["pooled_output"].numpy()).all()
    for ours, theirs in zip(outputs["encoder_outputs"], expected["encoder_outputs"], strict=True):
        assert_close(ours.numpy(), theirs.numpy(), 2e-5)


def test_the_list_call_gives_the_pooled_and_the_sequence_output(module, expected):
    pooled, sequence = module(list(FEEDS.values()))
    assert_close(pooled.numpy(), expected["pooled_output"].numpy(), 2e-5)
    assert_close(sequence.numpy(), expected["sequence_output"].numpy(), 2e-5)


def test_the_mlm_predicts_pieces_at_positions(module, expected):
    outputs = module.mlm(FEEDS | {"masked_lm_positions": tf.constant(INPUTS["masked_lm_positions"])})
    assert_close(outputs["mlm_logits"].numpy(), expected["mlm_logits"].numpy(), 2e-5)
    assert_close(outputs["sequence_output"].numpy(), expected["sequence_output"].numpy(), 2e-5)


def test_the_signature_is_for_serving(module, expected):
    outputs = module.signatures["serving_default"](**FEEDS)
    assert outputs.keys() == {"pooled_output", "sequence_output"}
    assert_close(outputs["pooled_output"].numpy(), expected["pooled_output"].numpy(), 2e-5)


@pytest.mark.parametrize("inputs", [FEEDS, list(FEEDS.values())], ids=["dict", "list"])
def test_dropout_acts_in_training_alone(module, inputs):
    def pooled(training):
        outputs = module(inputs, training=training)
        return (outputs["pooled_output"] if isinstance(outputs, dict) else outputs[0]).numpy()

    assert np.array_equal(pooled(False), pooled(False))
    assert np.abs(pooled(True) - pooled(False)).max() > 1e-2
    assert np.abs(pooled(True) - pooled(True)).max() > 1e-2


@pytest.mark.parametrize("call", ["dict", "list"])
def test_hub_keras_layer_fine_tunes_it(folder, call):
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in ENCODER_INPUTS}
    layer = hub.KerasLayer(str(folder), trainable=True)
    pooled = layer(inputs)["pooled_output"] if call == "dict" else layer(list(inputs.values()))[0]
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(2)(pooled))
    model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [variable.numpy() for variable in layer.trainable_weights]
    assert len(before) == 25
    model.train_on_batch(FEEDS, np.array([0, 1, 0]))
    after = [variable.numpy() for variable in layer.trainable_weights]
    same = [old.shape for old, new in zip(before, after, strict=True) if np.array_equal(old, new)]
    assert same in ([], [(64,)])  # the keys' bias moves by rounding errors alone: softmax takes it out


def test_the_mlm_can_be_trained(module):
    assert len(module.mlm.trainable_variables) == 30
    with tf.GradientTape() as tape:
        inputs = FEEDS | {"masked_lm_positions": tf.constant(INPUTS["masked_lm_positions"])}
        loss = tf.reduce_sum(module.mlm(inputs, training=True)["mlm_logits"] ** 2)
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, list(module.mlm.trainable_variables))]
    # Not of the pooler, and of the keys' bias by rounding errors alone.
    assert 27 <= sum(gradient.any() for gradient in gradients) <= 28


def test_every_variable_is_on_disk_once(folder, model):
    size = (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
    arrays = sum(array.nbytes for array in model.weights.values())
    assert arrays < size < arrays + 16_000  # the graph of objects, and the state of dropout


@pytest.mark.parametrize("name", ["vocab.txt", "30k-clean.model"])
def test_the_vocabulary_is_its_asset(network, tmp_path, name):
    (tmp_path / name).write_bytes(b"pieces")
    saved_model.write(tmp_path / "written", network, tmp_path / name, ENCODER)
    module = tf.saved_model.load(str(tmp_path / "written"))
    asset = module.sp_model_file if name.endswith(".model") else module.vocab_file
    assert tf.io.read_file(asset.asset_path).numpy() == b"pieces"
    assert (tmp_path / "written" / "assets" / name).read_bytes() == b"pieces"
    assert not hasattr(module, "mlm")


def test_a_released_network_holds_no_values(tmp_path):
    network = random_model().network()
    saved_model.write(tmp_path, network, None)
    saved_model.release(network)
    for variable in network.variables:
        held = tf.raw_ops.ReadVariableOp(resource=variable.value.handle, dtype=variable.value.dtype)
        assert held.shape.num_elements() == 0, variable.path


def test_reads_back_to_the_bit(folder, model):
    read, left_out = saved_model.read(saved_model.open_stored(folder), ALBERT)
    assert_same(read, model.weights)
    assert {name.split("/")[0] for name in left_out} == {"variables"}  # the state of dropout


@pytest.mark.parametrize("config", [CONFIGS["groups and inner layers"], BERT], ids=["groups and inner layers", "bert"])
def test_an_encoder_with_unshared_layers_reads_back_to_the_bit(config, tmp_path):
    made = random_model(config, parts=ENCODER)
    saved_model.write(tmp_path / "written", made.network(), None, ENCODER)
    read, _ = saved_model.read(saved_model.open_stored(tmp_path / "written"), config)
    assert_same(read, made.weights)


def test_it_runs_by_itself(folder, expected):
    outputs = saved_model.runner(folder)(INPUTS)
    assert outputs.keys() == {"pooled_output", "sequence_output", "encoder_outputs", "mlm_logits"}
    assert_close(outputs["encoder_outputs"], np.stack(expected["encoder_outputs"]), 2e-5)
    assert_close(outputs["mlm_logits"], expected["mlm_logits"].numpy(), 2e-5)


def test_without_a_config_its_sizes_are_those_of_no_released_model(folder):
    with pytest.raises(InputError, match=r"has no config, and no released model has its sizes \(vocab_size 120,"):
        saved_model.deduce_config(saved_model.open_stored(folder))


# === What tensorflow/models writes ===

WEIGHTS = random_weights(ALBERT, parts=("encoder", "pooler", "mlm"))
ENCODER_WEIGHTS = random_weights(ALBERT, parts=ENCODER)


def older(name: str) -> str:
    """The names of tensorflow/models 2.2."""
    name = name.replace("/self_attention/attention_output/", "/self_attention_output/")
    return name.replace("position_embedding/", "position_embedding_1/")


RELEASES = {
    "version 1": {"weights": ENCODER_WEIGHTS, "rename": older, "interface": 1},
    "version 2": {"weights": WEIGHTS},
}


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_tensorflow_models_albert_is_read_and_runs(tmp_path, release):
    write_saved_model(tmp_path / "albert_en", ALBERT, **release)
    with source.opened(str(tmp_path / "albert_en"), ReadOptions(config=ALBERT)) as opened:
        assert opened.format == "saved_model"
        assert_same(opened.model.weights, release["weights"])
        outputs = opened.load()(INPUTS)
    expected = reference.forward(release["weights"], ALBERT, INPUTS)
    version_1 = {"sequence_output", "pooled_output"}
    assert outputs.keys() == (version_1 if "interface" in release else expected.keys())
    for name in version_1:
        assert_close(outputs[name], expected[name], 2e-5)


def test_tensorflow_models_bert_is_read(tmp_path):
    weights = random_weights(BERT, parts=("encoder", "pooler", "mlm"))
    layers = {f"bert/encoder/transformer/group_{k}/inner_group_0/": f"transformer/layer_{k}/" for k in range(2)}
    module = tf.Module()
    module.held = [
        tf.Variable(split_heads(name, array, BERT.num_attention_heads), name=tensorflow_models_name(name, layers))
        for name, array in weights.items()
    ]
    tf.saved_model.save(module, str(tmp_path / "bert_en"))
    with source.opened(str(tmp_path / "bert_en")) as opened:
        assert opened.model.config.network() == BERT.network()
        assert opened.notes == ("the config was deduced from shapes",)
        assert_same(opened.model.weights, weights)


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"cls/something": np.zeros(2, np.float32)}, "cls/something is no parameter of this model"),
        ({"word_embeddings/embeddings": WEIGHTS["bert/embeddings/word_embeddings"]}, "word_embeddings/embeddings"),
    ],
    ids=["unknown", "a second one of a name"],
)
def test_no_variable_is_passed_over(tmp_path, extra, problem):
    write_saved_model(tmp_path / "albert_en", ALBERT, ENCODER_WEIGHTS, extra=extra)
    with pytest.raises(InputError, match=problem):
        saved_model.read(saved_model.open_stored(tmp_path / "albert_en"), ALBERT)


def test_variables_that_are_no_weights_are_left_out(tmp_path):
    """bert_en says `do_lower_case` so."""
    write_saved_model(tmp_path / "albert_en", ALBERT, ENCODER_WEIGHTS, extra={"Variable": np.array(True)})
    weights, left_out = saved_model.read(saved_model.open_stored(tmp_path / "albert_en"), ALBERT)
    assert_same(weights, ENCODER_WEIGHTS)
    assert left_out == ("Variable",)


def test_heads_and_sizes_of_a_bert_show_in_its_shapes():
    names = {
        "word_embeddings/embeddings": (120, 64),
        "position_embedding/embeddings": (20, 64),
        "type_embeddings/embeddings": (2, 64),
        "transformer/layer_0/self_attention/query/kernel": (64, 16, 4),
        "transformer/layer_0/intermediate/kernel": (64, 96),
        "transformer/layer_1/intermediate/kernel": (64, 96),
    }
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    stored = saved_model.Stored("file", names, {}.__getitem__)
    assert saved_model.deduce_config(stored) == AlbertConfig.from_values(BERT.model_dump() | dropout, "a test")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", ["base", "xlarge"])
def test_a_released_albert_is_known_by_its_sizes(size, version):
    config = AlbertConfig.published(size, version)
    D, N = config.hidden_size, config.num_attention_heads
    names = {
        "word_embeddings/embeddings": (30000, 128),
        "position_embedding/embeddings": (512, 128),
        "type_embeddings/embeddings": (2, 128),
        "transformer/self_attention/query/kernel": (D, N, 64),
        "transformer/intermediate/kernel": (D, 4 * D),
    }
    assert saved_model.deduce_config(saved_model.Stored("file", names, {}.__getitem__), version) == config
    halved = names | {"transformer/self_attention/query/kernel": (D, N // 2, 128)}
    with pytest.raises(InputError, match=f"num_attention_heads {N // 2}"):
        saved_model.deduce_config(saved_model.Stored("file", halved, {}.__getitem__))


def test_another_model_is_refused(tmp_path):
    module = tf.Module()
    module.kernel = tf.Variable(np.zeros((2, 3), np.float32), name="dense/kernel")
    tf.saved_model.save(module, str(tmp_path / "other"))
    with (
        pytest.raises(InputError, match=r"holds no ALBERT and no BERT of tensorflow/models \(it has dense/kernel, …\)"),
        source.opened(str(tmp_path / "other")),
    ):
        pass


def test_a_saved_model_without_variables_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="variables: there is no such folder; the SavedModel is incomplete"):
        saved_model.open_stored(tmp_path)
