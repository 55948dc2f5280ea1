"""Mounts the MCP endpoint, if the app offers something over MCP."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from servey.core.errors import NotFound
from servey.http.errors import error_response
from servey.http.guarded import add_guarded
from servey.http.web import json_response
from servey.mcp.http import serve_http
from servey.mcp.offers import Offers, offers_of
from servey.mcp.server import Server
from servey.runtime.runtime import Runtime


class Mcp:
    """The endpoint as an ASGI app."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve_http(self._server, scope, receive, send)


def mount_mcp(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> Offers:
    """Add the routes and return what they offer. Errors: ConfigError for invalid names, and for two actions of one name."""
    offers = offers_of(runtime)
    if offers.is_empty:
        return offers
    path = prefix + runtime.settings.mcp_path
    server = Server(runtime, offers, path)
    methods = ["GET", "POST", "DELETE"]
    add_guarded(router, path, Mcp(server), runtime, methods=methods, name="mcp", is_direct=True)

    async def metadata(request: Request) -> Response:
        resource = server.protected
        if resource.authorization_server is None:
            return error_response(NotFound(), runtime, request.scope)
        return json_response(resource.metadata(request.scope, offers, runtime.app.title))

    # Clients read it before they have a token, so a host's dependencies do not guard it.
    router.add_route(server.protected.metadata_path, metadata, include_in_schema=False)
    return offers
