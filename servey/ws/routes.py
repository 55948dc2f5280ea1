"""Where event channels are served: ``/subscription`` and below."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from servey.runtime import Runtime
from servey.ws.sockets import Connections, serve_socket
from servey.ws.streams import serve_stream

PATH = "/subscription"


def mount_channels(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> None:
    """Adds the routes of event channels."""
    connections = Connections(runtime)
    runtime.services.append(connections.running)
    socket = _Served(partial(serve_socket, connections))
    stream = _Served(partial(serve_stream, connections))
    base = prefix + PATH
    for path in (base, f"{base}/{{channel}}", f"{base}/{{channel}}/{{subscriber_id}}"):
        router.routes.append(SocketRoute(path, socket, name="subscription"))
        if path != base:
            router.routes.append(Route(path, stream, methods=["GET"], include_in_schema=False))


class SocketRoute(WebSocketRoute):
    """The route of a websocket; `serve_socket` is for whoever has found it already, and keeps less of each connection."""

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a connection."""
        await self.endpoint(scope, receive, send)


class _Served:
    """An ASGI app; a function would be taken for one of Starlette's endpoints."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
