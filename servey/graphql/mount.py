"""Mounts GraphQL: ``/graphql`` and, if the documentation pages are served, ``/graphiql``."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.types import Receive, Scope, Send

from servey.graphql.ide import mount_ide
from servey.graphql.schema.fields import Fields, fields_of
from servey.http.guarded import add_guarded, add_guarded_socket
from servey.runtime.runtime import Runtime

if TYPE_CHECKING:
    from servey.graphql.execution.engine import Engine


class GraphQL:
    """The endpoint as an ASGI app. Its fields are computed at start; Strawberry is imported on the first request."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.fields: Fields = fields_of(runtime)
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Importing Strawberry takes about half a second; a thread keeps the event loop responsive.
        engine = self._engine if self._engine is not None else await asyncio.to_thread(self._get_engine)
        await engine.serve(scope, receive, send)

    def _get_engine(self) -> Engine:
        with self._engine_lock:
            if self._engine is None:
                self._engine = engine_of(self._runtime, self.fields)
            return self._engine


def engine_of(runtime: Runtime, fields: Fields) -> Engine:
    """Return the engine that executes operations on these fields. Imports Strawberry."""
    from servey.graphql.execution.engine import Engine
    from servey.graphql.sockets import serve_socket
    from servey.graphql.view import serve_http

    return Engine(runtime, fields, http=serve_http, websocket=serve_socket)


def is_installed() -> bool:
    """Whether Strawberry is installed."""
    return importlib.util.find_spec("strawberry") is not None


def mount_graphql(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> Fields | None:
    """Add the routes and return the fields, or None if Strawberry is not installed.

    Errors: ConfigError for names that collide in camelCase.
    """
    if not is_installed():
        return None
    endpoint = GraphQL(runtime)
    path = prefix + runtime.settings.graphql_path
    add_guarded(router, path, endpoint, runtime, methods=["GET", "POST"], name="graphql", is_direct=True)
    add_guarded_socket(router, path, endpoint, runtime, name="graphql")
    if runtime.settings.serves_docs:
        mount_ide(router, runtime, prefix=prefix)
    return endpoint.fields
