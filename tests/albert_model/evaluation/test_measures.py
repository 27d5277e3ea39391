import numpy as np

from albert_model.evaluation.measures import measure_text
from albert_model.text.characters import characters_of_pieces

UNKNOWN, MASK = 1, 4
CHARACTERS = np.array([0, 1, 0, 0, 0, 3, 5, 2], np.float32)


def test_sums_of_a_row():
    # [CLS] a <unk> b [MASK] [MASK] [SEP] and two of padding; masked: an unknown piece, piece 6, and piece 5, kept.
    inputs = {
        "input_word_ids": np.array([[2, 5, UNKNOWN, 7, MASK, MASK, 3, 0, 0]]),
        "input_mask": np.array([[1, 1, 1, 1, 1, 1, 1, 0, 0]]),
        "masked_lm_positions": np.array([[1, 4, 5, 0]]),
        "masked_lm_ids": np.array([[5, UNKNOWN, 6, 0]]),
        "masked_lm_weights": np.array([[1.0, 1.0, 1.0, 0.0]], np.float32),
    }
    measured = {name: np.asarray(value).tolist() for name, value in measure_text(inputs, CHARACTERS, UNKNOWN).items()}
    assert measured == {"tokens": [7.0], "slots": [9.0], "unknown_pieces": [2.0], "mlm_characters": [3 + 1 + 5.0]}


def test_an_unknown_piece_that_is_to_be_predicted_and_kept_counts_once():
    inputs = {
        "input_word_ids": np.array([[2, UNKNOWN, 3]]),
        "input_mask": np.ones((1, 3), int),
        "masked_lm_positions": np.array([[1]]),
        "masked_lm_ids": np.array([[UNKNOWN]]),
        "masked_lm_weights": np.ones((1, 1), np.float32),
    }
    assert np.asarray(measure_text(inputs, CHARACTERS, UNKNOWN)["unknown_pieces"]).tolist() == [1.0]


def test_the_characters_of_a_sentences_pieces_are_those_of_the_sentence(tokenizer):
    characters = characters_of_pieces(tokenizer)
    for sentence in ("the planner reads statistics", "an index may be used."):
        ids = tokenizer.encode([sentence]).values
        assert tokenizer.unknown_id not in ids
        assert characters[ids].sum() == len(sentence.replace(" ", ""))
    special = [0, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert characters[special].tolist() == [0] * 4
    assert characters[tokenizer.unknown_id] == 1
