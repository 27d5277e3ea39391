"""What the metadata store knows of runs. Reads only."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from albert_model.errors import InputError
from pipeline.metadata_settings import sqlite_connection

T = TypeVar("T")
_RUN = "pipeline_run"
_NODE = "node"
_HOPS = 100  # the most that the store follows at once
_ACROSS = mlmd.LineageSubgraphQueryOptions
# Custom properties that every artifact of TFX has, or that say what its type says.
_NO_FACTS = frozenset({"is_external", "tfx_version", "name", "state", "pipeline_name", "producer_component"})


@dataclass(frozen=True)
class NodeRun:
    """What one node did in a run.

    Attributes:
      name: the node's id in the pipeline.
      state: of the execution, such as COMPLETE, CACHED or FAILED.
      seconds: from its start to its last change.
      inputs, outputs: artifacts by channel; of each channel the first one.
      id: of the execution.
      ended: time of its last change.
      properties: its parameters, as they are recorded.
    """

    name: str
    state: str
    seconds: float
    inputs: dict[str, mlmd.Artifact]
    outputs: dict[str, mlmd.Artifact]
    id: int
    ended: datetime.datetime
    properties: dict[str, Any]

    @property
    def is_resolver(self) -> bool:
        """Resolvers look artifacts up; they are never cached."""
        return self.name.endswith("Resolver")


@dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes:
      state: "failed", "unfinished" (it runs, or was killed), "cached" (nothing was left to do) or "complete".
      span: None if no documents were read.
      blessed: None if it came to no verdict.
      pushed: the version that it made; None if nothing new was pushed.
    """

    id: str
    started: datetime.datetime
    state: str
    span: int | None
    blessed: bool | None
    pushed: str | None


@dataclass(frozen=True)
class Upstream:
    """Everything that an artifact was made from.

    Attributes:
      artifact: the one that was asked for.
      makers: by artifact id the node that made it. An artifact that came from elsewhere has none.
    """

    artifact: mlmd.Artifact
    makers: dict[int, NodeRun]

    def maker(self, artifact: mlmd.Artifact) -> NodeRun | None:
        return self.makers.get(artifact.id)


