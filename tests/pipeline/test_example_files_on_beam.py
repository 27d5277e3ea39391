import numpy as np
import pytest

from albert_model.text.documents import DocumentSettings
from albert_model.text.settings import ExampleSettings
from pipeline import example_files, example_files_on_beam
from tests.conftest import MANUAL


@pytest.mark.parametrize("places", [example_files_on_beam.Places(1, 1), example_files_on_beam.Places(3, 5)])
def test_shards_that_are_joined_have_the_outputs_keys_in_order(places):
    keys = [np.random.default_rng(number).bytes(16) for number in range(2000)]
    keys += [b"\0" * 16, b"\xff" * 16]
    shards = [[] for _ in range(places.outputs * places.parts)]
    for key in sorted(keys, key=places.key):
        shards[int.from_bytes(places.key(key)[:8], "big") % len(shards)].append(key)
    for output in range(places.outputs):
        joined = [key for shard in places.shards_of(output) for key in shards[shard]]
        assert joined == sorted(key for key in keys if int.from_bytes(key[:8], "big") % places.outputs == output)
        sizes = [len(shards[shard]) for shard in places.shards_of(output)]
        assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.parametrize("layout", ["padded", "compact"])
def test_many_shards_give_the_bytes_of_one_process(layout, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(example_files_on_beam, "shards_for", lambda _: 7)
    text = MANUAL / "span-1" / "postgresql" / "manual.txt"
    examples = ExampleSettings(max_seq_length=64, max_predictions_per_seq=10, dupe_factor=1)
    job = example_files.Job((str(text),), (), tokenizer, DocumentSettings(), examples, layout)
    paths = {where: [tmp_path / where / name for name in "ab"] for where in ("beam", "here")}
    for where in paths:
        (tmp_path / where).mkdir()
    beam = example_files_on_beam.write_examples(
        job, list(map(str, paths["beam"])), ["--runner=FnApiRunner"], lambda *_: None
    )
    here = example_files.write_examples(job, paths["here"], lambda *_: None)
    assert {name: beam[name] for name in here} == here
    assert beam["examples"] > 1000
    for first, second in zip(paths["beam"], paths["here"], strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in (tmp_path / "beam").iterdir()) == ["a", "b"]
