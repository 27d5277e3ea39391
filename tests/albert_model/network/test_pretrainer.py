import numpy as np
import pytest
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.network.pretrainer import AlbertPretrainer, score_examples
from albert_model.weights import network as network_weights
from albert_model.weights import tf1_checkpoint
from albert_model.weights.names import parameters
from tests.albert_model.network.compiled import batch_of, loss_and_gradients


@pytest.fixture(scope="module")
def network(small_config):
    return AlbertPretrainer(small_config, seed=3)


def batch(rows=4, length=24, vocab=1000, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    return {
        "input_word_ids": rng.integers(5, vocab, (rows, length)) * mask,
        "input_mask": mask,
        "input_type_ids": (np.arange(length) >= 5).astype(np.int32) * mask,
        "masked_lm_positions": np.sort(rng.integers(1, 8, (rows, 3))),
    }


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-9)])
def test_agrees_with_an_independent_implementation_on_trained_weights(shared_data, dtype, tolerance):
    """A released Chinese ALBERT against reference outputs that other code computed."""
    folder = shared_data / "checkpoints" / "albert_tiny_zh"
    reference = np.load(shared_data / "huggingface" / "albert_tiny_zh" / "reference.npz")
    config = AlbertConfig.from_file(folder / "albert_config.json")
    stored = tf1_checkpoint.open_stored(folder / "model.ckpt-best")
    weights, left_out = tf1_checkpoint.read(stored, config)
    assert (len(weights), left_out) == (30, ())  # all but a sentence-order head
    made = AlbertPretrainer(config, dtype=dtype)
    network_weights.assign(made, weights, "albert_tiny_zh")

    positions = np.tile(reference["mlm_positions"], (len(reference["input_ids"]), 1))
    names = zip(
        ("input_word_ids", "input_mask", "input_type_ids"), ("input_ids", "input_mask", "segment_ids"), strict=True
    )
    outputs = made({ours: reference[theirs] for ours, theirs in names} | {"masked_lm_positions": positions})
    valid = reference["input_mask"].astype(bool)
    sequence = np.abs(outputs["sequence_output"] - reference[f"sequence_output_{dtype}"])[valid]
    assert sequence.max() <= tolerance
    assert np.abs(outputs["pooled_output"] - reference[f"pooled_output_{dtype}"]).max() <= tolerance
    logits = reference[f"mlm_logits_{dtype}"]
    assert np.abs(outputs["mlm_logits"][: len(logits)] - logits).max() <= 10 * tolerance  # logits are of order 10


def test_padding_changes_nothing(network):
    inputs = batch()
    longer = {
        name: np.pad(value, ((0, 0), (0, 8 if name != "masked_lm_positions" else 0))) for name, value in inputs.items()
    }
    short, long = network(inputs), network(longer)
    valid = inputs["input_mask"].astype(bool)
    np.testing.assert_allclose(
        short["sequence_output"].numpy()[valid], long["sequence_output"].numpy()[:, :24][valid], atol=1e-5
    )
    np.testing.assert_allclose(short["mlm_logits"], long["mlm_logits"], atol=1e-5)


def test_examples_do_not_see_each_other(network):
    inputs = batch()
    turned = {name: value[::-1] for name, value in inputs.items()}
    np.testing.assert_allclose(network(inputs)["mlm_logits"], network(turned)["mlm_logits"].numpy()[::-1], atol=1e-5)


def test_devices_that_share_a_batch_drop_different_numbers(small_config):
    alone, first, second = (
        AlbertPretrainer(small_config, seed=3)(batch(), training=True, replica=replica)["sequence_output"].numpy()
        for replica in (None, 0, 1)
    )
    np.testing.assert_array_equal(first, alone)
    assert np.abs(second - first).mean() > 0.1


def test_the_output_matrix_is_the_word_embedding(network):
    """A piece that no input has still moves its own logit, and only that, when its embedding changes."""
    inputs = batch(vocab=999)
    embedding = network.encoder.word_embeddings.embeddings
    before, original = network(inputs)["mlm_logits"].numpy(), embedding.numpy()
    changed = original.copy()
    changed[999] += np.linspace(-1, 1, original.shape[1])
    embedding.assign(changed)
    difference = np.abs(network(inputs)["mlm_logits"].numpy() - before)
    embedding.assign(original)
    assert difference[..., 999].min() > 1e-4
    assert difference[..., :999].max() < 1e-5


