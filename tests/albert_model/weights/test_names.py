import numpy as np
import pytest

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer
from albert_model.weights.names import ROLES, check, parameters, roles
from tests.albert_model.weights.small_models import ALBERT, BERT, CONFIGS, random_weights

V, E, T, P, D, F = 120, 24, 2, 20, 64, 96
GROUPED, FACTORISED_BERT = CONFIGS["groups and inner layers"], CONFIGS["factorised bert"]
AS_WIDE = CONFIGS["albert without a projection"]

# Written out from the variable lists of Google's released checkpoints: shapes by name.
EMBEDDINGS = {
    "bert/embeddings/word_embeddings": (V, E),
    "bert/embeddings/token_type_embeddings": (T, E),
    "bert/embeddings/position_embeddings": (P, E),
    "bert/embeddings/LayerNorm/gamma": (E,),
    "bert/embeddings/LayerNorm/beta": (E,),
}
PROJECTION = {
    "bert/encoder/embedding_hidden_mapping_in/kernel": (E, D),
    "bert/encoder/embedding_hidden_mapping_in/bias": (D,),
}
POOLER_AND_HEADS = {
    "bert/pooler/dense/kernel": (D, D),
    "bert/pooler/dense/bias": (D,),
    "cls/predictions/transform/dense/kernel": (D, E),
    "cls/predictions/transform/dense/bias": (E,),
    "cls/predictions/transform/LayerNorm/gamma": (E,),
    "cls/predictions/transform/LayerNorm/beta": (E,),
    "cls/predictions/output_bias": (V,),
    "cls/seq_relationship/output_weights": (2, D),
    "cls/seq_relationship/output_bias": (2,),
}


def albert_layer(group: int, inner: int) -> dict[str, tuple[int, ...]]:
    scope = f"bert/encoder/transformer/group_{group}/inner_group_{inner}"
    return {
        f"{scope}/attention_1/self/query/kernel": (D, D),
        f"{scope}/attention_1/self/query/bias": (D,),
        f"{scope}/attention_1/self/key/kernel": (D, D),
        f"{scope}/attention_1/self/key/bias": (D,),
        f"{scope}/attention_1/self/value/kernel": (D, D),
        f"{scope}/attention_1/self/value/bias": (D,),
        f"{scope}/attention_1/output/dense/kernel": (D, D),
        f"{scope}/attention_1/output/dense/bias": (D,),
        f"{scope}/LayerNorm/gamma": (D,),
        f"{scope}/LayerNorm/beta": (D,),
        f"{scope}/ffn_1/intermediate/dense/kernel": (D, F),
        f"{scope}/ffn_1/intermediate/dense/bias": (F,),
        f"{scope}/ffn_1/intermediate/output/dense/kernel": (F, D),
        f"{scope}/ffn_1/intermediate/output/dense/bias": (D,),
        f"{scope}/LayerNorm_1/gamma": (D,),
        f"{scope}/LayerNorm_1/beta": (D,),
    }


def bert_layer(number: int) -> dict[str, tuple[int, ...]]:
    scope = f"bert/encoder/layer_{number}"
    return {
        f"{scope}/attention/self/query/kernel": (D, D),
        f"{scope}/attention/self/query/bias": (D,),
        f"{scope}/attention/self/key/kernel": (D, D),
        f"{scope}/attention/self/key/bias": (D,),
        f"{scope}/attention/self/value/kernel": (D, D),
        f"{scope}/attention/self/value/bias": (D,),
        f"{scope}/attention/output/dense/kernel": (D, D),
        f"{scope}/attention/output/dense/bias": (D,),
        f"{scope}/attention/output/LayerNorm/gamma": (D,),
        f"{scope}/attention/output/LayerNorm/beta": (D,),
        f"{scope}/intermediate/dense/kernel": (D, F),
        f"{scope}/intermediate/dense/bias": (F,),
        f"{scope}/output/dense/kernel": (F, D),
        f"{scope}/output/dense/bias": (D,),
        f"{scope}/output/LayerNorm/gamma": (D,),
        f"{scope}/output/LayerNorm/beta": (D,),
    }