class Lineage:
    """Reads a metadata store, and never makes, upgrades or changes one.

    Args:
      connection: a SQLite file, or a connection of `MetadataSettings.connection`.

    Raises:
      InputError: there is no such store, or its schema has another version; likewise by every method.
    """

    def __init__(self, connection: str | os.PathLike[str] | mlmd.ConnectionConfig | mlmd.MetadataStoreClientConfig):
        if isinstance(connection, str | os.PathLike):
            connection = sqlite_connection(os.fspath(connection), read_only=True)
        self._where = _described(connection)
        self._store = _ask(self._where, lambda: metadata_store.MetadataStore(connection))

    @cached_property
    def run_ids(self) -> list[str]:
        """All runs, oldest first."""
        return [run.name for run in self._run_contexts]

    @cached_property
    def _run_contexts(self) -> list[mlmd.Context]:
        runs = _ask(self._where, lambda: self._store.get_contexts_by_type(_RUN))
        return sorted(runs, key=lambda run: run.id)

    def run_id(self, beginning: str) -> str:
        """The run whose id begins so; "latest" is the newest one.

        Raises:
          InputError: there is none, or there are several.
        """
        if not self.run_ids:
            raise InputError(f"{self._where} knows of no run yet.")
        if beginning == "latest":
            return self.run_ids[-1]
        if beginning in self.run_ids:
            return beginning
        found = [run_id for run_id in self.run_ids if run_id.startswith(beginning)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{beginning} is the beginning of {len(found)} runs, such as {found[0]} and {found[1]}.")
        raise InputError(f"There is no run {beginning}. The newest one is {self.run_ids[-1]}.")

    def nodes(self, run_id: str) -> dict[str, NodeRun]:
        """The nodes of a run in the order in which they ran."""
        (context,) = (run for run in self._run_contexts if run.name == run_id)
        return self._nodes_of([context])[context.id]

    def runs(self, most: int) -> list[Run]:
        """The newest runs, oldest first."""
        contexts = self._run_contexts[-most:]
        nodes = self._nodes_of(contexts) if contexts else {}
        return [_run(context, nodes[context.id]) for context in contexts]

    def _nodes_of(self, runs: Sequence[mlmd.Context]) -> dict[int, dict[str, NodeRun]]:
        """Nodes by name, by the id of the run's context."""
        graph = self._graph(_ACROSS.BIDIRECTIONAL, 1, executions=f"contexts_r.id IN ({_listed(r.id for r in runs)})")
        wanted = {run.id: set[int]() for run in runs}
        for association in graph.associations:
            if association.context_id in wanted:
                wanted[association.context_id].add(association.execution_id)
        nodes = sorted(_nodes(graph), key=lambda node: node.id)
        return {run: {node.name: node for node in nodes if node.id in ids} for run, ids in wanted.items()}

    def pushed_versions(self) -> dict[int, str]:
        """Version by the id of the model that was pushed as it."""
        versions = {}
        for node in self._pushers():
            properties = node.outputs["pushed_model"].custom_properties
            if "model" in node.inputs:
                versions[node.inputs["model"].id] = properties["pushed_version"].string_value
        return versions

    def _pushers(self) -> list[NodeRun]:
        """The nodes that pushed, oldest first."""
        pushed = "type = 'PushedModel' AND custom_properties.pushed.int_value = 1"
        graph = self._graph(_ACROSS.UPSTREAM, 2, artifacts=pushed)
        return sorted((n for n in _nodes(graph) if "pushed_model" in n.outputs), key=lambda node: node.id)

    def pushed_version(self, version: str) -> mlmd.Artifact:
        """The PushedModel of a version; "latest" is the one that was pushed last.

        Raises:
          InputError: it was never pushed.
        """
        versions = {}
        for node in self._pushers():
            pushed = node.outputs["pushed_model"]
            if _was_there(pushed):
                continue
            versions[pushed.custom_properties["pushed_version"].string_value] = pushed
        if not versions:
            raise InputError(f"{self._where} knows of no version that was pushed.")
        if version == "latest":
            return max(versions.values(), key=lambda pushed: pushed.id)
        if version not in versions:
            raise InputError(f"There is no version {version}. Pushed were: {', '.join(versions)}.")
        return versions[version]

    def upstream(self, artifact: mlmd.Artifact) -> Upstream:
        """Everything that it was made from; a hundred steps a query."""
        makers: dict[int, NodeRun] = {}
        asked: set[int] = set()
        to_ask = {artifact.id}
        while to_ask:
            graph = self._graph(_ACROSS.UPSTREAM, _HOPS, artifacts=f"id IN ({_listed(to_ask)})")
            asked |= to_ask
            _add_makers(makers, _nodes(graph))
            inputs = {found.id for node in makers.values() for found in node.inputs.values()}
            to_ask = inputs - makers.keys() - asked
        return Upstream(artifact, makers)

    def _graph(
        self, direction: int, hops: int, artifacts: str | None = None, executions: str | None = None
    ) -> mlmd.LineageGraph:
        options = mlmd.LineageSubgraphQueryOptions(direction=direction, max_num_hops=hops)
        if artifacts:
            options.starting_artifacts.filter_query = artifacts
        if executions:
            options.starting_executions.filter_query = executions
        return _ask(self._where, lambda: self._found(options))

    def _found(self, options: mlmd.LineageSubgraphQueryOptions) -> mlmd.LineageGraph:
        try:
            return self._store.get_lineage_subgraph(options)
        except errors.NotFoundError:  # nothing to start from, as where nothing was pushed yet
            return mlmd.LineageGraph()


def _add_makers(makers: dict[int, NodeRun], nodes: Iterable[NodeRun]) -> None:
    """Who takes an artifact from the cache did not make it."""
    for node in nodes:
        if node.state != "CACHED":
            for artifact in node.outputs.values():
                if artifact.id not in makers or node.id < makers[artifact.id].id:
                    makers[artifact.id] = node


# === From the store's messages to ours ===


def _nodes(graph: mlmd.LineageGraph) -> list[NodeRun]:
    artifacts = {artifact.id: artifact for artifact in graph.artifacts}
    node_contexts = {context.id: context.name for context in graph.contexts if context.type == _NODE}
    names = {a.execution_id: node_contexts[a.context_id] for a in graph.associations if a.context_id in node_contexts}
    inputs: dict[int, dict[str, mlmd.Artifact]] = defaultdict(dict)
    outputs: dict[int, dict[str, mlmd.Artifact]] = defaultdict(dict)
    channels = {mlmd.Event.INPUT: inputs, mlmd.Event.OUTPUT: outputs}
    for event in graph.events:
        # What a resolver looks up and finds are internal events: it makes nothing.
        if event.type in channels and event.artifact_id in artifacts:
            channels[event.type][event.execution_id].setdefault(_channel(event), artifacts[event.artifact_id])
    return [
        NodeRun(
            name=names.get(execution.id, execution.type).split(".", 1)[-1],
            state=mlmd.Execution.State.Name(execution.last_known_state),
            seconds=(execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000,
            inputs=inputs[execution.id],
            outputs=outputs[execution.id],
            id=execution.id,
            ended=when(execution.last_update_time_since_epoch),
            properties=properties_of(execution),
        )
        for execution in graph.executions
    ]


def _channel(event: mlmd.Event) -> str:
    return event.path.steps[0].key if event.path.steps else ""


def _run(context: mlmd.Context, nodes: dict[str, NodeRun]) -> Run:
    made = {artifact.type: artifact for node in nodes.values() for artifact in node.outputs.values()}
    documents = nodes["DocumentGen"].outputs.get("examples") if "DocumentGen" in nodes else None
    blessing = made["ModelBlessing"].custom_properties if "ModelBlessing" in made else None
    pusher = nodes.get("EncoderPusher")
    return Run(
        id=context.name,
        started=when(context.create_time_since_epoch),
        state=_state([node.state for node in nodes.values() if not node.is_resolver]),
        span=(documents.custom_properties["span"].int_value or None) if documents else None,
        blessed=bool(blessing["blessed"].int_value) if blessing else None,
        pushed=_pushed_by(pusher) if pusher else None,
    )


def _pushed_by(pusher: NodeRun) -> str | None:
    """The version that this very run made; none where it found the model to be one already."""
    made = pusher.outputs.get("pushed_model")
    if made is None or pusher.state == "CACHED" or _was_there(made) or not made.custom_properties["pushed"].int_value:
        return None
    return made.custom_properties["pushed_version"].string_value


def _was_there(pushed: mlmd.Artifact) -> bool:
    """Whether the model was a version before that push."""
    return "is_new" in pushed.custom_properties and not pushed.custom_properties["is_new"].int_value


def _state(states: Sequence[str]) -> str:
    if any(state in ("FAILED", "CANCELED") for state in states):
        return "failed"
    if not states or any(state in ("NEW", "RUNNING", "UNKNOWN") for state in states):
        return "unfinished"
    return "cached" if all(state == "CACHED" for state in states) else "complete"


def when(milliseconds: int) -> datetime.datetime:
    """A time of the store, in UTC."""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)


def properties_of(message: mlmd.Artifact | mlmd.Execution) -> dict[str, Any]:
    """Properties that say something; JSON in text is read, as deep as it goes."""
    found = {}
    for name, value in sorted([*message.properties.items(), *message.custom_properties.items()]):
        kind = value.WhichOneof("value")
        plain = isinstance(getattr(value, kind or "", None), str | int | float)
        if plain and name not in _NO_FACTS and not name.startswith("__"):
            found[name] = _read(getattr(value, kind))
    return found


def _read(value: Any) -> Any:
    """Settings are JSON in a text in JSON."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return _read(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, dict):
        return {key: _read(inner) for key, inner in value.items()}
    return [_read(inner) for inner in value] if isinstance(value, list) else value


def _listed(ids: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ids)))


# === Errors that a user can mend ===


def _described(connection: mlmd.ConnectionConfig | mlmd.MetadataStoreClientConfig) -> str:
    """Names the store; never with a password."""
    if isinstance(connection, mlmd.MetadataStoreClientConfig):
        return f"the metadata server {connection.host}:{connection.port}"
    if connection.HasField("mysql"):
        server = connection.mysql
        return f"the MySQL database {server.database} of {server.user} at {server.host}:{server.port}"
    path = connection.sqlite.filename_uri
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no metadata. Run the pipeline first, or name its --config or --root.")
    return path


_VERSIONS = re.compile(r"database version (\d+) is (older|greater) than library version (\d+)")
_REMEDIES = {
    "older": "Keep a copy of it, and open it once with ml_metadata's MetadataStore(…, enable_upgrade_migration=True).",
    "greater": "Install the ml-metadata that it was written with, or a newer one.",
}


def _ask(where: str, question: Callable[[], T]) -> T:
    try:
        return question()
    except (RuntimeError, errors.StatusError) as error:
        raise InputError(_explained(where, error)) from error


def _explained(where: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if versions := _VERSIONS.search(text):
        theirs, relation, ours = versions.groups()
        return (
            f"{where}: its schema has version {theirs}, this ml-metadata reads version {ours}. It was left as it is. "
            f"{_REMEDIES[relation]}"
        )
    if "not a database" in text or "readonly database" in text or "malformed" in text:
        return f"{where} is empty or damaged, or is no metadata of TFX. Restore it from a copy, or name another one."
    if "locked" in text:
        return f"{where} is being written. Try again."
    if "mysql_real_connect failed" in text:
        return f"{where} cannot be reached: see that the server runs, and metadata.host, port, user and password_env."
    if isinstance(error, errors.UnavailableError | errors.DeadlineExceededError):
        return f"{where} does not answer: see that it runs, and metadata.host and port."
    return f"{where}: {text}"
