import numpy as np
import pytest

from albert_model.errors import InputError
from albert_model.text.tokenizer import Tokenizer
from albert_model.text.vocabulary import Vocabulary
from albert_model.weights.extension import extended
from albert_model.weights.model import Model
from albert_model.weights.names import WORD_EMBEDDINGS, parameters
from tests.albert_model.weights.small_models import random_model, random_weights

BIAS = "cls/predictions/output_bias"
NEW = ["▁zorblat", "orblat", "▁≤", "▁zorb"]


@pytest.fixture(scope="module")
def old(small_config, tokenizer):
    return Model(small_config, random_weights(small_config), tokenizer.vocabulary)


@pytest.fixture(scope="module")
def larger(tokenizer):
    return tokenizer.with_pieces(NEW)


@pytest.fixture(scope="module")
def new(old, larger):
    return extended(old, larger, with_size(old, 1010))


def with_size(model, vocab_size):
    return model.config.model_copy(update={"vocab_size": vocab_size})


def test_old_rows_and_all_other_weights_stay_to_the_bit(old, new):
    assert new.config == with_size(old, 1010)
    assert {row.name: row.shape for row in parameters(new.config)} == {k: v.shape for k, v in new.weights.items()}
    for name, weight in old.weights.items():
        assert weight.tobytes() == new.weights[name][: len(weight)].tobytes()
        assert weight.dtype == new.weights[name].dtype


@pytest.mark.parametrize("name", [WORD_EMBEDDINGS, BIAS])
def test_a_new_row_is_the_mean_of_what_stood_in_its_place(old, new, tokenizer, larger, name):
    for word in ("zorblat", "zorb", "≤"):
        (number,) = larger.encode([word]).values
        spelling = tokenizer.encode([word]).values
        expected = np.mean([old.weights[name][i] for i in spelling], 0)
        np.testing.assert_allclose(new.weights[name][number], expected, rtol=1e-6)


@pytest.mark.parametrize("name", [WORD_EMBEDDINGS, BIAS])
def test_rows_that_no_piece_has_are_the_mean_of_all(old, new, name):
    for row in new.weights[name][1004:]:
        np.testing.assert_allclose(row, old.weights[name].mean(0), rtol=1e-4, atol=1e-6)


def test_old_text_reads_as_before(old, new, tokenizer, larger):
    text = ["The planner reads the statistics of each table."]
    (ids,) = tokenizer.encode(text).rows()
    assert larger.encode(text).values.tolist() == ids.tolist()
    sequence = np.array([[tokenizer.cls_id, *ids, tokenizer.sep_id]])
    inputs = {"input_word_ids": sequence, "input_mask": np.ones_like(sequence), "input_type_ids": sequence * 0}
    inputs["masked_lm_positions"] = np.array([[1, 2, 3]])
    outputs = [{k: np.array(v) for k, v in model.network()(inputs).items()} for model in (old, new)]
    for name in ("sequence_output", "pooled_output", "sop_logits"):
        np.testing.assert_array_equal(outputs[0][name], outputs[1][name])
    logits = outputs[1]["mlm_logits"]
    assert logits.shape[-1] == 1010
    np.testing.assert_allclose(logits[..., :1000], outputs[0]["mlm_logits"], rtol=1e-5, atol=1e-5)


def test_rows_that_were_spare_are_used_first(small_config, tokenizer, larger):
    """A vocabulary may have fewer pieces than the model rows."""
    spare = small_config.model_copy(update={"vocab_size": 1010})
    old = Model(spare, random_weights(spare), tokenizer.vocabulary)
    new = extended(old, larger, spare)
    (spelling,) = tokenizer.spell(NEW[:1]).rows()
    table = old.weights[WORD_EMBEDDINGS]
    np.testing.assert_allclose(new.weights[WORD_EMBEDDINGS][1000], table[spelling].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(new.weights[WORD_EMBEDDINGS][1004:], table[1004:])


def test_a_model_that_has_it_all_is_returned_as_it_is(old, tokenizer):
    assert extended(old, tokenizer, old.config) is old


def test_an_encoder_without_heads_has_no_bias(old, larger):
    encoder = old.only(("encoder", "pooler"))
    assert BIAS not in extended(encoder, larger, with_size(old, 1004)).weights


def test_a_bert(larger):
    old = random_model()
    tokenizer = Tokenizer.of(old.vocabulary, "a test")
    more = tokenizer.with_pieces(["ax0b", "##y0z"])
    new = extended(old, more, with_size(old, 122))
    pieces = [old.vocabulary.pieces.index(piece) for piece in ("a", "##x0", "[UNK]")]
    assert tokenizer.spell(["ax0", "##qq"]).values.tolist() == [*pieces[:2], pieces[2]]
    np.testing.assert_array_equal(new.weights[WORD_EMBEDDINGS][120], old.weights[WORD_EMBEDDINGS][pieces[2]])
    assert new.vocabulary.pieces[120:] == ("ax0b", "##y0z")


def test_another_vocabulary_is_refused(old, documents, tokenizer):
    reversed_pieces = random_model().vocabulary
    cased = Vocabulary(tokenizer.vocabulary.content, "spm.model", do_lower_case=False)
    for vocabulary in (reversed_pieces, cased):
        with pytest.raises(InputError, match=r"its vocabulary is another one .* train from scratch"):
            extended(old, Tokenizer.of(vocabulary, "a test"), with_size(old, 2000))


@pytest.mark.parametrize("vocab_size", [900, 1003])
def test_too_few_rows_are_refused(old, larger, vocab_size):
    with pytest.raises(InputError, match=f"vocab_size {vocab_size} is too few for its 1000 rows and the 1004 pieces"):
        extended(old, larger, with_size(old, vocab_size))