def unfactorised(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The same names where the embedding is as wide as the layers, which leaves out the projection."""
    return {name: tuple(D if size == E else size for size in shape) for name, shape in shapes.items()}


GOOGLES = {
    "albert": EMBEDDINGS | PROJECTION | albert_layer(0, 0) | POOLER_AND_HEADS,
    "groups and inner layers": EMBEDDINGS
    | PROJECTION
    | albert_layer(0, 0)
    | albert_layer(0, 1)
    | albert_layer(1, 0)
    | albert_layer(1, 1)
    | POOLER_AND_HEADS,
    "albert without a projection": unfactorised(EMBEDDINGS | albert_layer(0, 0) | POOLER_AND_HEADS),
    "bert": unfactorised(EMBEDDINGS | bert_layer(0) | bert_layer(1) | POOLER_AND_HEADS),
    "factorised bert": EMBEDDINGS | PROJECTION | bert_layer(0) | bert_layer(1) | POOLER_AND_HEADS,
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_and_shapes_of_checkpoints_are_googles_in_the_order_of_albert_tf2(kind):
    rows = [(row.tf1.name, row.tf1.shape_of(row.shape)) for row in parameters(CONFIGS[kind])]
    assert rows == list(GOOGLES[kind].items())


@pytest.mark.parametrize("kind", [kind for kind, config in CONFIGS.items() if config.architecture == "albert"])
def test_canonical_names_are_those_of_alberts_checkpoints(kind):
    assert [row.name for row in parameters(CONFIGS[kind])] == list(GOOGLES[kind])


@pytest.mark.parametrize("kind", ["bert", "factorised bert"])
def test_a_berts_layer_stands_as_a_group(kind):
    names = [row.name for row in parameters(CONFIGS[kind])]
    assert len(names) == len(GOOGLES[kind])
    assert names[-9:] == list(POOLER_AND_HEADS)
    assert albert_layer(1, 0).keys() < set(names)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_variable_of_the_network_has_a_row_of_its_shape(config):
    network = AlbertPretrainer(config)
    there = {variable.path.removeprefix("albert/"): tuple(variable.shape) for variable in network.trainable_variables}
    assert {row.keras.name: row.keras.shape_of(row.shape) for row in parameters(config)} == there


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("column", ["canonical", "tf1", "keras", "huggingface", "tf_models"])
def test_no_two_rows_have_one_name(config, column):
    names = [place.name for row in parameters(config) if (place := getattr(row, column))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("column", ["tf1", "keras", "huggingface", "tf_models"])
def test_an_array_comes_back_from_every_format(config, column):
    weights = random_weights(config)
    for row in parameters(config):
        if place := getattr(row, column):
            put = place.put(weights[row.name])
            assert put.shape == place.shape_of(row.shape)
            assert np.array_equal(place.take(put, row.shape), weights[row.name])


# The tensors of transformers' AlbertForPreTraining (those of its encoder without the prefix `albert.`), then those of
# its BertForPreTraining that differ, of one layer.
ALBERT_0 = "encoder.albert_layer_groups.0.albert_layers.0"
HUGGINGFACE = {
    "embeddings.word_embeddings.weight": (V, E),
    "embeddings.token_type_embeddings.weight": (T, E),
    "embeddings.position_embeddings.weight": (P, E),
    "embeddings.LayerNorm.weight": (E,),
    "embeddings.LayerNorm.bias": (E,),
    "encoder.embedding_hidden_mapping_in.weight": (D, E),
    "encoder.embedding_hidden_mapping_in.bias": (D,),
    f"{ALBERT_0}.attention.query.weight": (D, D),
    f"{ALBERT_0}.attention.query.bias": (D,),
    f"{ALBERT_0}.attention.key.weight": (D, D),
    f"{ALBERT_0}.attention.key.bias": (D,),
    f"{ALBERT_0}.attention.value.weight": (D, D),
    f"{ALBERT_0}.attention.value.bias": (D,),
    f"{ALBERT_0}.attention.dense.weight": (D, D),
    f"{ALBERT_0}.attention.dense.bias": (D,),
    f"{ALBERT_0}.attention.LayerNorm.weight": (D,),
    f"{ALBERT_0}.attention.LayerNorm.bias": (D,),
    f"{ALBERT_0}.ffn.weight": (F, D),
    f"{ALBERT_0}.ffn.bias": (F,),
    f"{ALBERT_0}.ffn_output.weight": (D, F),
    f"{ALBERT_0}.ffn_output.bias": (D,),
    f"{ALBERT_0}.full_layer_layer_norm.weight": (D,),
    f"{ALBERT_0}.full_layer_layer_norm.bias": (D,),
    "pooler.weight": (D, D),
    "pooler.bias": (D,),
    "predictions.dense.weight": (E, D),
    "predictions.dense.bias": (E,),
    "predictions.LayerNorm.weight": (E,),
    "predictions.LayerNorm.bias": (E,),
    "predictions.bias": (V,),
    "sop_classifier.classifier.weight": (2, D),
    "sop_classifier.classifier.bias": (2,),
}
BERT_1 = "encoder.layer.1"
HUGGINGFACE_BERT = {
    f"{BERT_1}.attention.self.query.weight": (D, D),
    f"{BERT_1}.attention.self.query.bias": (D,),
    f"{BERT_1}.attention.self.key.weight": (D, D),
    f"{BERT_1}.attention.self.key.bias": (D,),
    f"{BERT_1}.attention.self.value.weight": (D, D),
    f"{BERT_1}.attention.self.value.bias": (D,),
    f"{BERT_1}.attention.output.dense.weight": (D, D),
    f"{BERT_1}.attention.output.dense.bias": (D,),
    f"{BERT_1}.attention.output.LayerNorm.weight": (D,),
    f"{BERT_1}.attention.output.LayerNorm.bias": (D,),
    f"{BERT_1}.intermediate.dense.weight": (F, D),
    f"{BERT_1}.intermediate.dense.bias": (F,),
    f"{BERT_1}.output.dense.weight": (D, F),
    f"{BERT_1}.output.dense.bias": (D,),
    f"{BERT_1}.output.LayerNorm.weight": (D,),
    f"{BERT_1}.output.LayerNorm.bias": (D,),
    "pooler.dense.weight": (D, D),
    "pooler.dense.bias": (D,),
    "cls.predictions.transform.dense.weight": (D, D),
    "cls.predictions.transform.dense.bias": (D,),
    "cls.predictions.transform.LayerNorm.weight": (D,),
    "cls.predictions.transform.LayerNorm.bias": (D,),
    "cls.predictions.bias": (V,),
    "cls.seq_relationship.weight": (2, D),
    "cls.seq_relationship.bias": (2,),
}


def in_huggingface(config: AlbertConfig) -> dict[str, tuple[int, ...]]:
    return {row.huggingface.name: row.huggingface.shape_of(row.shape) for row in parameters(config)}


def test_names_and_shapes_in_hugging_face_folders():
    assert in_huggingface(ALBERT) == HUGGINGFACE
    assert in_huggingface(BERT).items() > HUGGINGFACE_BERT.items()
    assert {name for name in in_huggingface(BERT) if name.startswith(BERT_1)} <= HUGGINGFACE_BERT.keys()


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (GROUPED, [(0, 0), (0, 1), (1, 0), (1, 1)]),
        (AS_WIDE, [(0, 0)]),
        # transformers' BertModel has no factorised embedding, its AlbertModel has one, and groups.
        (FACTORISED_BERT, [(0, 0), (1, 0)]),
    ],
    ids=["groups and inner layers", "albert without a projection", "factorised bert"],
)
def test_what_is_no_bert_in_transformers_is_an_albert_there(config, layers):
    names = in_huggingface(config)
    kinds = [name.removeprefix(ALBERT_0) for name in HUGGINGFACE if name.startswith(ALBERT_0)]
    expected = {f"encoder.albert_layer_groups.{g}.albert_layers.{i}{kind}" for g, i in layers for kind in kinds}
    assert {name for name in names if ".albert_layers." in name} == expected
    assert ("encoder.embedding_hidden_mapping_in.weight" in names) == config.projects_embedding
    assert {"pooler.weight", "sop_classifier.classifier.weight", "predictions.bias"} < names.keys()


@pytest.mark.parametrize(
    ("config", "scopes"),
    [
        (ALBERT, ["transformer"]),
        (AS_WIDE, ["transformer"]),
        (BERT, ["transformer/layer_0", "transformer/layer_1"]),
        (FACTORISED_BERT, ["transformer/layer_0", "transformer/layer_1"]),
    ],
    ids=["albert", "albert without a projection", "bert", "factorised bert"],
)
def test_names_and_shapes_in_saved_models_of_tensorflow_models(config, scopes):
    """As albert_en and bert_en have them: heads split, no sentence-order head."""
    N, H, width = 16, 4, config.embedding_size
    layer = {
        "self_attention/query/kernel": (D, N, H),
        "self_attention/query/bias": (N, H),
        "self_attention/key/kernel": (D, N, H),
        "self_attention/key/bias": (N, H),
        "self_attention/value/kernel": (D, N, H),
        "self_attention/value/bias": (N, H),
        "self_attention/attention_output/kernel": (N, H, D),
        "self_attention/attention_output/bias": (D,),
        "self_attention_layer_norm/gamma": (D,),
        "self_attention_layer_norm/beta": (D,),
        "intermediate/kernel": (D, F),
        "intermediate/bias": (F,),
        "output/kernel": (F, D),
        "output/bias": (D,),
        "output_layer_norm/gamma": (D,),
        "output_layer_norm/beta": (D,),
    }
    expected = {
        "word_embeddings/embeddings": (V, width),
        "position_embedding/embeddings": (P, width),
        "type_embeddings/embeddings": (T, width),
        "embeddings/layer_norm/gamma": (width,),
        "embeddings/layer_norm/beta": (width,),
        "pooler_transform/kernel": (D, D),
        "pooler_transform/bias": (D,),
        "cls/predictions/output_bias/bias": (V,),
        "cls/predictions/transform/dense/kernel": (D, width),
        "cls/predictions/transform/dense/bias": (width,),
        "cls/predictions/transform/LayerNorm/gamma": (width,),
        "cls/predictions/transform/LayerNorm/beta": (width,),
    }
    expected |= {f"{scope}/{name}": shape for scope in scopes for name, shape in layer.items()}
    if config.projects_embedding:
        expected |= {"embedding_projection/kernel": (width, D), "embedding_projection/bias": (D,)}
    places = [(row, row.tf_models) for row in parameters(config) if row.tf_models]
    assert {place.name: place.shape_of(row.shape) for row, place in places} == expected


@pytest.mark.parametrize(
    ("config", "counts"),
    [(ALBERT, (23, 2, 5, 2)), (GROUPED, (71, 2, 5, 2)), (BERT, (37, 2, 5, 2)), (FACTORISED_BERT, (39, 2, 5, 2))],
)
def test_parts(config, counts):
    rows = parameters(config)
    assert tuple(sum(row.role == role for row in rows) for role in ROLES) == counts
    held = [row.name for row in rows if row.role in ("encoder", "sop")]
    assert roles(held, config) == ("encoder", "sop")


@pytest.mark.parametrize(
    ("size", "parameter_count"),
    [((2, 128, 2), 4_385_920), ((4, 256, 4), 11_170_560), ((8, 512, 8), 41_373_184), ((12, 768, 12), 109_482_240)],
    ids=["tiny", "mini", "medium", "base"],
)
def test_parameter_counts_of_googles_berts(size, parameter_count):
    """google-research/bert publishes 4.4, 11.2, 41.4 and 110 million."""
    layers, hidden, heads = size
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    values = {"architecture": "bert", "vocab_size": 30522, "intermediate_size": 4 * hidden, **sizes}
    rows = parameters(AlbertConfig.from_values(values, "a test"))
    assert sum(int(np.prod(row.shape)) for row in rows if row.role in ("encoder", "pooler")) == parameter_count


@pytest.mark.parametrize("part", ["pooler", "mlm", "sop"])
def test_a_part_may_be_missing_but_not_half_of_it(part):
    rows = parameters(ALBERT)
    without = [row.name for row in rows if row.role != part]
    check(without, ALBERT, "file")
    first = next(row.name for row in rows if row.role == part)
    with pytest.raises(InputError) as raised:
        check([*without, first], ALBERT, "file")
    missing = [row.name for row in rows if row.role == part and row.name != first]
    assert str(raised.value) == "file: does not fit its config: " + "; ".join(f"{name} is missing" for name in missing)
