import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.weights import source, tf1_checkpoint
from albert_model.weights.names import parameters
from albert_model.weights.settings import ReadOptions
from tests.albert_model.weights.small_models import (
    ALBERT,
    BERT,
    CONFIGS,
    assert_same,
    changed,
    random_model,
    random_weights,
    write_checkpoint,
)

WEIGHTS = random_weights(ALBERT)
KERNEL = "bert/pooler/dense/kernel"


def save(prefix, arrays) -> str:
    """Writes a checkpoint of any arrays under any names, as TensorFlow 1's Saver does."""
    tensors = [tf.constant(array) for array in arrays.values()]
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(arrays), shape_and_slices=[""] * len(tensors), tensors=tensors
    )
    return str(prefix)


def save_in_two(prefix, arrays) -> str:
    items = list(arrays.items())
    parts = [save(f"{prefix}_{i}", dict(items[i::2])) for i in range(2)]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(prefix))
    return str(prefix)


def read(path, config=ALBERT):
    """Every weight of a checkpoint, and the names left out."""
    with source.opened(str(path), ReadOptions(config=config)) as opened:
        assert opened.format == "tf1_checkpoint"
        return dict(opened.model.weights), opened.model.left_out


@pytest.fixture
def folder(tmp_path):
    return write_checkpoint(tmp_path / "albert", random_model())


# === Names and values ===


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_round_trip_is_exact(config, tmp_path):
    made = random_model(config)
    with source.opened(str(write_checkpoint(tmp_path / "made", made))) as opened:
        assert (opened.model.config, opened.model.roles) == (config, made.roles)
        assert_same(opened.model.weights, made.weights)


@pytest.mark.parametrize("config", [ALBERT, BERT], ids=["albert", "bert"])
def test_googles_own_readers_see_googles_names(config, tmp_path):
    weights = random_weights(config)
    tf1_checkpoint.write(tmp_path / "model.ckpt", weights, config)
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    assert dict(tf.train.list_variables(str(tmp_path / "model.ckpt"))) == {
        row.tf1.name: list(row.shape) for row in parameters(config)
    }
    assert_same({row.name: reader.get_tensor(row.tf1.name) for row in parameters(config)}, weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ckpt.data-00000-of-00001", "model.ckpt.index"]


@pytest.mark.parametrize(
    ("name", "count", "architecture"),
    [("albert_tiny_zh", 30, "albert"), ("simbert_tiny_zh", 78, "bert")],
)
def test_released_checkpoints_are_read_completely(shared_data, name, count, architecture):
    with source.opened(str(shared_data / "checkpoints" / name)) as opened:
        model = opened.model
        assert (opened.format, opened.notes, model.left_out) == ("tf1_checkpoint", (), ())
        assert (model.config.architecture, model.roles) == (architecture, ("encoder", "pooler", "mlm"))
        assert len(model.weights) == count
        reader = tf.train.load_checkpoint(str(opened.path))
        stored = {row.name: reader.get_tensor(row.tf1.name) for row in parameters(model.config) if row.role != "sop"}
        # Of SimBERT's, the word embeddings are in float64.
        assert_same(model.weights, {name: array.astype(np.float32) for name, array in stored.items()})
        assert (model.vocabulary.kind, model.vocabulary.do_lower_case) == ("wordpiece", True)
        assert len(model.vocabulary.pieces) == model.config.vocab_size


def test_an_optimizers_slots_are_left_out_and_listed(tmp_path):
    slots = {f"{KERNEL}/{slot}": np.zeros(3, np.float32) for slot in ("adam_m", "adam_v", "lamb_m", "lamb_v")}
    slots["global_step"] = np.array(7, np.int64)
    weights, left_out = read(save(tmp_path / "model.ckpt-7", WEIGHTS | slots))
    assert_same(weights, WEIGHTS)
    assert left_out == tuple(sorted(slots))


@pytest.mark.parametrize("config", [ALBERT, CONFIGS["groups and inner layers"], BERT], ids=["albert", "groups", "bert"])
def test_norms_that_tf2_named_are_known(config, tmp_path):
    weights = random_weights(config)
    table = {row.name: row.tf1.name for row in parameters(config)}
    scopes = dict.fromkeys(name.rpartition("/")[0] for name in table.values() if "LayerNorm" in name)
    # "", "_1", …: in the order in which layers are made, and past 9, where text sorts otherwise.
    numbers = {scope: f"_{i}" if i else "" for i, scope in enumerate(scopes)}
    renamed = {
        name: re.sub(r"LayerNorm(_1)?$", f"layer_normalization{numbers.get(scope)}", scope) + f"/{part}"
        for name in table.values()
        for scope, _, part in [name.rpartition("/")]
    }
    stored = {renamed[table[name]]: array for name, array in weights.items()}
    assert not any("LayerNorm" in name for name in stored)
    assert_same(read(save(tmp_path / "model.ckpt", stored), config)[0], weights)


def test_a_hub_modules_scope_is_taken_off(tmp_path):
    stored = {f"module/{name}": array for name, array in WEIGHTS.items()}
    assert_same(read(save(tmp_path / "model.ckpt", stored))[0], WEIGHTS)


def test_a_checkpoint_in_two_files_is_read(tmp_path):
    assert_same(read(save_in_two(tmp_path / "model.ckpt", WEIGHTS))[0], WEIGHTS)


# === Which checkpoint ===


@pytest.mark.parametrize("path", ["", "model.ckpt-best", "model.ckpt-best.index"])
def test_a_checkpoint_is_found_by_folder_prefix_and_index(folder, path):
    assert_same(read(folder / path)[0], WEIGHTS)


@pytest.mark.parametrize("named", ["model.ckpt-7", "/home/someone/elsewhere/model.ckpt-7"])
def test_of_several_the_one_that_the_checkpoint_file_names_is_read(folder, named):
    newer = random_weights(ALBERT, seed=1)
    save(folder / "model.ckpt-7", newer)
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "model.ckpt-best"\n'
    )
    assert_same(read(folder)[0], newer)


