"""albert create-pretraining-data as users of create_pretraining_data.py give it, and what they get."""

import gzip
import json
import resource
import signal
import subprocess
import time
from collections import Counter

import pytest
import tensorflow as tf

from albert_model.text import records
from albert_model.text.documents import DocumentSettings, read_documents
from albert_model.text.tokenizer import Tokenizer
from tests.albert_model.text.padded_reader import parse, segments, text_of
from tests.conftest import MANUAL
from tests.demo import ALBERT, ROOT, albert
from tests.forks import albert_fork

TEXT = MANUAL / "span-1" / "postgresql" / "manual.txt"
SHORT = ("--max_seq_length=64", "--max_predictions_per_seq=10", "--dupe_factor=2")


def create(*arguments):
    return finished(albert_fork("create-pretraining-data", *arguments).done())


def finished(done):
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def refused(*arguments, status=1):
    done = albert_fork("create-pretraining-data", *arguments).done()
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def records_of(path):
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def piece_text(tokenizer, ids):
    return "".join(tokenizer.pieces[i] for i in ids)


@pytest.fixture(scope="module")
def vocabulary(tokenizer, tmp_path_factory):
    return tokenizer.vocabulary.write(tmp_path_factory.mktemp("vocab"))


@pytest.fixture(scope="module")
def made(vocabulary, tmp_path_factory):
    """What the command in ALBERT-TF2.0's README makes, in shorter examples, and what it says."""
    data = tmp_path_factory.mktemp("data")
    blocks = TEXT.read_text().split("\n\n")
    (data / "a.txt").write_text("\n\n".join(blocks[:30]))
    (data / "b.txt").write_text("\n\n".join([*blocks[20:60], ""]))
    output = data / "processed"
    done = albert(
        *("create-pretraining-data", f"--input_file={data}/*.txt", f"--output_file={output}/train.tf_record"),
        *(f"--spm_model_file={vocabulary}", f"--meta_data_file_path={output}/train_meta_data", *SHORT),
    )
    return data, finished(done)


def test_help_has_the_flags_of_both_scripts_and_examples():
    done = albert("create-pretraining-data", "--help")
    assert done.returncode == 0
    for flag in (
        *("input_file", "output_file", "vocab_file", "spm_model_file", "do_lower_case", "do_whole_word_mask"),
        *("do_permutation", "favor_shorter_ngram", "random_next_sentence", "max_seq_length", "ngram"),
        *("max_predictions_per_seq", "random_seed", "meta_data_file_path", "dupe_factor", "masked_lm_prob"),
        "short_seq_prob",
    ):
        assert f"  --{flag} " in done.stdout, flag
    assert "albert create-pretraining-data --input_file='data/*.txt'" in done.stdout


