import shutil

import h5py
import numpy as np
import pytest
import tf_keras

from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights import keras_h5
from albert_model.weights import network as network_weights
from albert_model.weights.names import parameters
from tests.albert_model.weights.small_models import CONFIGS, assert_same, random_weights


@pytest.fixture(scope="module")
def weights(small_config):
    rng = np.random.default_rng(0)
    return {row.name: rng.normal(size=row.shape).astype(np.float32) for row in parameters(small_config)}


def layers(path) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of the arrays of each layer, in the order in which Keras 2 reads them."""
    with h5py.File(path) as file:
        return {
            name.decode(): [file[name][weight].shape for weight in file[name].attrs["weight_names"]]
            for name in file.attrs["layer_names"]
        }


def test_the_encoder_file_has_the_layout_of_albert_tf2(small_config, weights, tmp_path):
    keras_h5.write(tmp_path / "tf2_model.h5", weights, small_config, full=False)
    V, E, H, FF = 1000, 16, 32, 48
    assert layers(tmp_path / "tf2_model.h5") == {
        "input_word_ids": [],
        "input_mask": [],
        "input_type_ids": [],
        "albert_model": [
            *[(V, E), (2, E), (64, E), (E,), (E,)],  # word, type, position embeddings; norm
            *[(E, H), (H,)],  # projection
            *[(H, H), (H,)] * 4,  # query, key, value, output
            *[(H,), (H,)],  # norm
            *[(H, FF), (FF,), (FF, H), (H,)],  # feed-forward
            *[(H,), (H,)],  # norm
            *[(H, H), (H,)],  # pooler
        ],
    }


def test_the_full_file_has_the_heads_in_albert_tf2s_order(small_config, weights, tmp_path):
    keras_h5.write(tmp_path / "full.h5", weights, small_config, full=True)
    V, E, H = 1000, 16, 32
    assert layers(tmp_path / "full.h5")["cls"] == [(V, E), (V,), (2, H), (2,), (H, E), (E,), (E,), (E,)]


def test_keras_2_loads_the_encoder_by_position(small_config, weights, tmp_path):
    """As ALBERT-TF2.0's fine-tuning scripts do: a model of three inputs and one layer with 25 weights."""
    rows = [row for row in parameters(small_config) if row.role in ("encoder", "pooler")]

    class Encoder(tf_keras.layers.Layer):
        def build(self, _):
            self.parts = [self.add_weight(name=f"w{i}", shape=row.shape) for i, row in enumerate(rows)]

        def call(self, inputs):
            return inputs[0]

    names = ("input_word_ids", "input_mask", "input_type_ids")
    inputs = [tf_keras.Input((8,), dtype="int32", name=name) for name in names]
    model = tf_keras.Model(inputs, Encoder(name="albert_model")(inputs))
    keras_h5.write(tmp_path / "tf2_model.h5", weights, small_config, full=False)
    model.load_weights(str(tmp_path / "tf2_model.h5"))
    assert all((loaded == weights[row.name]).all() for loaded, row in zip(model.get_weights(), rows, strict=True))


def test_round_trip_is_exact(small_config, weights, tmp_path):
    keras_h5.write(tmp_path / "full.h5", weights, small_config, full=True)
    read, left_out = keras_h5.read(tmp_path / "full.h5", small_config)
    assert left_out == ()
    assert read.keys() == weights.keys()
    assert all((read[name] == weights[name]).all() for name in weights)


def test_round_trip_through_a_network_is_exact(small_config, weights):
    network = AlbertPretrainer(small_config)
    network_weights.assign(network, weights, "test")
    read = network_weights.read(network)
    assert all((read[name] == weights[name]).all() for name in weights)


