import tensorflow as tf

from components.preprocessing_module import preprocessing_fn


def sparse(rows):
    return (
        tf.RaggedTensor.from_row_lengths([v for row in rows for v in row], [len(row) for row in rows])
        .with_values(tf.constant([v for row in rows for v in row], tf.int64))
        .to_sparse()
    )


def test_worked_example():
    outputs = preprocessing_fn(
        {
            "input_ids": sparse([[2, 7, 4, 3, 9, 3], [2, 8, 3, 4, 3]]),
            "segment_a_length": sparse([[4], [3]]),
            "sentence_order_label": sparse([[0], [1]]),
            "sentence_order_weight": sparse([[0], [1]]),
            "masked_lm_positions": sparse([[2], []]),
            "masked_lm_ids": sparse([[6], []]),
        },
        {"max_seq_length": 8, "max_predictions": 2, "examples_per_row": None},
    )
    assert {name: value.numpy().tolist() for name, value in outputs.items()} == {
        "input_word_ids": [[2, 7, 4, 3, 9, 3, 0, 0], [2, 8, 3, 4, 3, 0, 0, 0]],
        "input_mask": [[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0, 0, 0]],
        "input_type_ids": [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0]],
        "masked_lm_positions": [[2, 0], [0, 0]],
        "masked_lm_ids": [[6, 0], [0, 0]],
        "masked_lm_weights": [[1.0, 0.0], [0.0, 0.0]],
        "sentence_order_label": [0, 1],
        "sentence_order_weight": [0, 1],
    }


def test_packed_examples():
    """A row of two examples, and a row of one."""
    outputs = preprocessing_fn(
        {
            "input_ids": sparse([[2, 7, 3, 9, 3, 2, 8, 9, 3, 4, 3], [2, 8, 3, 4, 3]]),
            "example_lengths": sparse([[5, 6], [5]]),
            "segment_a_length": sparse([[3, 4], [3]]),
            "sentence_order_label": sparse([[0, 1], [1]]),
            "sentence_order_weight": sparse([[0, 1], [1]]),
            "masked_lm_positions": sparse([[1, 9], [3]]),
            "masked_lm_ids": sparse([[6, 8], [5]]),
        },
        {"max_seq_length": 12, "max_predictions": 3, "examples_per_row": 3},
    )
    assert {name: value.numpy().tolist() for name, value in outputs.items()} == {
        "input_word_ids": [[2, 7, 3, 9, 3, 2, 8, 9, 3, 4, 3, 0], [2, 8, 3, 4, 3, 0, 0, 0, 0, 0, 0, 0]],
        "input_mask": [[1] * 11 + [0], [1] * 5 + [0] * 7],
        "input_type_ids": [[0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1] + [0] * 7],
        "position_ids": [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0], [0, 1, 2, 3, 4] + [0] * 7],
        "example_numbers": [[1] * 5 + [2] * 6 + [0], [1] * 5 + [0] * 7],
        "masked_lm_positions": [[1, 9, 0], [3, 0, 0]],
        "masked_lm_ids": [[6, 8, 0], [5, 0, 0]],
        "masked_lm_weights": [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
        "sentence_order_positions": [[0, 5, 0], [0, 0, 0]],
        "sentence_order_label": [[0, 1, 0], [1, 0, 0]],
        "sentence_order_weight": [[0, 1, 0], [1, 0, 0]],
    }