def test_neither_tfx_nor_beam_nor_tensorflow_is_imported(vocabulary, tmp_path):
    program = (
        "import sys; from pipeline.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "print({'tfx', 'apache_beam', 'tensorflow'} & sys.modules.keys())"
    )
    words = [f"--input_file={TEXT}", f"--output_file={tmp_path}/train", f"--spm_model_file={vocabulary}", *SHORT]
    command = [ALBERT.with_name("python"), "-c", program, "create-pretraining-data", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


def test_a_reader_of_the_original_reads_every_record(made, tokenizer):
    data, _ = made
    examples = parse(records_of(data / "processed" / "train.tf_record"), 64, 10)
    texts = []
    for name in ("a.txt", "b.txt"):
        with (data / name).open("rb") as file:
            documents = read_documents(file, name, "", DocumentSettings(), Counter())
            texts += [piece_text(tokenizer, tokenizer.encode(d.sentences).values) for d in documents]
    found = set()
    for example in examples:
        text = piece_text(tokenizer, text_of(example))
        found.update(number for number, whole in enumerate(texts) if text in whole)
        assert any(text in whole for whole in texts)
        assert all(segments(example))
    assert found == set(range(len(texts)))
    metadata = json.loads((data / "processed" / "train_meta_data").read_text())
    assert metadata == {
        "task_type": "albert_pretraining",
        "train_data_size": len(examples),
        "max_seq_length": 64,
        "max_predictions_per_seq": 10,
    }


def test_what_was_made_and_left_out_is_said(made):
    data, said = made
    assert "examples of 60 documents, 2 copies" in said
    assert "left out: 10 duplicate documents" in said
    assert "padding: " in said
    assert f"{data}/processed/train.tf_record: " in said


def test_the_bytes_do_not_depend_on_files_and_order(made, vocabulary, tmp_path):
    data, _ = made
    for number, block in enumerate(TEXT.read_text().split("\n\n")[:60]):
        with gzip.open(tmp_path / f"{99 - number}.txt.gz", "wt") as file:
            file.write(block)
    create(
        *("--input_file", f"{tmp_path}/[5-9]*.txt.gz,{tmp_path}/4*.txt.gz", "--input-file", f"{tmp_path}/*.gz"),
        *("--output-file", tmp_path / "train", "--spm-model-file", vocabulary, *SHORT),
    )
    assert (tmp_path / "train").read_bytes() == (data / "processed" / "train.tf_record").read_bytes()


def test_several_outputs_get_equal_parts(made, vocabulary, tmp_path):
    data, _ = made
    names = [tmp_path / "new" / name for name in "abc"]
    create(
        f"--input_file={data}/*.txt",
        f"--output_file={','.join(map(str, names))}",
        "-spm_model_file",
        vocabulary,
        *SHORT,
    )
    parts = [records_of(name) for name in names]
    whole = records_of(data / "processed" / "train.tf_record")
    assert sorted(record for part in parts for record in part) == sorted(whole)
    assert all(0.8 < len(part) / (len(whole) / 3) < 1.2 for part in parts)


@pytest.mark.parametrize(
    ("flag", "like"),
    [
        ("--do_lower_case", ""),
        ("--do_lower_case=true", ""),
        ("--nodo_lower_case", "--do_lower_case=false"),
        ("-nodo_whole_word_mask", "--do-whole-word-mask=0"),
        ("--nofavor_shorter_ngram", "--favor_shorter_ngram=False"),
        ("--norandom_next_sentence", "--do_permutation=false"),
        ("--input_file_mode=r", "--noparallel"),
        ("--dupe_factor=3", "--dupe_factor=3"),
    ],
)
def test_flags_may_be_written_as_absl_has_them(vocabulary, tmp_path, flag, like):
    (tmp_path / "text").write_text("Foxes run.\nDogs do not.\n\nA query is planned.\nThen it runs.\n")
    for name, words in (("one", [flag]), ("other", [like] if like else [])):
        create(
            f"--input_file={tmp_path}/text",
            f"--output_file={tmp_path}/{name}",
            f"--spm_model_file={vocabulary}",
            *words,
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_settings_count(made, vocabulary, tmp_path):
    text = made[0] / "a.txt"
    results = {}
    for flag in ("--random_seed=1", "--random_seed=2", "--nodo_lower_case", "--ngram=1", "--nodo_whole_word_mask"):
        create(
            f"--input_file={text}",
            f"--output_file={tmp_path}/out",
            f"--spm_model_file={vocabulary}",
            *SHORT,
            flag,
            "--overwrite",
        )
        results[flag] = (tmp_path / "out").read_bytes()
    assert len(set(results.values())) == len(results)


def test_a_wordpiece_vocabulary(tmp_path):
    words = ["a", "query", "is", "planned", "then", "it", "runs", "foxes", "run", "dogs", "do", "not", ".", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, ""]))
    (tmp_path / "text").write_text("Foxes run.\nDogs do not.\n\nA query is planned.\nThen it runs.\n")
    create(
        f"--input_file={tmp_path}/text", f"--output_file={tmp_path}/out", f"--vocab_file={tmp_path}/vocab.txt", *SHORT
    )
    tokenizer = Tokenizer.from_file(tmp_path / "vocab.txt")
    examples = parse(records_of(tmp_path / "out"), 64, 10)
    assert {piece_text(tokenizer, sorted(text_of(e))) for e in examples} == {
        piece_text(tokenizer, sorted(tokenizer.encode([text]).values))
        for text in ("foxes run. dogs do not.", "a query is planned. then it runs.")
    }


