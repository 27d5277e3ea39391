"""What the metadata store knows of runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd


@dataclass(frozen=True)
class NodeRun:
    """What one node did in a run.

    Attributes:
      name: the node's id in the pipeline.
      state: of the execution, such as COMPLETE, CACHED or FAILED.
      seconds: from its start to its last change.
      inputs, outputs: artifacts by channel; of each channel the first one.
    """

    name: str
    state: str
    seconds: float
    inputs: dict[str, mlmd.Artifact]
    outputs: dict[str, mlmd.Artifact]

    @property
    def is_resolver(self) -> bool:
        """Resolvers look artifacts up; they are never cached."""
        return self.name.endswith("Resolver")


class Lineage:
    """Reads a SQLite metadata store.

    Args:
      path: the SQLite file.
    """

    def __init__(self, path: str):
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = path
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READONLY
        self._store = metadata_store.MetadataStore(config)

    @cached_property
    def run_ids(self) -> list[str]:
        """All runs, oldest first."""
        runs = self._store.get_contexts_by_type("pipeline_run")
        return [run.name for run in sorted(runs, key=lambda run: run.id)]

    def nodes(self, run_id: str) -> dict[str, NodeRun]:
        """The nodes of a run in the order in which they ran."""
        run = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        executions = sorted(self._store.get_executions_by_context(run.id), key=lambda execution: execution.id)
        return {node.name: node for node in map(self._node, executions)}

    def _node(self, execution: mlmd.Execution) -> NodeRun:
        contexts = self._store.get_contexts_by_execution(execution.id)
        name = next(c.name for c in contexts if c.type == "node").split(".", 1)[1]
        inputs: dict[str, mlmd.Artifact] = {}
        outputs: dict[str, mlmd.Artifact] = {}
        for event in self._store.get_events_by_execution_ids([execution.id]):
            (artifact,) = self._store.get_artifacts_by_id([event.artifact_id])
            channels = inputs if event.type == mlmd.Event.INPUT else outputs
            channels.setdefault(event.path.steps[0].key, artifact)
        return NodeRun(
            name=name,
            state=mlmd.Execution.State.Name(execution.last_known_state),
            seconds=(execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000,
            inputs=inputs,
            outputs=outputs,
        )

    def pushed_versions(self) -> dict[int, str]:
        """Version by the id of the model that was pushed as it."""
        versions = {}
        for run_id in self.run_ids:
            pusher = self.nodes(run_id).get("EncoderPusher")
            if pusher and "pushed_model" in pusher.outputs:
                properties = pusher.outputs["pushed_model"].custom_properties
                if properties["pushed"].int_value:
                    versions[pusher.inputs["model"].id] = properties["pushed_version"].string_value
        return versions
