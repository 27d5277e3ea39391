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