def test_layers_share_their_parameters(small_config):
    deep = small_config.model_copy(update={"num_hidden_layers": 9})
    assert AlbertPretrainer(deep).count_params() == AlbertPretrainer(small_config).count_params()
    groups = small_config.model_copy(update={"num_hidden_groups": 3})
    assert AlbertPretrainer(groups).count_params() > AlbertPretrainer(small_config).count_params()


@pytest.mark.parametrize(
    ("size", "expected"),
    [("base", 11_683_584), ("large", 17_683_968), ("xlarge", 58_724_864), ("xxlarge", 222_595_584)],
)
def test_published_parameter_counts(size, expected):
    config = AlbertConfig.from_file(f"configs/models/{size}_v2.json")
    assert sum(int(np.prod(row.shape)) for row in parameters(config) if row.role in ("encoder", "pooler")) == expected


def test_initial_values_depend_on_the_seed_alone(small_config):
    def weights(seed):
        return network_weights.read(AlbertPretrainer(small_config, seed=seed))

    one, same, other = weights(1), weights(1), weights(2)
    kernels = [name for name in one if name.endswith(("kernel", "embeddings", "weights"))]
    assert all((one[name] == same[name]).all() for name in one)
    assert all((one[name] != other[name]).any() for name in kernels)
    # No two parameters start from the same numbers.
    assert len({one[name].ravel()[0] for name in kernels}) == len(kernels)
    assert abs(one["bert/embeddings/word_embeddings"].std() / 0.0176 - 1) < 0.02  # 0.02, truncated at two deviations


def test_scores_are_sums_of_each_example(small_config):
    rng = np.random.default_rng(0)
    logits, sop_logits = rng.normal(size=(3, 3, 7)), rng.normal(size=(3, 2))
    labels = {
        "masked_lm_ids": np.array([[1, 2, 0], [3, 0, 0], [1, 0, 0]]),
        "masked_lm_weights": np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32),
        "sentence_order_label": np.array([0, 1, 1]),
        "sentence_order_weight": np.array([1, 1, 0]),
    }
    logits[1, 0, 3] = 10  # a certain hit
    scores = {k: v.numpy() for k, v in score_examples({"mlm_logits": logits, "sop_logits": sop_logits}, labels).items()}
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = [-(log_p[0, 0, 1] + log_p[0, 1, 2]), -log_p[1, 0, 3], 0]
    np.testing.assert_allclose(scores["mlm_loss"], expected, atol=1e-6)
    assert scores["mlm_predictions"].tolist() == [2, 1, 0]
    assert scores["mlm_hits"][1] == 1
    sop_log_p = sop_logits - np.log(np.exp(sop_logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(scores["sop_loss"], [-sop_log_p[0, 0], -sop_log_p[1, 1], 0], atol=1e-6)
    assert scores["sop_predictions"].tolist() == [1, 1, 0]
    assert scores["sop_hits"].tolist() == [*(sop_logits[:2].argmax(-1) == [0, 1]), 0]


@pytest.mark.parametrize("form", [{"scan_layers": True}, {"scan_layers": True, "rematerialize": True}])
def test_loops_can_be_compiled_by_xla(small_config, form):
    config = small_config.model_copy(update={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    batch = batch_of()
    plain = loss_and_gradients(AlbertPretrainer(config, seed=3), batch)
    compiled = loss_and_gradients(AlbertPretrainer(config, seed=3, **form), batch, jit_compile=True)
    assert abs(plain[0] - compiled[0]) < 1e-5
    assert all(np.abs(plain[1][path] - compiled[1][path]).max() < 1e-5 for path in plain[1])


@pytest.mark.parametrize("form", [{}, {"scan_layers": True}, {"scan_layers": True, "rematerialize": True}])
def test_batches_of_any_shape_share_a_graph(small_config, form):
    batch = batch_of()
    specs = {name: tf.TensorSpec([None, None], value.dtype) for name, value in batch.items()}
    plain = loss_and_gradients(AlbertPretrainer(small_config, seed=3), batch)
    network = AlbertPretrainer(small_config, seed=3, **form)
    any_shape = loss_and_gradients(network, batch, input_signature=[specs])
    assert abs(plain[0] - any_shape[0]) < 1e-5
    assert all(np.abs(plain[1][path] - any_shape[1][path]).max() < 1e-5 for path in plain[1])
