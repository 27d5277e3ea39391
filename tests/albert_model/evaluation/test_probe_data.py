from collections import Counter

import pytest
from pydantic import ValidationError

from albert_model.errors import InputError
from albert_model.evaluation.probe_data import Example, read_data, read_examples
from albert_model.evaluation.probe_settings import ProbeSettings
from tests.demo import ROOT

MANUAL = ROOT / "tests" / "data" / "probe" / "manual.tsv"


def lines(count, prefix="text", labels=("a", "b")):
    return "".join(f"{prefix} {i}\t{labels[i % len(labels)]}\n" for i in range(count))


def read(folder, content, **settings):
    path = folder / "set.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_data(ProbeSettings(path=str(path), **settings))


def examples_of(folder, content):
    path = folder / "set.tsv"
    path.write_bytes(content.encode())
    return read_examples(str(path), "path", Counter())


# === Layout ===


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("good\tyes\n", [("good", "", "yes")]),
        ("text\tlabel\ngood\tyes\n", [("good", "", "yes")]),
        ("Label\tText\nyes\tgood\n", [("good", "", "yes")]),
        ("good\tmore\tyes\n", [("good", "more", "yes")]),
        ("label\ttext_b\ttext\nyes\tmore\tgood\n", [("good", "more", "yes")]),
        ("good\tyes", [("good", "", "yes")]),
        ("\ufefftext\tlabel\r\ngood\tyes\r\n", [("good", "", "yes")]),
        ("good\tyes\r\n\r\nbad\tno\r\n", [("good", "", "yes"), ("bad", "", "no")]),
        ("  two   words \t yes \n", [("two words", "", "yes")]),
        ("“Ünïcode” 日本\tja\n", [("“Ünïcode” 日本", "", "ja")]),
        ("text\tyes\n", [("text", "", "yes")]),
    ],
    ids=[
        *("text and label", "header", "header in another order", "two texts", "header of two texts", "no line end"),
        *("mark and CRLF", "blank line", "white space", "unicode", "a text that is a word of headers"),
    ],
)
def test_layouts(tmp_path, content, expected):
    assert examples_of(tmp_path, content) == [Example(*row) for row in expected]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one\n", r"set\.tsv, line 1: has 1 column, should have 2 or 3: text<TAB>label or text<TAB>text_b<TAB>label"),
        ("a\tb\tc\td\n", "line 1: has 4 columns, should have 2 or 3"),
        ("a\tb\na\tb\tc\n", "line 2: has 3 columns, the lines before have 2"),
        ("text\tlabel\n\na\tb\nc\n", "line 4: has 1 column, the lines before have 2"),
        ("a\tx\n \tb\n", "line 2: has no text. Fill it in, or remove the line"),
        ("a\tx\nb\t \n", "line 2: has no label"),
        ("a\tb\tx\na\t\tx\n", "line 2: has no text_b"),
    ],
)
def test_lines_that_are_not_laid_out_so_are_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        examples_of(tmp_path, content)


def test_a_file_that_is_no_text_is_named(tmp_path):
    with pytest.raises(InputError, match=r"set\.tsv, line 2: not UTF-8"):
        read(tmp_path, b"a\tx\n\xff\xfe\tb\n")
    with pytest.raises(InputError, match=r"line 1: has 1 column"):
        read(tmp_path, b"\x00\x01\x02")
    with pytest.raises(InputError, match=r"gone\.tsv: cannot be read \(No such file"):
        read_data(ProbeSettings(path=str(tmp_path / "gone.tsv")))
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\). test_path should be a \.tsv file"):
        read(tmp_path, lines(40), test_path=str(tmp_path))


# === Split ===


def test_the_split_depends_on_each_text_alone(tmp_path):
    found = read(tmp_path, lines(500))
    assert len(found.train) + len(found.test) == 500
    assert 70 <= len(found.test) <= 130
    shuffled = "".join(sorted(lines(500).splitlines(keepends=True), reverse=True))
    again = read(tmp_path, "text\tlabel\n" + shuffled + lines(100, "more"))
    assert set(found.test) <= set(again.test)
    assert set(found.train) <= set(again.train)


def test_equal_texts_are_on_one_side(tmp_path):
    found = read(tmp_path, lines(200) + lines(200, labels=("b", "a")))
    assert not {e.text for e in found.train} & {e.text for e in found.test}


