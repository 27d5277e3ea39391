import gzip

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from albert_model.text import part_memo as part_memos
from albert_model.text import sentencepiece_model
from albert_model.text.normalization import normalize
from albert_model.text.ragged import Ragged
from albert_model.text.sentencepiece_parts import part_memo

WORDS = st.sampled_from(
    [
        "the",
        "table",
        "[MASK]",
        "(a)",
        "1,000",
        "--",
        "don't",
        "x" * 20,
        "",
        " ",
        "é",
        "力",
        "<",
        "<<",
        "\x07",
        "▁",
        "a▁b",
        "'s",
    ]
)


class Model:
    """A model, whether by parts or not; remembers which sentences were encoded as a whole."""

    def __init__(self, content):
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        self.asked = []
        self.memo = part_memo(content, self._encode)

    def _encode(self, sentences):
        self.asked += sentences
        return self.ids_of(sentences)

    def ids_of(self, sentences):
        return Ragged.from_rows(self._processor.EncodeAsIds(list(sentences)))

    def differ(self, sentences):
        pairs = zip(sentences, self.memo.encode(sentences).rows(), self.ids_of(sentences).rows(), strict=True)
        return [sentence for sentence, found, expected in pairs if found.tolist() != expected.tolist()]


@pytest.fixture
def released(shared_data):
    return (shared_data / "tokenizer" / "30k-clean.model").read_bytes()


@pytest.fixture
def trained(tokenizer):
    return tokenizer.vocabulary.content


@pytest.mark.parametrize("corpus", ["novels", "us_code"])
def test_no_sentence_of_books_and_laws_gets_other_ids(released, shared_data, corpus):
    with gzip.open(shared_data / "corpora" / f"{corpus}.txt.gz", "rt", encoding="utf-8") as file:
        lines = normalize(list(file))
    model = Model(released)
    batches = [lines[i : i + 5000] for i in range(0, len(lines), 5000)]
    assert [sentence for batch in batches for sentence in model.differ(batch)] == []
    assert len(model.asked) < 0.1 * len(lines)


def test_a_vocabulary_that_is_trained_here_works_by_parts(trained, documents):
    model = Model(trained)
    lines = normalize([sentence for document in documents for sentence in document.sentences])
    assert model.differ(lines) == []
    assert len(model.asked) < 0.2 * len(lines)


@given(
    st.lists(st.one_of(st.lists(WORDS).map(" ".join), st.text(st.characters(exclude_characters="\n", codec="utf-8"))))
)
def test_odd_text_gets_the_ids_of_the_model(tokenizer, sentences):
    assert Model(tokenizer.vocabulary.content).differ(sentences) == []


def test_a_full_memory_is_emptied(trained, documents, monkeypatch):
    monkeypatch.setattr(part_memos, "_PARTS", 50)
    model = Model(trained)
    lines = normalize([sentence for document in documents[:20] for sentence in document.sentences])
    assert [sentence for line in lines for sentence in model.differ([line])] == []


def test_a_way_that_is_nearly_as_good_leaves_the_sentence_to_the_model(trained):
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained)
    best = sum(map(processor.get_score, processor.encode("zorblat")))
    for score, asked in ((best + 0.01, ["zorblat"]), (best - 0.01, ["zorblat"]), (best + 1, []), (best - 1, [])):
        model = Model(sentencepiece_model.with_pieces(trained, [("▁zorblat", score)]))
        assert (model.differ(["zorblat"]), model.asked) == ([], asked)


@pytest.mark.parametrize(
    "change",
    [
        {"piece": "of▁the"},
        {"piece": "of the"},
        {"normalizer": {"name": "user_defined"}},
        {"normalizer": {"add_dummy_prefix": False}},
        {"normalizer": {"remove_extra_whitespaces": False}},
        {"normalizer": {"escape_whitespaces": False}},
        {"trainer": {"treat_whitespace_as_suffix": True}},
    ],
    ids=str,
)
def test_models_whose_words_depend_on_each_other_are_none_to_cut(trained, change):
    assert sentencepiece_model.is_cut_by_words(trained)
    more = sentencepiece_model._model_class()()
    if "piece" in change:
        more.pieces.add(piece=change["piece"], score=-5.0)
    for name, part in (("normalizer", more.normalizer_spec), ("trainer", more.trainer_spec)):
        for field, value in change.get(name, {}).items():
            setattr(part, field, value)
    assert not sentencepiece_model.is_cut_by_words(trained + more.SerializeToString())


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "bpe"},
        {"model_type": "unigram", "byte_fallback": True},
        {"model_type": "unigram", "user_defined_symbols": ["[MASK]", "st", "."]},
        {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf"},
        {"model_type": "unigram", "split_by_whitespace": False},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_vocabularies_of_other_kinds(documents, tmp_path, options):
    lines = [sentence for document in documents[:40] for sentence in document.sentences]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "m"), vocab_size=600, minloglevel=2, **options
    )
    model = Model((tmp_path / "m.model").read_bytes())
    crosses = options["model_type"] == "bpe" or "split_by_whitespace" in options
    assert (model.memo is None) == crosses
    if not crosses:
        assert (
            model.differ([*lines, "a [MASK] b", "[MASK][MASK].", "é < << x\x07", *(line.upper() for line in lines)])
            == []
        )