def test_compact_records_are_the_pipelines(made, vocabulary, tmp_path):
    data, _ = made
    create(
        f"--input_file={data}/*.txt",
        f"--output_file={tmp_path}/out",
        f"--spm_model_file={vocabulary}",
        "--layout=compact",
        *SHORT,
    )
    compact = records.decode(records_of(tmp_path / "out")).to_pydict()
    padded = parse(records_of(data / "processed" / "train.tf_record"), 64, 10)
    assert compact["input_ids"] == [e["input_ids"][: e["input_mask"].sum()].tolist() for e in padded]
    assert compact["masked_lm_ids"] == [
        e["masked_lm_ids"][: int(e["masked_lm_weights"].sum())].tolist() for e in padded
    ]
    assert compact["sentence_order_label"] == [e["next_sentence_labels"].tolist() for e in padded]


def test_lines_that_are_not_utf8(vocabulary, tmp_path):
    (tmp_path / "text").write_bytes(b"Foxes run.\nDogs do not.\n" + b"caf\xe9\n")
    words = [f"--input_file={tmp_path}/text", f"--output_file={tmp_path}/out", f"--spm_model_file={vocabulary}", *SHORT]
    said = refused(*words)
    assert "text, line 3: not UTF-8" in said
    assert "--invalid_utf8" in said
    assert "left out: 1 lines that are not UTF-8" in create(*words, "--invalid_utf8=skip")
    assert "1 lines that are not UTF-8 have U+FFFD" in create(*words, "--invalid_utf8=replace", "--overwrite")


def test_what_is_there_is_replaced_only_when_asked(vocabulary, tmp_path):
    (tmp_path / "out").write_text("precious")
    words = [f"--input_file={TEXT}", f"--output_file={tmp_path}/out", f"--spm_model_file={vocabulary}", *SHORT]
    assert f"{tmp_path}/out is there already. Say --overwrite" in refused(*words)
    assert (tmp_path / "out").read_text() == "precious"
    create(*words, "--overwrite")
    assert len(records_of(tmp_path / "out")) > 100


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"input_file": "{tmp}/*.text"}, 1, "--input_file: no file matches"),
        ({"input_file": "{tmp}"}, 1, "is a folder. Name files in it"),
        ({"input_file": "{tmp}/empty"}, 1, "no text. Write one sentence per line"),
        ({"input_file": "{tmp}/word"}, 1, "no example could be made of 1 documents"),
        ({"input_file": "{tmp}/broken.gz"}, 1, "damaged gzip file"),
        ({"spm_model_file": "{tmp}/none.model"}, 1, "none.model: cannot be read"),
        ({"spm_model_file": "{tmp}/empty"}, 1, "should be a SentencePiece model"),
        ({"spm_model_file": None}, 2, "Say --spm_model_file"),
        ({"spm_model_file": None, "vocab_file": "{tmp}/a.vocab"}, 1, "Give the model: --spm_model_file"),
        ({"spm_model_file": None, "vocab_file": "{tmp}/vocab.txt"}, 1, "has no piece [MASK]"),
        ({"max_seq_length": "20"}, 1, "--max_predictions_per_seq 20 does not fit --max_seq_length 20"),
        ({"max_seq_length": "many"}, 2, "'many' is not a valid integer"),
        ({"masked_lm_prob": "1.5"}, 1, "--masked_lm_prob: Input should be less than 1"),
        ({"random_next_sentence": "true"}, 2, "'--random_next_sentence': is not supported"),
        ({"max_seq_lenght": "20"}, 2, "No such option: --max_seq_lenght"),
        ({"max_seq_lenght": "20", "runner": "FnApiRunner"}, 2, "Did you mean --max_seq_length"),
        ({"output_file": "{tmp}"}, 1, "is a folder. Name a file in it"),
        ({"output_file": "{tmp}/a,{tmp}/a"}, 1, "is named twice"),
        ({"output_file": "{tmp}/text", "overwrite": None}, 1, "is one of the input files"),
        ({"output_file": "{tmp}/text/a"}, 1, "File exists"),
    ],
)
def test_mistakes(vocabulary, tmp_path, changes, status, message):
    (tmp_path / "text").write_text("Foxes run.\nDogs do not.\n")
    (tmp_path / "empty").write_text("\n \n")
    (tmp_path / "word").write_text("a\n")
    (tmp_path / "broken.gz").write_bytes(gzip.compress(TEXT.read_bytes())[:1000])
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nfox\n")
    before = sorted(tmp_path.iterdir())
    words = {"input_file": "{tmp}/text", "output_file": "{tmp}/out", "spm_model_file": str(vocabulary), **changes}
    given = [
        f"--{name}" + ("" if name == "overwrite" else f"={value.format(tmp=tmp_path)}")
        for name, value in words.items()
        if value or name == "overwrite"
    ]
    assert message in refused(*given, status=status)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "text").read_text() == "Foxes run.\nDogs do not.\n"


