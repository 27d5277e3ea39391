import io
import json
import shutil

import pytest
import sentencepiece

from albert_model.errors import InputError
from albert_model.text.tokenizer import Tokenizer, read_vocabulary, write_vocabulary
from albert_model.text.vocabulary import Vocabulary

WORD_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##ing"]
ALBERTS_IDS = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}


def word_pieces(pieces):
    return Vocabulary("\n".join(pieces).encode(), "vocab.txt")


def trained_elsewhere(**options):
    """A SentencePiece model with other special pieces than ALBERT's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words of text", "and other words"]),
        model_writer=model,
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


# === Which kind ===


def test_the_name_of_the_file_says_the_kind(tokenizer, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORD_PIECES))
    (tmp_path / "spm.model").write_bytes(tokenizer.vocabulary.content)
    for name, kind in (("vocab.txt", "wordpiece"), ("spm.model", "sentencepiece")):
        made = Tokenizer.from_file(tmp_path / name)
        assert (made.vocabulary.kind, made.vocabulary.file_name) == (kind, name)
        assert made.encode(["the"]).lengths.tolist() == [1]


def test_round_trip_through_a_folder(tokenizer, tmp_path):
    for made in (tokenizer, Tokenizer.of(word_pieces(WORD_PIECES), "a test")):
        folder = tmp_path / made.vocabulary.kind
        write_vocabulary(folder, made)
        read = read_vocabulary(folder)
        assert (read.fingerprint, type(read)) == (made.fingerprint, type(made))
        assert json.loads((folder / "tokenizer_config.json").read_text()) == {"do_lower_case": True}


def test_the_fingerprint_depends_on_all_that_changes_ids(tokenizer):
    cased = Vocabulary(tokenizer.vocabulary.content, "spm.model", do_lower_case=False)
    assert Tokenizer.of(cased, "a test").fingerprint != tokenizer.fingerprint


# === What nothing can be trained with ===


def test_what_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(InputError, match="should hold one vocabulary"):
        read_vocabulary(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"not a model")
    for read in (lambda: read_vocabulary(tmp_path), lambda: Tokenizer.from_file(tmp_path / "spm.model")):
        with pytest.raises(InputError, match=r"spm\.model: not a SentencePiece model"):
            read()
    with pytest.raises(InputError, match=r"none\.model: cannot be read"):
        Tokenizer.from_file(tmp_path / "none.model")


@pytest.mark.parametrize("missing", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
def test_a_special_piece_that_is_missing_is_named(missing):
    pieces = [piece for piece in WORD_PIECES if piece != missing]
    expected = rf"some/folder: vocab\.txt: has no piece \{missing[:-1]}\].*released ALBERT or BERT"
    with pytest.raises(InputError, match=expected):
        Tokenizer.of(word_pieces(pieces), "some/folder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ALBERTS_IDS | {"control_symbols": ["[CLS]", "[SEP]"]},
            r"has no piece \[MASK\], which .*start: ra",
        ),
        ({}, "has no piece <pad>"),
        ({"pad_id": 3}, "piece <pad> has id 3, should have 0"),
    ],
    ids=["no mask", "as SentencePiece trains it", "padding elsewhere"],
)
def test_a_sentencepiece_model_without_alberts_special_pieces_is_refused(tmp_path, options, message):
    (tmp_path / "spm.model").write_bytes(trained_elsewhere(**options))
    with pytest.raises(InputError, match=rf"^{tmp_path}/spm\.model: {message}"):
        Tokenizer.from_file(tmp_path / "spm.model")


def test_special_pieces_are_known_by_their_names():
    shuffled = ["[PAD]", "the", "[MASK]", "##ing", "[SEP]", "[CLS]", "[UNK]"]
    made = Tokenizer.of(word_pieces(shuffled), "a test")
    assert (made.cls_id, made.sep_id, made.mask_id) == (5, 4, 2)
    model = trained_elsewhere(**ALBERTS_IDS, control_symbols=["[MASK]", "[SEP]", "[CLS]"])
    made = Tokenizer.of(Vocabulary(model, "spm.model"), "a test")
    assert (made.mask_id, made.sep_id, made.cls_id) == (2, 3, 4)
    assert made.ordinary_ids.min() == 5


def test_another_vocabulary_of_alberts_kind_is_one_to_train_with(shared_data, tmp_path):
    """It has ALBERT's special pieces, though other words; `albert_model.weights.source` tells it from the released."""
    shutil.copyfile(shared_data / "tokenizer" / "not-albert-30k.model", tmp_path / "spm.model")
    other, genuine = read_vocabulary(tmp_path), Tokenizer.from_file(shared_data / "tokenizer" / "30k-clean.model")
    assert (other.cls_id, other.sep_id, other.mask_id) == (genuine.cls_id, genuine.sep_id, genuine.mask_id)
    assert other.fingerprint != genuine.fingerprint
    assert not other.vocabulary.do_lower_case