def test_of_several_none_is_guessed(folder):
    save(folder / "model.ckpt-7", WEIGHTS)
    with pytest.raises(InputError, match=r"albert: should hold one checkpoint .* holds model.ckpt-7, model.ckpt-best"):
        read(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'model_checkpoint_path: "/tmp/model.ckpt-9"', r"checkpoint: names /tmp/model.ckpt-9, and there is no"),
        (b'model_checkpoint_path: "\xff"', r"checkpoint: names .*, and there is no"),
    ],
)
def test_a_checkpoint_file_that_names_no_checkpoint_is_refused(folder, content, message):
    (folder / "checkpoint").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(folder)


# === Damage ===


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DATA, INDEX = "model.ckpt-best.data-00000-of-00001", "model.ckpt-best.index"
DAMAGE = {
    "truncated": (lambda f: cut(f / DATA, -5000), r"model.ckpt-best: variable \S+ cannot be read"),
    "empty": (lambda f: cut(f / DATA, 0), r"model.ckpt-best: variable \S+ cannot be read"),
    "one bit": (
        lambda f: flip(f / DATA, 4000),
        r"variable bert/embeddings/word_embeddings cannot be read .*[Cc]hecksum.* is truncated or damaged",
    ),
    "no data": (lambda f: (f / DATA).unlink(), rf"{DATA}: this part of the checkpoint is missing"),
    "no index": (lambda f: (f / INDEX).unlink(), r"albert: should hold one checkpoint \(\*\.index\), holds none"),
    "truncated index": (lambda f: cut(f / INDEX, -30), rf"{INDEX}: not a checkpoint that can be read"),
    "one bit of the index": (lambda f: flip(f / INDEX, 90), rf"{INDEX}: not a checkpoint that can be read"),
    "garbage for index": (lambda f: (f / INDEX).write_bytes(b"x" * 999), rf"{INDEX}: not a checkpoint that can be"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        read(folder)


def test_the_index_of_a_prefix_is_missed(folder):
    (folder / INDEX).unlink()
    with pytest.raises(InputError, match=rf"{INDEX}: there is no such file"):
        read(folder / "model.ckpt-best")


@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_part_is_named(tmp_path, number):
    prefix = save_in_two(tmp_path / "model.ckpt", WEIGHTS)
    part = tmp_path / f"model.ckpt.data-0000{number}-of-00002"
    part.unlink()
    with pytest.raises(InputError, match=f"{part}: this part of the checkpoint is missing"):
        read(prefix)


BAD_VALUES = {
    "nan": (np.full((64, 64), np.nan, np.float32), f"{KERNEL} holds NaN or infinite values"),
    "infinite": (np.full((64, 64), np.inf, np.float32), f"{KERNEL} holds NaN or infinite values"),
    "integers": (np.ones((64, 64), np.int32), f"{KERNEL} is of type int32, not a float"),
    "shape": (np.ones((64, 32), np.float32), f"{KERNEL} has shape (64, 32), the config says (64, 64)"),
}


@pytest.mark.parametrize(("array", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_bad_variable_is_named(tmp_path, array, message):
    prefix = save(tmp_path / "model.ckpt", WEIGHTS | {KERNEL: array})
    with pytest.raises(InputError, match=re.escape(f"{prefix}: {message}")):
        read(prefix)


def test_unknown_and_missing_variables_are_named(tmp_path):
    stored = {name: array for name, array in WEIGHTS.items() if name != KERNEL} | {"bert/extra": np.zeros(2)}
    prefix = save(tmp_path / "model.ckpt", stored)
    with pytest.raises(InputError) as raised:
        read(prefix)
    assert str(raised.value) == f"{prefix}: bert/extra is no parameter of this model; {KERNEL} is missing"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 128}, "embedding_hidden_mapping_in/bias has shape (64,), the config says (128,)"),
        ({"vocab_size": 121}, "word_embeddings has shape (120, 24), the config says (121, 24)"),
        ({"num_hidden_groups": 2}, "group_1/inner_group_0/LayerNorm/beta is missing"),
    ],
)
def test_a_config_that_contradicts_the_checkpoint_is_refused(folder, sizes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read(folder, changed(**sizes))


@pytest.mark.parametrize(
    "arrays",
    [
        {"resnet/conv/kernel": np.zeros(3, np.float32)},
        {"bert/embeddings/word_embeddings": np.zeros((3, 4), np.float32)},
        {KERNEL: np.zeros((3, 4), np.float32)},
    ],
    ids=["another model", "embedding alone", "pooler alone"],
)
def test_another_model_is_refused(tmp_path, arrays):
    prefix = save(tmp_path / "model.ckpt", arrays)
    with pytest.raises(InputError, match=f"model.ckpt: holds no ALBERT and no BERT .it has {next(iter(arrays))}, …"):
        read(prefix)


# === Without a config ===


def of_shapes(config: AlbertConfig) -> tf1_checkpoint.Stored:
    return tf1_checkpoint.Stored("file", {row.tf1.name: row.shape for row in parameters(config)}, {}.__getitem__)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", ["base", "large", "xlarge", "xxlarge"])
def test_a_released_albert_is_known_by_its_shapes(size, version):
    config = AlbertConfig.published(size, version)
    assert tf1_checkpoint.deduce_config(of_shapes(config), version) == config


@pytest.mark.parametrize(("layers", "hidden", "heads"), [(2, 128, 2), (10, 256, 4), (12, 768, 12)])
def test_a_google_bert_is_known_by_its_shapes(layers, hidden, heads):
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    values = {"architecture": "bert", "vocab_size": 30522, "intermediate_size": 4 * hidden, **sizes}
    config = AlbertConfig.from_values(values, "a test")
    assert tf1_checkpoint.deduce_config(of_shapes(config)) == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ALBERT, r"has no config, and no released model has its sizes \(vocab_size 120,.*Give its albert_config.json"),
        (BERT.model_copy(update={"hidden_size": 96, "embedding_size": 96}), "has no config that tells its number of"),
    ],
    ids=["albert", "bert"],
)
def test_other_sizes_need_a_config(config, message):
    with pytest.raises(InputError, match=f"file: {message}"):
        tf1_checkpoint.deduce_config(of_shapes(config))


def test_a_folder_is_read_where_it_was_moved_to(folder, tmp_path):
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{folder}/model.ckpt-best"\n')
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert_same(read(moved)[0], WEIGHTS)
    assert_same(read(f"{moved}/model.ckpt-best")[0], WEIGHTS)
