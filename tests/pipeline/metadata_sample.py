"""Metadata of runs as TFX writes it, of many small runs in a moment; and a server of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from ml_metadata.proto import metadata_store_service_pb2 as service

from pipeline.metadata_settings import sqlite_connection

HOSTILE = "<script>alert('x')</script>\x1b[31m"
_OUTPUT, _INPUT = mlmd.Event.OUTPUT, mlmd.Event.INPUT


class Writer:
    """Writes runs of a pipeline; each starts from the model that the run before it pushed."""

    def __init__(self, path: Path):
        self.store = metadata_store.MetadataStore(sqlite_connection(str(path), read_only=False))
        self.runs = 0

    def run(self, run_id: str, before: mlmd.Artifact | None = None, last_state: str = "COMPLETE") -> mlmd.Artifact:
        """Gives the run's model."""
        self.runs += 1
        run = self._context("pipeline_run", run_id)
        reading = {"input_base": f"/corpus/{HOSTILE}", "input_fingerprint": "split:documents,num_files:3"}
        reading["input_config"] = '{"splits": [{"name": "documents", "pattern": "span-1/*.txt"}]}'
        documents = self._node(run, "DocumentGen", {}, {"examples": ("Examples", {"span": self.runs})}, reading)
        inputs = {"blessed_model": before} if before else {}
        source = "blessed model" if before else "random"
        initial = self._node(run, "InitialModel", inputs, {"model": ("Model", {"source": source})})
        examples = self._node(run, "PretrainingExampleGen", {"documents": documents}, {"examples": ("Examples", {})})
        trained = self._node(run, "Trainer", {"examples": examples, "base_model": initial}, {"model": ("Model", {})})
        blessing = self._node(run, "Evaluator", {"model": trained}, {"blessing": ("ModelBlessing", {"blessed": 1})})
        pushed = {"pushed": 1, "pushed_version": str(self.runs), "pushed_destination": f"/encoders/{self.runs}"}
        inputs = {"model": trained, "model_blessing": blessing}
        outputs = {"pushed_model": ("PushedModel", pushed)} if last_state == "COMPLETE" else {}
        self._node(run, "EncoderPusher", inputs, outputs, {}, last_state)
        return trained

    def _context(self, kind: str, name: str) -> int:
        type_id = self.store.put_context_type(mlmd.ContextType(name=kind))
        found = self.store.get_context_by_type_and_name(kind, name)
        return found.id if found else self.store.put_contexts([mlmd.Context(type_id=type_id, name=name)])[0]

    def _node(
        self, run: int, name: str, inputs: dict, outputs: dict, parameters: dict | None = None, state: str = "COMPLETE"
    ) -> mlmd.Artifact:
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=f"components.{name}"))
        execution = mlmd.Execution(type_id=type_id, last_known_state=mlmd.Execution.State.Value(state))
        _set(execution, parameters or {})
        events = [(artifact, _event(_INPUT, channel)) for channel, artifact in inputs.items()]
        events += [(self._artifact(name, *made), _event(_OUTPUT, channel)) for channel, made in outputs.items()]
        contexts = [mlmd.Context(id=context_id) for context_id in (run, self._context("node", f"test.{name}"))]
        contexts = self.store.get_contexts_by_id([context.id for context in contexts])
        _, ids, _ = self.store.put_execution(execution, events, contexts)
        return self.store.get_artifacts_by_id(ids[-1:])[0]

    def _artifact(self, maker: str, kind: str, properties: dict) -> mlmd.Artifact:
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=kind))
        artifact = mlmd.Artifact(type_id=type_id, uri=f"/runs/{maker}/{HOSTILE}/{self.runs}")
        _set(artifact, {"tfx_version": "1.21.0", **properties})
        return artifact


def _set(message: mlmd.Artifact | mlmd.Execution, properties: dict) -> None:
    for name, value in properties.items():
        kind = "int_value" if isinstance(value, int) else "string_value"
        setattr(message.custom_properties[name], kind, value)


def _event(kind: int, channel: str) -> mlmd.Event:
    event = mlmd.Event(type=kind)
    event.path.steps.add().key = channel
    event.path.steps.add().index = 0
    return event


@contextlib.contextmanager
def served(path: Path) -> Iterator[int]:
    """A gRPC server of the metadata in a SQLite file, by the service that ml_metadata describes; gives its port."""
    store = metadata_store.MetadataStore(sqlite_connection(str(path), read_only=True))
    described = service.DESCRIPTOR.services_by_name["MetadataStoreService"]
    handlers = {method.name: _handler(store, method) for method in described.methods}
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(described.full_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def _handler(store: metadata_store.MetadataStore, method: object) -> grpc.RpcMethodHandler:
    request_type = getattr(service, method.input_type.name)
    response_type = getattr(service, method.output_type.name)

    def answer(request: object, context: grpc.ServicerContext) -> object:
        response = response_type()
        try:
            store._call(method.name, request, response)
        except errors.StatusError as error:
            codes = {code.value[0]: code for code in grpc.StatusCode}
            context.abort(codes[error.error_code], str(error))
        return response

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request_type.FromString, response_serializer=response_type.SerializeToString
    )
