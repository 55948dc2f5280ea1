"""``/asyncapi``: a page that documents channels and lets users try them, and ``/asyncapi.json``.

Its files are served locally, so it works without internet. In development it can publish test events.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response

from servey.calls.validation_errors import readable_errors
from servey.core.channels import EventChannel, WebsocketEventChannel
from servey.core.errors import ActionError, EventError, Forbidden, InvalidParams, NotFound, UnsupportedMediaType
from servey.http.bodies import read_body
from servey.http.errors import error_response
from servey.http.guarded import add_guarded
from servey.http.origins import origin_is_known
from servey.http.web import json_response
from servey.layout.frame import frame_of
from servey.layout.page import escape, shipped_page
from servey.runtime.runtime import Runtime
from servey.ws.asyncapi import asyncapi_document

_FILES = {"studio.js": "text/javascript", "studio.css": "text/css"}
_FOLDER = Path(__file__).parent / "studio_files"
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]+")


class TestEvent(BaseModel):
    """A test event that a page publishes."""

    __test__ = False  # a model, not a test

    event: Any
    subscriber_id: str | None = None


def mount_studio(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> None:
    """Add ``/asyncapi.json`` and ``/asyncapi``, and in development the route that publishes test events."""
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
        return _page(runtime, request, _root(request) + prefix)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            return error_response(NotFound(), runtime, request.scope)
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(files[name], media_type=_FILES[name], headers=headers)

    async def publish(request: Request) -> Response:
        try:
            await _publish(runtime, request)
        except ActionError as error:
            return error_response(error, runtime, request.scope)
        return json_response(None)

    router.add_route(f"{prefix}/asyncapi.json", document, include_in_schema=False)
    router.add_route(f"{prefix}/asyncapi", page, include_in_schema=False)
    runtime.shipped["AsyncAPI"] = f"{prefix}/asyncapi"
    router.add_route(f"{prefix}/_servey/studio/{{name}}", file, include_in_schema=False)
    if runtime.settings.is_dev:
        path, app = f"{prefix}/_servey/publish/{{channel}}", request_response(publish)
        add_guarded(router, path, app, runtime, methods=["POST"], name="publish")


async def _publish(runtime: Runtime, request: Request) -> None:
    """Publish a test event from this app's own page. Errors: ActionError."""
    if not origin_is_known(request.scope, ()):
        raise Forbidden("Test events can only be published from this app's own page")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # A form of another site cannot send this media type without a CORS preflight.
        raise UnsupportedMediaType(media_type, "application/json")
    channel = channel_of(runtime, request.path_params["channel"])
    settings = runtime.settings
    body = await read_body(
        request.stream(),
        length=request.headers.get("content-length"),
        limit_bytes=settings.max_body_bytes,
        timeout=settings.body_timeout,
    )
    try:
        given = TestEvent.model_validate_json(body)
    except ValidationError as error:
        raise InvalidParams(readable_errors(error)) from None
    await publish_test_event(channel, given)


def channel_of(runtime: Runtime, name: str) -> EventChannel:
    """Return the channel with a name. Errors: NotFound."""
    found = next((each for each in runtime.catalog.channels if each.name == name), None)
    if found is None:
        raise NotFound("There is no such channel")
    return found


async def publish_test_event(channel: EventChannel, given: TestEvent) -> None:
    """Validate and publish an event that somebody wrote. Errors: ActionError."""
    try:
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


def _page(runtime: Runtime, request: Request, base: str) -> Response:
    host, shown, frame = _host(request), escape(base), frame_of(runtime, request.scope)
    console = frame.links.get("Channels", "")
    publish = f' data-publish="{shown}/_servey/publish"' if runtime.settings.is_dev else ""
    content = f"""<div class="head">
<h1>Event channels</h1>
<a class="small" href="{shown}/asyncapi.json">asyncapi.json</a>
<span class="grow"></span>
<span id="status" class="status" role="status">not connected</span>
<input id="token" type="password" placeholder="token, optional" aria-label="token" autocomplete="off">
<button id="connect" type="button" class="main">Connect</button>
</div>
<div id="studio" data-base="{shown}" data-document="{shown}/asyncapi.json" data-console="{escape(console)}"{publish}>
<nav aria-label="channels"><ul id="channels"></ul></nav>
<section id="about" class="card" aria-label="channel"><p class="quiet">Loading.</p></section>
<section id="live" class="card" aria-label="live events">
<div class="row">
<input id="filter" type="search" placeholder="filter" aria-label="filter events">
<button id="pause" type="button" aria-pressed="false">Pause</button>
<button id="clear" type="button">Clear</button>
<span id="count" class="quiet">0 shown</span>
</div>
<ol id="events" class="events" aria-live="polite"></ol>
</section>
</div>"""
    sockets = f" ws://{host} wss://{host}" if host else ""
    return shipped_page(
        frame,
        "Event channels",
        content,
        current="AsyncAPI",
        more_head=f'<link rel="stylesheet" href="{shown}/_servey/studio/studio.css">',
        scripts=[f"{base}/_servey/studio/studio.js"],
        policy="script-src 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src data:; form-action 'none'; "
        f"connect-src 'self'{sockets}",
    )