def test_a_disk_without_room_is_noticed_before_anything_is_written(small_config, weights, tmp_path, monkeypatch):
    """h5py ends the process where it finds out by itself."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 2**30 - 2**20, 2**20))
    with pytest.raises(OSError, match="No space left on device") as raised:
        keras_h5.write(tmp_path / "a.h5", weights, small_config, full=True)
    assert raised.value.filename == str(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_refused(small_config, weights, tmp_path):
    path = tmp_path / "full.h5"
    keras_h5.write(path, weights, small_config, full=True)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(InputError, match=r"full\.h5: not a complete full\.h5 of ALBERT-TF2\.0"):
        keras_h5.read(path, small_config)


def test_an_encoder_file_gives_the_encoder_alone(small_config, weights, tmp_path):
    keras_h5.write(tmp_path / "tf2_model.h5", weights, small_config, full=False)
    read, _ = keras_h5.read(tmp_path / "tf2_model.h5", small_config)
    assert read.keys() == {row.name for row in parameters(small_config) if row.role in ("encoder", "pooler")}


def test_weights_that_do_not_fit_are_named(small_config, weights, tmp_path):
    keras_h5.write(tmp_path / "full.h5", weights, small_config, full=True)
    other = small_config.model_copy(update={"intermediate_size": 64})
    with pytest.raises(
        InputError, match=r"ffn_1/intermediate/dense/kernel has shape \(32, 48\), the config says \(32, 64\)"
    ):
        keras_h5.read(tmp_path / "full.h5", other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("bert/pooler/dense/bias"), "bert/pooler/dense/bias is missing"),
        (lambda w: w.update(extra=np.zeros(1)), "extra is not a parameter of this config"),
    ],
)
def test_missing_and_unknown_weights_are_refused(small_config, weights, change, message):
    network = AlbertPretrainer(small_config)
    before = network_weights.read(network)
    changed = dict(weights)
    change(changed)
    with pytest.raises(InputError, match=message):
        network_weights.assign(network, changed, "test")
    after = network_weights.read(network)
    assert all((before[name] == after[name]).all() for name in before)


KERNEL = "bert/pooler/dense/kernel"


def rewrite(path, change) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.fixture
def full(small_config, weights, tmp_path):
    keras_h5.write(tmp_path / "tf2_model_full.h5", weights, small_config, full=True)
    return tmp_path / "tf2_model_full.h5"


def read_all(path, config):
    return dict(keras_h5.read(path, config)[0])


def drop_last(file, layer):
    group = file[layer]
    group.attrs["weight_names"] = group.attrs["weight_names"][:-1]


DAMAGE = {
    "tied embeddings that differ": (
        lambda file: file["cls/bert/embeddings/word_embeddings:0"].write_direct(np.ones((1000, 16), np.float32)),
        "holds the tied bert/embeddings/word_embeddings twice, with different values",
    ),
    "one array less": (
        lambda file: drop_last(file, "albert_model"),
        "layer albert_model has 24 arrays, its config asks for 25",
    ),
    "half a head": (lambda file: drop_last(file, "cls"), "layer cls has 7 arrays, its config asks for 8"),
    "no encoder": (lambda file: file.__delitem__("albert_model"), "not a complete tf2_model_full.h5 of ALBERT-TF2.0"),
    "an array that is not there": (
        lambda file: file.__delitem__(f"albert_model/{KERNEL}:0"),
        "not a complete tf2_model_full.h5 of ALBERT-TF2.0",
    ),
    "nan": (
        lambda file: file[f"albert_model/{KERNEL}:0"].write_direct(np.full((32, 32), np.nan, np.float32)),
        f"{KERNEL} holds NaN or infinite values",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(small_config, full, damage, message):
    rewrite(full, damage)
    with pytest.raises(InputError, match=f"{full}: {message}"):
        read_all(full, small_config)


@pytest.mark.parametrize("content", [b"", b"no HDF5 file at all"], ids=["empty", "text"])
def test_another_file_is_refused(small_config, tmp_path, content):
    (tmp_path / "tf2_model.h5").write_bytes(content)
    with pytest.raises(InputError, match=r"tf2_model\.h5: not a complete tf2_model\.h5 of ALBERT-TF2\.0"):
        keras_h5.read(tmp_path / "tf2_model.h5", small_config)


def test_files_are_read_by_position_whatever_their_arrays_are_called(small_config, weights, full):
    """ALBERT-TF2.0's own files have the names that its layers had."""

    def rename(file):
        group = file["albert_model"]
        names = [name.decode() for name in group.attrs["weight_names"]]
        for number, name in enumerate(names):
            group.move(name, f"albert_model/w_{number}:0")
        group.attrs["weight_names"] = np.array([f"albert_model/w_{n}:0".encode() for n in range(len(names))])

    rewrite(full, rename)
    read = read_all(full, small_config)
    assert all((read[name] == weights[name]).all() for name in weights)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_round_trip_of_every_architecture_is_exact(config, tmp_path):
    made = random_weights(config)
    keras_h5.write(tmp_path / "full.h5", made, config, full=True)
    assert_same(read_all(tmp_path / "full.h5", config), made)