def test_a_pattern_that_the_shell_expanded(vocabulary, tmp_path):
    said = refused(
        "--input_file", TEXT, TEXT, f"--output_file={tmp_path}/out", "--spm_model_file", vocabulary, status=2
    )
    assert "quote that: --input_file='data/*.txt'" in said


def test_a_full_disk_leaves_nothing(vocabulary, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    words = [f"--input_file={TEXT}", f"--output_file={tmp_path}/new/out", f"--spm_model_file={vocabulary}"]
    done = subprocess.run(
        [ALBERT, "create-pretraining-data", *words], preexec_fn=limit, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert f"{tmp_path}/new: File too large" in done.stderr
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(vocabulary, tmp_path, number):
    words = [f"--input_file={TEXT}", f"--output_file={tmp_path}/new/out", f"--spm_model_file={vocabulary}"]
    running = subprocess.Popen(
        [ALBERT, "create-pretraining-data", *words, "--dupe_factor=1000"], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    while not list(tmp_path.glob("new/.unfinished-*")):
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Interrupted. What was not finished was not written." in said
    assert list((tmp_path / "new").iterdir()) == []


def test_the_released_vocabulary_and_the_sample_of_the_original(shared_data, tmp_path):
    model = shared_data / "tokenizer" / "30k-clean.model"
    said = create(
        *(f"--input_file={shared_data}/corpora/sample_text.txt", f"--output_file={tmp_path}/train.tf_record"),
        *(f"--spm_model_file={model}", f"--vocab_file={model.with_suffix('.vocab')}", "--dupe_factor=2"),
    )
    tokenizer = Tokenizer.from_file(model)
    examples = parse(records_of(tmp_path / "train.tf_record"), 512, 20)
    assert f"{len(examples):,} examples of" in said
    text = (shared_data / "corpora" / "sample_text.txt").read_text().split("\n")
    whole = piece_text(tokenizer, tokenizer.encode(text).values)
    assert all(piece_text(tokenizer, text_of(example)) in whole for example in examples)
    beginning = piece_text(tokenizer, tokenizer.encode(text[4:5]).values)
    assert any(beginning in piece_text(tokenizer, text_of(example)) for example in examples)


# === On Beam ===


def test_beam_gives_the_same_bytes(made, vocabulary, tmp_path):
    data, _ = made
    words = [f"--input_file=file://{data}/*.txt", f"--spm_model_file={vocabulary}", *SHORT]
    said = create(
        *words,
        *(
            f"--output_file=file://{tmp_path}/new/1,file://{tmp_path}/new/2",
            f"--meta_data_file_path={tmp_path}/new/meta",
        ),
        *("--runner=FnApiRunner", "--direct_num_workers", "1"),
    )
    create(f"--input_file={data}/*.txt", f"--output_file={tmp_path}/1,{tmp_path}/2", *words[1:])
    for name in "12":
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / name).read_bytes()
    metadata = (data / "processed" / "train_meta_data").read_bytes()
    assert (tmp_path / "new" / "meta").read_bytes() == metadata
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["1", "2", "meta"]
    assert "examples of 60 documents, 2 copies" in said
    assert "left out: 10 duplicate documents" in said


def test_an_error_in_a_worker_is_told_in_a_line(vocabulary, tmp_path):
    (tmp_path / "text").write_bytes(b"Foxes run.\ncaf\xe9\n")
    words = [f"--input_file={tmp_path}/text", f"--output_file={tmp_path}/new/out", f"--spm_model_file={vocabulary}"]
    said = refused(*words, "--runner=FnApiRunner")
    assert "text, line 2: not UTF-8" in said
    assert "--invalid_utf8" in said
    assert list((tmp_path / "new").iterdir()) == []
