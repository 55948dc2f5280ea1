"""The routes of event channels: ``/subscription`` and below."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter

from servey.http.guarded import add_guarded, add_guarded_socket
from servey.runtime.runtime import Runtime
from servey.ws.sockets import Connections, serve_socket
from servey.ws.streams import serve_stream

PATH = "/subscription"


def mount_channels(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> None:
    """Add the routes of event channels."""
    connections = Connections(runtime)
    runtime.services.append(connections.running)
    socket, stream = partial(serve_socket, connections), partial(serve_stream, connections)
    base = prefix + PATH
    for path in (base, f"{base}/{{channel}}", f"{base}/{{channel}}/{{subscriber_id}}"):
        add_guarded_socket(router, path, socket, runtime, name="subscription")
        if path != base:
            add_guarded(router, path, stream, runtime, methods=["GET"], name="subscription")
