"""Adds GraphQL to an app: ``/graphql`` and, where the documents are served, ``/graphiql``."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from servey.graphql.fields import Fields, fields_of
from servey.graphql.ide import mount_ide
from servey.runtime import Runtime

if TYPE_CHECKING:
    from servey.graphql.engine import Engine


class GraphQL:
    """The endpoint as an ASGI app. Its fields are decided at once; Strawberry is imported with the first request."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.fields: Fields = fields_of(runtime)
        self._engine: Engine | None = None
        self._making = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In a thread, so that others do not wait for half a second of imports.
        engine = self._engine if self._engine is not None else await asyncio.to_thread(self._made)
        await engine.serve(scope, receive, send)

    def _made(self) -> Engine:
        with self._making:
            if self._engine is None:
                self._engine = engine_of(self._runtime, self.fields)
            return self._engine


class GraphQLRoute(Route):
    """The route of the endpoint; `serve` is for whoever has found it already."""

    def __init__(self, path: str, served: GraphQL) -> None:
        super().__init__(path, served, methods=["GET", "POST"], name="graphql", include_in_schema=False)
        self._served = served

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, values: Any, generic: Any, request_id: str | None
    ) -> None:
        """Answers a request."""
        await self._served(scope, receive, send)


def engine_of(runtime: Runtime, fields: Fields) -> Engine:
    """What runs the documents of these fields; it brings Strawberry in."""
    from servey.graphql.engine import Engine
    from servey.graphql.sockets import serve_socket
    from servey.graphql.view import serve_http

    return Engine(runtime, fields, http=serve_http, websocket=serve_socket)


def is_installed() -> bool:
    """Whether Strawberry is there to be imported."""
    return importlib.util.find_spec("strawberry") is not None


def mount_graphql(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> Fields | None:
    """Adds the routes; gives the fields. Without Strawberry there are none.

    Errors: ConfigError for names that are the same in GraphQL.
    """
    if not is_installed():
        return None
    served = GraphQL(runtime)
    path = prefix + runtime.settings.graphql_path
    router.routes += [GraphQLRoute(path, served), WebSocketRoute(path, served)]
    if runtime.settings.serves_docs:
        mount_ide(router, runtime, prefix=prefix)
    return served.fields
