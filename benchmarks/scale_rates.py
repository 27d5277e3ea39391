"""Measures what scale.py reckons with: seconds of one processor and bytes, for each step from text to examples.

python benchmarks/scale_rates.py                       # some minutes; prints the options that scale.py takes
python benchmarks/scale_rates.py --megabytes 2 6       # quicker, and less exact

Each step runs as TFX runs it, in one process, and the processor's time is taken, so that what else runs on the machine
counts little. A rate is a slope between two sizes of text: what is done once for a job drops out. The text is
novels.txt.gz of the test data, whose folder ALBERT_TEST_DATA says; the vocabulary is the released one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ALBERT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
NOVELS = DATA / "corpora" / "novels.txt.gz"
VOCABULARY = DATA / "tokenizer" / "30k-clean.model"
_ONE_COPY, _TWO_COPIES, _NEAR = "ExamplesOnce", "ExamplesTwice", "NearDuplicates"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", nargs=2, type=float, default=(4.0, 16.0), help="of text: the two sizes")
    parser.add_argument("--length", type=int, default=512, help="examples.max_seq_length")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)  # the process that measures one size
    arguments = parser.parse_args()
    if arguments.worker:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), arguments.worker, arguments.length)))
        return
    small, large = (_in_process(megabytes, arguments.length) for megabytes in arguments.megabytes)
    print(" ".join(f"--{name}={value:.3g}" for name, value in rates(small, large).items()))


def rates(small: dict[str, float], large: dict[str, float]) -> dict[str, float]:
    """What scale.py takes, by option, of what `measure` gives for two sizes."""
    more = {name: large[name] - small[name] for name in small}
    megabytes = more["text"] / 1e6
    return {
        "documents": megabytes / more["DocumentGen"],
        "near-duplicates-rate": megabytes / (more[_NEAR] - more["DocumentGen"]),
        "first-copy": megabytes / more[_ONE_COPY],
        "next-copy": megabytes / (more[_TWO_COPIES] - more[_ONE_COPY]),
        "statistics": megabytes / more["StatisticsGen"],
        "transform": megabytes / more["Transform"],
        "bytes-per-token": large["text"] / large["tokens"],
        "padding": large["padding"],
        "document-bytes": large["document_bytes"] / large["text"],
        "example-bytes": large["example_bytes"] / large["text"],
    }


def _in_process(megabytes: float, length: int) -> dict[str, float]:
    """In one of its own, so that each size meets the same: no cache filled by the other."""
    command = [sys.executable, __file__, "--worker", str(megabytes), "--length", str(length)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder: Path, megabytes: float, length: int) -> dict[str, float]:
    """Seconds of the processor by component, and bytes and tokens of what was made."""
    text = _write_text(folder, megabytes)
    seconds, artifacts = _run(folder, length)
    manifest = json.loads(Path(artifacts[_ONE_COPY], "manifest.json").read_text())
    return seconds | {
        "text": text,
        "tokens": manifest["tokens"],
        "padding": manifest["padding_share"],
        "document_bytes": _bytes_of(artifacts["DocumentGen"]),
        "example_bytes": _bytes_of(artifacts[_ONE_COPY]),
    }


def _write_text(folder: Path, megabytes: float) -> int:
    path = folder / "corpus" / "span-1" / "novels" / "text.txt"
    path.parent.mkdir(parents=True)
    with gzip.open(NOVELS) as file:
        path.write_bytes(file.read(int(megabytes * 1e6)))
    return path.stat().st_size


def _run(folder: Path, length: int) -> tuple[dict[str, float], dict[str, str]]:
    """Runs the components; seconds and folders by component."""
    from tfx import v1 as tfx

    seconds: dict[str, float] = {}
    components = _components(folder, length)
    for component in components:
        _time(component, seconds)
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="rates",
        pipeline_root=str(folder / "root"),
        components=components,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(folder / "mlmd")),
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=local"],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    outputs = {name: str(next((folder / "root" / name / "examples").iterdir())) for name in ("DocumentGen", _ONE_COPY)}
    return seconds, outputs


def _components(folder: Path, length: int) -> list[Any]:
    from tfx import v1 as tfx

    from albert_model.text.documents import DocumentSettings
    from albert_model.text.settings import ExampleSettings
    from albert_model.text.tokenizer import Tokenizer as Pieces
    from albert_model.text.tokenizer import write_vocabulary
    from components.artifacts import Tokenizer
    from components.document_gen.component import DocumentGen
    from components.pretraining_example_gen.component import PretrainingExampleGen

    def documents(settings: DocumentSettings) -> Any:
        return DocumentGen(str(folder / "corpus"), "span-1/*/*.txt", 0.1, settings.model_dump_json())

    def examples(copies: int) -> Any:
        settings = ExampleSettings(max_seq_length=length, dupe_factor=copies).model_dump_json()
        return PretrainingExampleGen(plain.outputs["examples"], tokenizer.outputs["result"], settings)

    write_vocabulary(str(folder / "vocabulary"), Pieces.from_file(VOCABULARY))
    tokenizer = tfx.dsl.Importer(str(folder / "vocabulary"), Tokenizer).with_id("Tokenizer")
    plain = documents(DocumentSettings())
    near = documents(DocumentSettings(near_duplicates="drop")).with_id(_NEAR)
    once, twice = examples(1).with_id(_ONE_COPY), examples(2).with_id(_TWO_COPIES)
    statistics = tfx.components.StatisticsGen(examples=once.outputs["examples"])
    schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=False)
    transform = tfx.components.Transform(
        examples=once.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="components.preprocessing_module.preprocessing_fn",
        custom_config={
            "max_seq_length": length,
            "max_predictions": ExampleSettings().max_predictions_per_seq,
            "examples_per_row": None,
        },
        materialize=False,
    )
    return [plain, near, tokenizer, once, twice, statistics, schema, transform]


def _time(component: Any, seconds: dict[str, float]) -> None:
    """Makes its executor leave the processor's seconds under the component's name."""
    executor = getattr(component.executor_spec, "executor_class", None)
    if executor is None:  # an importer has none
        return

    def timed(do: Callable[..., None]) -> Callable[..., None]:
        def timed_do(self: Any, *arguments: Any) -> None:
            started = time.process_time()
            do(self, *arguments)
            name = Path(self._context.executor_output_uri).parts[-5]  # ROOT/COMPONENT/.system/executor_execution/1/…
            seconds[name] = time.process_time() - started

        return timed_do

    if not hasattr(executor, "is_timed"):
        executor.Do, executor.is_timed = timed(executor.Do), True


def _bytes_of(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).glob("Split-*/*"))


if __name__ == "__main__":
    main()
