"""The MCP endpoint: streamable HTTP without sessions, so that any process can answer any request.

Source: MCP 2025-11-25 and 2026-07-28, "Streamable HTTP".
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Coroutine
from typing import Any, TypeAlias

from starlette.types import Receive, Scope, Send

from servey.core.context import Context
from servey.core.errors import ActionError, Forbidden, InvalidParams, UnsupportedMediaType
from servey.core.queues import CancelRequest
from servey.http.bodies import parse_json, whole_body
from servey.http.disconnects import cancelled_on_disconnect
from servey.http.errors import known_error
from servey.http.hosts import checks_hosts
from servey.http.origins import origin_is_known
from servey.http.tokens import caller_token
from servey.http.web import JSON, Answer, exception_of, request_id_of
from servey.mcp.calls import Exchange
from servey.mcp.messages import (
    HANDSHAKE_VERSIONS,
    HEADER_MISMATCH,
    LISTEN,
    META_VERSION,
    MODERN_VERSIONS,
    PARSE_ERROR,
    ProtocolError,
    Request,
    Response,
    check_envelope,
    encode_error,
    parse_message,
    unsupported_version,
)
from servey.mcp.progress import progress_of, reported
from servey.mcp.questions import answers_of
from servey.mcp.replies import Reply
from servey.mcp.server import Server
from servey.mcp.tasks import METHODS as TASK_METHODS

logger: logging.Logger = logging.getLogger("servey")

Headers: TypeAlias = dict[bytes, list[bytes]]
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"} | dict.fromkeys(TASK_METHODS, "taskId")
"""The parameter that a modern client repeats in the header ``Mcp-Name``, by method."""


async def serve_http(server: Server, scope: Scope, receive: Receive, send: Send) -> None:
    """Handle one request. Every failure becomes a response."""
    reply = Reply(Answer(scope, send, request_id_of(scope)), server.runtime.settings.channel_ping)
    request: Request | Response | None = None
    is_valid = False
    try:
        with server.runtime.in_flight.count_call():
            given, body = await _read(server, scope, receive)
            request = _parsed(body)
            if isinstance(request, Request):
                _check_headers(request, given)
            is_valid = True
            if isinstance(request, Response) or request.id is None:
                await reply.send(202, b"")
                return
            if request.method != LISTEN:
                await _respond(server, request, body, scope, receive, reply)
                return
        await _respond(server, request, body, scope, receive, reply)  # it lasts, so it is no request in flight
    except (Exception, asyncio.CancelledError) as raised:
        error = exception_of(raised)
        if reply.is_sent:
            logger.error("MCP failed after the response", exc_info=error)
            return
        known = known_error(error, server.runtime, request_id_of(scope), "MCP", "mcp")
        headers = {name.lower(): value for name, value in known.headers.items()}
        challenge = server.protected.challenge(known, scope)
        if challenge is not None:
            headers["www-authenticate"] = challenge
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        is_older = is_valid and isinstance(request, Request) and not request.is_modern
        # Clients before 2026-07-28 expect 200 for the error of a valid message.
        status = 200 if is_older and isinstance(known, ProtocolError) else known.status
        await reply.send(status, encode_error(getattr(request, "id", None), known), raw)
    finally:
        reply.close()


async def _read(server: Server, scope: Scope, receive: Receive) -> tuple[Headers, bytes]:
    """Check what a request is and where it comes from, and return its headers and its body. Errors: ActionError."""
    headers: Headers = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, []).append(value)
    settings = server.runtime.settings
    if b"origin" in headers:
        # A page that rebinds its own name to this server is of the server's own origin. A gateway on AWS has no such name.
        own = checks_hosts(settings) or "aws.event" in scope
        if not origin_is_known(scope, settings.cors_allowed_origins, own=own):
            also = "" if own else ", and SERVEY_ALLOWED_HOSTS the names under which this server's own pages may"
            raise Forbidden(
                f"Pages of this Origin may not call this server; SERVEY_CORS_ALLOWED_ORIGINS lists those that may{also}"
            )
    if scope["method"] != "POST":
        # No streams that outlive a request, and no sessions to end.
        raise ActionError(405, "method_not_allowed", "Method Not Allowed", headers={"Allow": "POST"})
    media_type = _first(headers, b"content-type") or ""
    if media_type != JSON and media_type.partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMediaType(media_type, JSON)
    body = await whole_body(
        receive,
        length=_first(headers, b"content-length"),
        limit_bytes=settings.max_body_bytes,
        timeout=settings.body_timeout,
    )
    return headers, body


def _parsed(body: bytes) -> Request | Response:
    try:
        return parse_message(parse_json(body))
    except InvalidParams as error:
        raise ProtocolError(PARSE_ERROR, f"The body is not valid JSON: {error.detail[0]['ctx']['error']}") from None


def _first(headers: Headers, name: bytes) -> str | None:
    values = headers.get(name)
    return None if values is None else values[0].decode("latin-1")


def _check_headers(request: Request, headers: Headers) -> None:
    """Errors: ProtocolError if the headers name an unsupported version, or another request than the body."""
    version = _first(headers, b"mcp-protocol-version")
    if not request.is_modern and version not in MODERN_VERSIONS:
        if version is not None and version not in HANDSHAKE_VERSIONS:
            raise unsupported_version(version)
        return
    if request.id is None:
        return  # the protocol asks for no headers
    if not request.is_modern:
        check_envelope(request)
    _check_header(headers, b"mcp-protocol-version", request.meta[META_VERSION])
    _check_header(headers, b"mcp-method", request.method)
    if request.method in _NAMED:
        _check_header(headers, b"mcp-name", request.params.get(_NAMED[request.method]))
    check_envelope(request)


def _check_header(headers: Headers, name: bytes, value: Any) -> None:
    found = headers.get(name, ())
    if value is not None and (len(found) != 1 or _decoded(found[0].decode("latin-1")) != value):
        raise ProtocolError(
            HEADER_MISMATCH, f"The header {name.decode()} must be sent once and say the same as the body"
        )


_ENCODED = re.compile(r"=\?base64\?(.*)\?=")


def _decoded(field: str) -> str | None:
    """Return a header's value; one that is not printable ASCII is sent as base64 of UTF-8.

    Source: RFC 9110 section 5.5: servers leave the white space around it in place.
    """
    value = field.strip(" \t")
    match = _ENCODED.fullmatch(value) if value.startswith("=?") else None
    if match is None:
        return value
    try:
        return base64.b64decode(match[1], validate=True).decode()
    except ValueError:
        return None


async def _respond(server: Server, request: Request, body: bytes, scope: Scope, receive: Receive, reply: Reply) -> None:
    token = caller_token(scope, server.runtime)
    context = Context(server.runtime, "mcp", request_id_of(scope), token)
    notify = reply.notify if _accepts_events(scope) else None
    progress = progress_of(request) if notify is not None else None
    answers = answers_of(request) if request.is_modern else None
    exchange = Exchange(context, scope, receive, progress, answers, notify, body=body)
    try:
        call = _until_disconnect(server.respond(request, exchange), server, request, exchange)
        response = await reported(call, progress, reply.notify)
        await reply.send(200, response, exchange.headers())
    except BaseException as error:
        await exchange.close(error)
        raise
    await exchange.close()


def _accepts_events(scope: Scope) -> bool:
    # Most Lambda functions cannot stream.
    return not scope.get("servey.is_buffered") and any(
        name == b"accept" and b"text/event-stream" in value.lower() for name, value in scope["headers"]
    )


async def _until_disconnect(
    call: Coroutine[Any, Any, bytes], server: Server, request: Request, exchange: Exchange
) -> bytes:
    """Await a call, and cancel it when its client disconnects.

    Source: MCP 2026-07-28; in the versions before it a client that disconnects has not cancelled anything, so the action
    decides.
    """
    assert exchange.receive is not None
    tool = server.called_tool(request)
    ends = tool is not None and (request.is_modern or tool.action.cancel_on_disconnect)
    if not ends and request.method != LISTEN:
        return await call
    exchange.context.cancel_request = CancelRequest()
    return await cancelled_on_disconnect(call, exchange.receive, exchange.context.cancel_request)
