"""The network in Keras 3, written with keras.ops, so that it runs on every Keras backend.

Letters of array shapes: B batch, S sequence, D hidden, E embedding, N heads, P predictions, V vocabulary.
"""
