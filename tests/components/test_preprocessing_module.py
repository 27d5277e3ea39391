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
        {"max_seq_length": 8, "max_predictions_per_seq": 2},
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
