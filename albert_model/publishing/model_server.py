"""A SavedModel served by `tensorflow_model_server`, and asked over REST and gRPC."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

PROGRAM = "tensorflow_model_server"
SIGNATURE = "serving_default"
_MODEL = "encoder"
_HOST = "127.0.0.1"
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_END = 10.0
# The server is on this machine, whatever proxy the environment names.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class ServerError(RuntimeError):
    """The server did not start, did not answer, or answered with an error. The message says which."""


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
      rest_port, grpc_port: of this machine.
      call_seconds: how long an answer may take.
    """

    rest_port: int
    grpc_port: int
    call_seconds: float

    def ask_rest(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for a batch, through the REST interface.

        Raises:
          ServerError: there is no answer in time, or it is an error.
        """
        question = {"signature_name": SIGNATURE, "inputs": {name: array.tolist() for name, array in inputs.items()}}
        answer = _http_json(_model_url(self.rest_port) + ":predict", self.call_seconds, question)
        return {name: np.array(values, np.float32) for name, values in answer["outputs"].items()}

    def ask_grpc(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same through gRPC. Needs tensorflow-serving-api.

        Raises:
          ServerError: as `ask_rest`.
        """
        import grpc  # type: ignore[import-untyped]
        from tensorflow_serving.apis import (  # type: ignore[import-untyped]
            predict_pb2,
            prediction_service_pb2_grpc,
        )

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = _MODEL, SIGNATURE
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"{_HOST}:{self.grpc_port}", options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                response = stub.Predict(request, timeout=self.call_seconds)
            except grpc.RpcError as error:
                raise ServerError(f"gRPC: {error.code().name}: {error.details()}") from error
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def program() -> str | None:
    """Where the server's program is, if it is on PATH."""
    return shutil.which(PROGRAM)


@contextlib.contextmanager
def serving(
    program: str, saved_model: str | Path, start_seconds: float = 120.0, call_seconds: float = 60.0
) -> Iterator[Server]:
    """Serves a SavedModel on free ports; ends the server in any case.

    Args:
      program: of the server.
      saved_model: folder.
      start_seconds: how long loading may take.
      call_seconds: how long an answer may take.

    Raises:
      ServerError: it ended, or was not ready in time; with the last line that it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="albert-serving-") as folder:
        versions, log = Path(folder, "versions"), Path(folder, "log")
        versions.mkdir()
        (versions / "1").symlink_to(Path(saved_model).resolve(), target_is_directory=True)
        rest_port, grpc_port = _free_ports(2)
        command = [program, f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
        command += [f"--model_name={_MODEL}", f"--model_base_path={versions}"]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(process, rest_port, start_seconds, log)
            yield Server(rest_port, grpc_port, call_seconds)
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen, port: int, seconds: float, log: Path) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ServerError(f"{PROGRAM} ended with status {process.returncode}{_last_line(log)}")
        if _is_ready(port, max(0.1, min(5.0, until - time.monotonic()))):
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise ServerError(f"{PROGRAM} was not ready after {seconds:g} seconds{_last_line(log)}")


def _is_ready(port: int, seconds: float) -> bool:
    try:
        status = _http_json(_model_url(port), seconds)
    except ServerError:
        return False  # not yet
    return any(version.get("state") == "AVAILABLE" for version in status.get("model_version_status", ()))


def _model_url(port: int) -> str:
    return f"http://{_HOST}:{port}/v1/models/{_MODEL}"


def _http_json(url: str, seconds: float, question: Any = None) -> dict[str, Any]:
    data = None if question is None else json.dumps(question).encode()
    try:
        with _open(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=seconds) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        raise ServerError(f"REST: {error.code} {error.read().decode('utf-8', 'replace')[:500]}") from error
    except (OSError, ValueError) as error:
        raise ServerError(f"REST: {error}") from error
    if not isinstance(found, dict):
        raise ServerError(f"REST: answered with {type(found).__name__}, should be an object")
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((_HOST, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""
