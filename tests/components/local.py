"""Runs components through LocalDagRunner, as a pipeline does."""

from __future__ import annotations

from pathlib import Path

from tfx import v1 as tfx

from pipeline.lineage import Lineage, NodeRun


def run_components(root: Path, components: list) -> dict[str, NodeRun]:
    """Runs them with Beam's FnApiRunner and SQLite metadata; gives what each did."""
    metadata = str(root / "metadata.sqlite")
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="test",
        pipeline_root=str(root),
        components=components,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata),
        beam_pipeline_args=["--runner=FnApiRunner"],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    lineage = Lineage(metadata)
    return lineage.nodes(lineage.run_ids[-1])


def write_corpus(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Writes files below `folder/span-1`."""
    for name, text in files.items():
        path = folder / "span-1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder
