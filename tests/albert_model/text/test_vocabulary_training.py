import pytest

from albert_model.errors import InputError
from albert_model.text.vocabulary_training import TokenizerSettings, train


def test_training_gives_alberts_special_pieces(tokenizer):
    assert tokenizer.pieces[:13] == ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *'()"-.–£€')
    assert tokenizer.vocab_size == 1000


def test_training_twice_gives_the_same_vocabulary(documents, tokenizer):
    again = train((s for d in documents[:60] for s in d.sentences), 1000, TokenizerSettings())
    assert again.vocabulary == tokenizer.vocabulary


def test_long_lines_count_as_well(documents):
    """SentencePiece by itself leaves out lines of more than 4,192 bytes."""
    long = " ".join(s for d in documents[:60] for s in d.sentences)
    assert len(train([long], 500, TokenizerSettings()).pieces) == 500


def test_case_is_kept_on_request(documents):
    made = train((s for d in documents[:60] for s in d.sentences), 1000, TokenizerSettings(do_lower_case=False))
    assert not made.do_lower_case
    assert any(piece.startswith("▁The") for piece in made.pieces)


def sentences(documents):
    return [s for d in documents[:20] for s in d.sentences]


def test_a_vocabulary_larger_than_the_text_supports_is_refused_with_the_limit(documents):
    with pytest.raises(InputError, match=r"vocab_size 20000 .* set it to \d+ or less, .*when_text_is_small: shrink"):
        train(sentences(documents), 20000, TokenizerSettings())


def test_or_is_as_large_as_the_text_supports(documents):
    made = train(sentences(documents), 20000, TokenizerSettings(when_text_is_small="shrink"))
    assert train(sentences(documents), made.vocab_size, TokenizerSettings()).pieces == made.pieces
    with pytest.raises(InputError, match=f"set it to {made.vocab_size} or less"):
        train(sentences(documents), made.vocab_size + 1, TokenizerSettings())


def test_a_text_that_is_large_enough_is_not_shrunk(documents, tokenizer):
    settings = TokenizerSettings(when_text_is_small="shrink")
    made = train((s for d in documents[:60] for s in d.sentences), 1000, settings)
    assert made.pieces == tokenizer.pieces


@pytest.mark.parametrize("when_text_is_small", ["fail", "shrink"])
def test_a_vocabulary_smaller_than_the_alphabet_is_refused(documents, when_text_is_small):
    with pytest.raises(InputError, match="vocab_size 20 "):
        train(sentences(documents), 20, TokenizerSettings(when_text_is_small=when_text_is_small))


@pytest.mark.parametrize("when_text_is_small", ["fail", "shrink"])
def test_a_text_without_words_is_refused(when_text_is_small):
    with pytest.raises(InputError, match="could not train a vocabulary"):
        train(["", " "], 100, TokenizerSettings(when_text_is_small=when_text_is_small))