@pytest.mark.parametrize("fraction", [0.05, 0.5])
def test_the_share_is_the_settings(tmp_path, fraction):
    found = read(tmp_path, lines(2000), test_fraction=fraction)
    assert abs(len(found.test) / 2000 - fraction) < 0.04


def test_a_test_file_is_tested_with_and_its_texts_are_not_trained_on(tmp_path):
    (tmp_path / "test.tsv").write_text("text\tlabel\ntext 3\tb\nnew\ta\n\n")
    found = read(tmp_path, lines(20) + "\n\n", test_path=str(tmp_path / "test.tsv"))
    assert [e.text for e in found.test] == ["text 3", "new"]
    assert len(found.train) == 19
    assert found.dropped == {"empty": 3, "also in the test file": 1}


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("", {}, "0 examples to train with; give 10 or more"),
        (lines(5), {}, r"\d examples to train with; give 10 or more"),
        (lines(40, labels=("same",)), {}, "all examples to train with have the label 'same'; give two labels"),
        (lines(40), {"test_fraction": 1e-6}, "no examples to test with; give more lines, a larger test_fraction or"),
        (lines(40), {"test_fraction": 1 - 1e-6}, "0 examples to train with"),
    ],
)
def test_too_little_is_refused(tmp_path, content, settings, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content, **settings)


def test_a_label_that_is_only_tested_is_named(tmp_path):
    (tmp_path / "test.tsv").write_text("new\tc\n")
    with pytest.raises(InputError, match=r"test\.tsv: label 'c' is of no example to train with"):
        read(tmp_path, lines(20), test_path=str(tmp_path / "test.tsv"))
    (tmp_path / "test.tsv").write_text("\n")
    with pytest.raises(InputError, match=r"test\.tsv: no examples to test with; give more lines\."):
        read(tmp_path, lines(20), test_path=str(tmp_path / "test.tsv"))


def test_the_majority_is_of_the_examples_to_train_with(tmp_path):
    (tmp_path / "test.tsv").write_text("x\ta\ny\ta\nz\ta\nw\tb\n")
    found = read(tmp_path, lines(30, labels=("a", "b", "b")), test_path=str(tmp_path / "test.tsv"))
    assert found.majority == 0.25


# === Settings ===


def test_the_fingerprint_is_that_of_the_files(tmp_path):
    first, second = tmp_path / "a.tsv", tmp_path / "b.tsv"
    first.write_text(lines(20))
    second.write_text(lines(20))
    alone = ProbeSettings(path=str(first)).files_fingerprint
    assert ProbeSettings(path=str(second), seeds=7).files_fingerprint == alone
    both = ProbeSettings(path=str(first), test_path=str(second))
    assert both.files_fingerprint != alone
    second.write_text(lines(21))
    assert ProbeSettings(path=str(second)).files_fingerprint != alone


def test_paths_can_be_changed():
    changed = ProbeSettings(path="a", test_path="b").with_paths(lambda path: f"/x/{path}")
    assert (changed.path, changed.test_path) == ("/x/a", "/x/b")
    assert ProbeSettings(path="a").with_paths(str.upper) == ProbeSettings(path="A")


def test_rates_and_epochs_fit_what_is_trained():
    frozen, free = ProbeSettings(path="a"), ProbeSettings(path="a", frozen=False)
    assert frozen.stated_learning_rate > 10 * free.stated_learning_rate
    assert frozen.stated_epochs > free.stated_epochs
    said = ProbeSettings(path="a", epochs=7, learning_rate=0.5)
    assert (said.stated_epochs, said.stated_learning_rate) == (7, 0.5)


@pytest.mark.parametrize("values", [{"seeds": 1}, {"test_fraction": 1.0}, {"path": ""}, {"max_loss": -0.1}, {"no": 1}])
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ValidationError):
        ProbeSettings.model_validate({"path": "a"} | values)


def test_every_setting_is_described():
    assert all(field.description for field in ProbeSettings.model_fields.values())


def test_the_shipped_set_is_what_its_readme_says():
    found = read_data(ProbeSettings(path=str(MANUAL)))
    counts = Counter(example.label for example in (*found.train, *found.test))
    assert counts == dict.fromkeys(("index", "replication", "security", "types"), 120)
    assert MANUAL.stat().st_size < 100_000
