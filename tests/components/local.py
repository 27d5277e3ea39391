"""Runs components through LocalDagRunner, as a pipeline does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfx import v1 as tfx

from albert_model.config import AlbertConfig
from albert_model.text.documents import SPLITS, DocumentSettings
from albert_model.text.settings import ExampleSettings
from albert_model.text.vocabulary_training import TokenizerSettings
from components import beam_options
from components.document_gen.component import DocumentGen
from components.initial_model.component import InitialModel
from components.pretraining_example_gen.component import PretrainingExampleGen
from components.sharding import split_files
from components.tokenizer_trainer.component import TokenizerTrainer
from pipeline.lineage import Lineage, NodeRun


def run_components(root: Path, components: list, beam_args: Sequence[str] = ()) -> dict[str, NodeRun]:
    """Runs them with Beam's FnApiRunner and SQLite metadata; gives what each did."""
    metadata = str(root / "metadata.sqlite")
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="test",
        pipeline_root=str(root),
        components=components,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata),
        beam_pipeline_args=beam_options.for_components(["--runner=FnApiRunner", *beam_args]),
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    lineage = Lineage(metadata)
    return lineage.nodes(lineage.run_ids[-1])


def make_examples(
    folder: Path,
    files: dict[str, str | bytes],
    config: AlbertConfig,
    settings: ExampleSettings,
    beam_args: Sequence[str] = (),
) -> dict[str, NodeRun]:
    """Runs the components from text to examples."""
    corpus = write_corpus(folder / "corpus", files)
    documents = DocumentGen(str(corpus), "span-{SPAN}/*/*.txt*", 0.2, DocumentSettings().model_dump_json())
    initial = InitialModel(model_config=config.model_dump_json())
    tokenizer = TokenizerTrainer(
        documents=documents.outputs["examples"],
        initial_model=initial.outputs["model"],
        vocab_size=config.vocab_size,
        settings=TokenizerSettings().model_dump_json(),
    )
    examples = PretrainingExampleGen(
        documents=documents.outputs["examples"],
        tokenizer=tokenizer.outputs["tokenizer"],
        settings=settings.model_dump_json(),
    )
    return run_components(folder / "root", [documents, initial, tokenizer, examples], beam_args)


def shards(uri: str) -> dict[str, bytes]:
    """The bytes of all files of examples."""
    return {
        str(Path(path).relative_to(uri)): Path(path).read_bytes()
        for split in SPLITS
        for path in split_files(uri, split)
    }


def write_corpus(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Writes files below `folder/span-1`."""
    for name, text in files.items():
        path = folder / "span-1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder
