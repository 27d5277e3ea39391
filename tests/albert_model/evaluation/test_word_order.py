import random

import pytest

from albert_model.evaluation.word_order import word_order


@pytest.fixture(scope="module")
def sentences(documents):
    return [sentence for document in documents for sentence in document.sentences]


def shuffled(texts):
    generator = random.Random(4)
    for text in texts:
        words = text.split()
        generator.shuffle(words)
        yield " ".join(words)


def test_text_is_in_order(sentences):
    assert word_order(sentences) > 0.2
    assert word_order(sentences[:150]) > 0.05


def test_words_that_are_shuffled_within_their_sentences_are_in_none(sentences):
    assert abs(word_order(shuffled(sentences))) < 0.01


def test_words_that_are_shuffled_over_all_text_are_in_none(sentences):
    words = " ".join(sentences).split()
    random.Random(5).shuffle(words)
    lines = [" ".join(words[i : i + 15]) for i in range(0, len(words), 15)]
    assert abs(word_order(lines)) < 0.01


def test_the_same_text_has_the_same_order(sentences):
    assert word_order(sentences) == word_order(iter(sentences))


def test_boilerplate_does_not_make_an_order(sentences):
    lines = list(shuffled(sentences))
    line = "this page is part of the manual and may be printed and given to everybody"
    assert abs(word_order(each for text in lines for each in (text, line))) < 0.01


UNSPACED = [f"{'ข้อความ' * 3}{number} {number * 7}คำ {number * 13}วลี" for number in range(2000)]


@pytest.mark.parametrize("texts", [[], ["a few words"], ["文字之間沒有空格" * 50] * 100, UNSPACED])
def test_too_little_to_tell(texts):
    assert word_order(texts) is None
