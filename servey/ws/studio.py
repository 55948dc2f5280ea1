"""``/asyncapi``: a page that documents channels and tries them out, and the document that it shows.

Its files are here beside it, so that it works without internet. In development it also publishes test events.
"""

from __future__ import annotations

import html
import re
import secrets
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from servey.channels import WebsocketEventChannel
from servey.errors import ActionError, EventError, Forbidden, InvalidParams, NotFound, UnsupportedMediaType
from servey.limits import read_body, readable_errors
from servey.origins import origin_is_known
from servey.runtime import Runtime
from servey.web import error_response, json_response
from servey.ws.asyncapi import asyncapi_document

_FILES = {"studio.js": "text/javascript", "studio.css": "text/css"}
_FOLDER = Path(__file__).parent / "studio_files"
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]+")


class TestEvent(BaseModel):
    """What the page publishes."""

    __test__ = False  # a model, not a test

    event: Any
    subscriber_id: str | None = None


def mount_studio(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> None:
    """Adds ``/asyncapi.json`` and ``/asyncapi``; in development, what publishes a test event too."""
    files = {name: (_FOLDER / name).read_bytes() for name in _FILES}

    async def document(request: Request) -> Response:
        app = request.scope["app"]
        return json_response(
            asyncapi_document(
                runtime,
                title=app.title,
                version=app.version,
                host=_host(request) or "localhost",
                secure=request.url.scheme == "https",
                base=_root(request) + prefix,
            )
        )

    async def page(request: Request) -> Response:
        return _page(request, _root(request) + prefix, publishes=runtime.settings.is_dev)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            return error_response(NotFound())
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(files[name], media_type=_FILES[name], headers=headers)

    async def publish(request: Request) -> Response:
        try:
            await _publish(runtime, request)
        except ActionError as error:
            return error_response(error)
        return json_response(None)

    router.add_route(f"{prefix}/asyncapi.json", document, include_in_schema=False)
    router.add_route(f"{prefix}/asyncapi", page, include_in_schema=False)
    router.add_route(f"{prefix}/_servey/studio/{{name}}", file, include_in_schema=False)
    if runtime.settings.is_dev:
        router.add_route(f"{prefix}/_servey/publish/{{channel}}", publish, methods=["POST"], include_in_schema=False)


async def _publish(runtime: Runtime, request: Request) -> None:
    """Publishes the event of a page of this very app. Errors: ActionError."""
    if not origin_is_known(request.scope, ()):
        raise Forbidden("Test events are published from this app's own page")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # What a form of another site can send without asking is none of these.
        raise UnsupportedMediaType(media_type, "application/json")
    channels = {channel.name: channel for channel in runtime.catalog.channels}
    channel = channels.get(request.path_params["channel"])
    if channel is None:
        raise NotFound("There is no such channel")
    settings = runtime.settings
    body = await read_body(
        request.stream(),
        length=request.headers.get("content-length"),
        limit_bytes=settings.max_body_bytes,
        timeout=settings.body_timeout,
    )
    try:
        given = TestEvent.model_validate_json(body)
        event = channel.event.validate_python(given.event, from_attributes=True)
    except ValidationError as error:
        raise InvalidParams(readable_errors(error)) from None
    try:
        if isinstance(channel, WebsocketEventChannel):
            await channel.publish(event, given.subscriber_id)
        else:
            await channel.publish(event)
    except EventError as error:
        raise ActionError(422, "invalid_params", str(error)) from None


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _host(request: Request) -> str | None:
    host = request.headers.get("host", "")
    return host if _HOST.fullmatch(host) else None


def _page(request: Request, base: str, *, publishes: bool) -> Response:
    title, host, nonce = html.escape(request.scope["app"].title), _host(request), secrets.token_urlsafe(16)
    shown = html.escape(base)
    publish = f' data-publish="{shown}/_servey/publish"' if publishes else ""
    body = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: event channels</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{shown}/_servey/studio/studio.css">
</head>
<body data-base="{shown}" data-document="{shown}/asyncapi.json"{publish}>
<header>
<h1><span id="title">{title}</span> <small>event channels</small></h1>
<span class="grow"></span>
<span id="status" class="status" role="status">not connected</span>
<input id="token" type="password" placeholder="token, optional" aria-label="token" autocomplete="off">
<button id="connect" type="button" class="main">Connect</button>
<a href="{shown}/asyncapi.json">asyncapi.json</a>
</header>
<main>
<nav aria-label="channels"><ul id="channels"></ul></nav>
<section id="about" class="card" aria-label="channel"><p class="note">Loading.</p></section>
<section id="live" class="card" aria-label="live events">
<div class="row">
<input id="filter" type="search" placeholder="filter" aria-label="filter events">
<button id="pause" type="button" aria-pressed="false">Pause</button>
<button id="clear" type="button">Clear</button>
<span id="count" class="note">0 shown</span>
</div>
<ol id="events" class="events" aria-live="polite"></ol>
</section>
</main>
<script src="{shown}/_servey/studio/studio.js" nonce="{nonce}"></script>
</body>
</html>
"""
    sockets = f" ws://{host} wss://{host}" if host else ""
    return HTMLResponse(
        body,
        headers={
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src data:; "
                f"connect-src 'self'{sockets}; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
