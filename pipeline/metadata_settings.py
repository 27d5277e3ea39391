"""Where the metadata of runs is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pydantic

from albert_model.errors import InputError
from albert_model.settings import Settings

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

_SECONDS_TO_WAIT = 30.0  # for an answer of a gRPC server
_NEEDED = {"sqlite": (), "mysql": ("host", "database", "user"), "grpc": ("host", "port")}
_USED = {
    "sqlite": {"path"},
    "mysql": {"host", "port", "database", "user", "password_env", "ca_file"},
    "grpc": {"host", "port", "ca_file"},
}
_MYSQL_PORT = 3306


class MetadataSettings(Settings):
    """Where the metadata of runs is kept: a file, a MySQL database, or a server of ML Metadata."""

    kind: Literal["sqlite", "mysql", "grpc"] = pydantic.Field(
        default="sqlite", description="sqlite: a file. mysql: a database. grpc: a server of ML Metadata."
    )
    path: str | None = pydantic.Field(default=None, description="sqlite: the file. None: `<root>/metadata.sqlite`.")
    host: str | None = pydantic.Field(default=None, description="mysql, grpc: name or address of the server.")
    port: int | None = pydantic.Field(default=None, ge=1, le=65535, description="Of the server; 3306 for mysql.")
    database: str | None = pydantic.Field(default=None, description="mysql: name of the database.")
    user: str | None = pydantic.Field(default=None, description="mysql: name of the user.")
    password_env: str | None = pydantic.Field(
        default=None, description="mysql: name of the environment variable that holds the password."
    )
    ca_file: str | None = pydantic.Field(
        default=None, description="mysql, grpc: PEM file that the server's certificate is checked with. None: no TLS."
    )

    @pydantic.model_validator(mode="after")
    def _keys_fit(self) -> MetadataSettings:
        given = {name for name in type(self).model_fields if name != "kind" and getattr(self, name) is not None}
        if missing := [name for name in _NEEDED[self.kind] if name not in given]:
            raise ValueError(f"metadata of kind {self.kind} needs {' and '.join(missing)}")
        if foreign := sorted(given - _USED[self.kind]):
            raise ValueError(f"metadata of kind {self.kind} has no use for {' and '.join(foreign)}")
        return self

    def with_path(self, change: Callable[[str], str]) -> MetadataSettings:
        """These settings with the paths of files changed."""
        paths = {"path": self.path and change(self.path), "ca_file": self.ca_file and change(self.ca_file)}
        return self.model_copy(update=paths)

    def connection(self, root: str, read_only: bool = False) -> mlmd.ConnectionConfig | mlmd.MetadataStoreClientConfig:
        """What TFX and `ml_metadata.MetadataStore` connect by.

        Args:
          root: of the pipeline, where the SQLite file lies if `path` does not say.
          read_only: never make a file or a database.

        Raises:
          InputError: the environment variable of the password, or the file of the certificate, is not there.
        """
        from ml_metadata.proto import metadata_store_pb2 as mlmd

        if self.kind == "sqlite":
            return sqlite_connection(self.path or os.path.join(root, "metadata.sqlite"), read_only)
        if self.kind == "mysql":
            return self._mysql(read_only)
        config = mlmd.MetadataStoreClientConfig(host=self.host, port=self.port, client_timeout_sec=_SECONDS_TO_WAIT)
        if self.ca_file:
            config.ssl_config.custom_ca = _read_certificate(self.ca_file)
        return config

    def _mysql(self, read_only: bool) -> mlmd.ConnectionConfig:
        from ml_metadata.proto import metadata_store_pb2 as mlmd

        config = mlmd.ConnectionConfig()
        server = config.mysql
        server.host, server.port = self.host, self.port or _MYSQL_PORT
        server.database, server.user = self.database, self.user
        server.skip_db_creation = read_only
        if self.password_env:
            server.password = _password(self.password_env)
        if self.ca_file:
            _read_certificate(self.ca_file)
            server.ssl_options.ca = self.ca_file
            server.ssl_options.verify_server_cert = True
        return config


def sqlite_connection(path: str, read_only: bool) -> mlmd.ConnectionConfig:
    """Of a SQLite file. Makes its folder, unless it is only read."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    if not read_only:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = path
    modes = mlmd.SqliteMetadataSourceConfig
    config.sqlite.connection_mode = modes.READONLY if read_only else modes.READWRITE_OPENCREATE
    return config


def _password(variable: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise InputError(
            f"metadata.password_env: the environment has no {variable}. Set it to the password of the database."
        ) from None


def _read_certificate(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"metadata.ca_file: {path} cannot be read as PEM ({error}).") from error
