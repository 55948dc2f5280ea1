"""``/graphql`` over HTTP: queries by GET and POST, mutations by POST, subscriptions as server-sent events.

Source: the GraphQL-over-HTTP specification; the graphql-sse protocol in distinct connections mode.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from servey.core.context import Context
from servey.core.errors import ActionError
from servey.graphql.execution.engine import Engine, is_mutation, is_subscription
from servey.graphql.execution.limits import LimitExceeded
from servey.graphql.failures import request_failure
from servey.graphql.requests import (
    EVENT_STREAM,
    RESPONSE_JSON,
    BadRequest,
    GraphQLRequest,
    check_media_type,
    error_media_type,
    parse_graphql_json,
    parse_query_string,
    parse_request,
    preferred_media_type,
)
from servey.http.bodies import whole_body
from servey.http.errors import known_error, shown_response
from servey.http.sending import SSE_PING, send_chunks
from servey.http.tokens import caller_token
from servey.http.web import Answer, exception_of, header, replay, request_id_of

logger: logging.Logger = logging.getLogger("servey")

_SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a reverse proxy must not buffer events
]


class _ClientDisconnected(OSError):
    """The client has closed the connection; there is nobody to report anything to."""


def _detecting_disconnects(send: Send) -> Send:
    async def send_or_disconnect(message: Message) -> None:
        try:
            await send(message)
        except OSError as error:
            raise _ClientDisconnected from error

    return send_or_disconnect


async def serve_http(engine: Engine, scope: Scope, receive: Receive, send: Send) -> None:
    """Handle one request. Every failure becomes a response."""
    answer = Answer(scope, _detecting_disconnects(send), request_id_of(scope))
    try:
        with engine.runtime.in_flight.count_call() as release:
            await _serve(engine, scope, receive, answer, release)
    except (Exception, asyncio.CancelledError) as raised:
        error = exception_of(raised)
        if answer.started:
            if isinstance(error, _ClientDisconnected):
                return
            logger.error("GraphQL failed after the response started", exc_info=error)
            return
        known = known_error(error, engine.runtime, request_id_of(scope), "GraphQL", "graphql")
        if isinstance(known, LimitExceeded):
            response = _response(request_failure(known), error_media_type(scope), 200)
        elif isinstance(known, BadRequest):
            response = _response(request_failure(known), error_media_type(scope), 400)
        else:
            response = shown_response(known, engine.runtime, scope)
        await response(scope, receive, answer.send)


async def _serve(engine: Engine, scope: Scope, receive: Receive, answer: Answer, release: Callable[[], None]) -> None:
    is_get = scope["method"] in ("GET", "HEAD")
    body = b""
    if is_get:
        request: GraphQLRequest | list[GraphQLRequest] = parse_query_string(scope)
    elif scope["method"] == "POST":
        body, request = await _parse_body(engine, scope, receive)
    else:
        raise ActionError(405, "method_not_allowed", "Method Not Allowed", headers={"Allow": "GET, POST"})
    receive = replay(body, receive)
    media_type = preferred_media_type(scope)
    if isinstance(request, list):
        media_type = RESPONSE_JSON if media_type == RESPONSE_JSON else "application/json"
        answers, headers = [], []
        for each in request:
            made, more = await _execute_batched(engine, each, scope, receive, is_get)
            answers.append(made)
            headers += more
        await _response(answers, media_type, 200, headers)(scope, receive, answer.send)
        return
    if media_type == EVENT_STREAM:
        await _stream(engine, request, scope, receive, answer, release, is_get)
        return
    await _respond(engine, request, scope, receive, answer, is_get, media_type)


async def _parse_body(
    engine: Engine, scope: Scope, receive: Receive
) -> tuple[bytes, GraphQLRequest | list[GraphQLRequest]]:
    check_media_type(scope)
    settings = engine.runtime.settings
    body = await whole_body(
        receive,
        length=header(scope, b"content-length"),
        limit_bytes=settings.max_body_bytes,
        timeout=settings.body_timeout,
    )
    given = parse_graphql_json(body)
    if not isinstance(given, list):
        return body, parse_request(given)
    if len(given) > settings.graphql_max_batch:
        raise LimitExceeded(f"The request has {len(given)} operations; the limit is {settings.graphql_max_batch}")
    if not given:
        raise BadRequest("A list of operations must not be empty")
    return body, [parse_request(each) for each in given]


def _context(engine: Engine, scope: Scope) -> Context:
    return Context(
        engine.runtime, "graphql", request_id=request_id_of(scope), token=caller_token(scope, engine.runtime)
    )


async def _respond(
    engine: Engine,
    request: GraphQLRequest,
    scope: Scope,
    receive: Receive,
    answer: Answer,
    is_get: bool,
    media_type: str,
) -> None:
    document = _runnable(engine, request, is_get)
    if isinstance(document, dict):
        await _response(document, media_type, _status(document, media_type))(scope, receive, answer.send)
        return
    async with await engine.start_operation(_context(engine, scope), scope, receive) as operation:
        made = await engine.execute(document, request, operation)
        response = _response(made, media_type, _status(made, media_type), operation.headers())
        await response(scope, receive, answer.send)


async def _execute_batched(
    engine: Engine, request: GraphQLRequest, scope: Scope, receive: Receive, is_get: bool
) -> tuple[dict[str, Any], list[tuple[bytes, bytes]]]:
    document = _runnable(engine, request, is_get)
    if isinstance(document, dict):
        return document, []
    async with await engine.start_operation(_context(engine, scope), scope, receive) as operation:
        return await engine.execute(document, request, operation), operation.headers()


def _runnable(engine: Engine, request: GraphQLRequest, is_get: bool) -> Any:
    """Return the document, or the error response if it must not be executed."""
    document = engine.document(request)
    if isinstance(document, dict):
        return document
    if is_get and is_mutation(document, request):
        raise ActionError(405, "method_not_allowed", "Send mutations with POST", headers={"Allow": "POST"})
    if is_subscription(document, request):
        text = f"Subscriptions need a websocket, or a request with 'Accept: {EVENT_STREAM}'"
        return engine.failure(BadRequest(text, "unsupported_media_type"))
    return document


def _status(made: dict[str, Any], media_type: str) -> int:
    """Return the HTTP status. Source: GraphQL-over-HTTP section 6.4: without ``data`` the request was not executed."""
    if media_type != RESPONSE_JSON or "data" in made:
        return 200
    codes = {error["extensions"]["code"] for error in made["errors"]}
    return 200 if "limit_exceeded" in codes else 400


def _response(
    made: Any, media_type: str, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> Response:
    response = Response(encoded(made), status, media_type=media_type)
    response.raw_headers.extend(headers or ())
    return response


def encoded(made: Any) -> bytes:
    """Encode a response as JSON, including integers of any size."""
    try:
        return orjson.dumps(made, option=orjson.OPT_UTC_Z)
    except TypeError:
        pass
    try:
        return to_json(made, inf_nan_mode="null")
    except ValueError:
        return json.dumps(made, default=str).encode()  # a lone surrogate


# ---------------------------------------------------------------------------------------------- server-sent events


async def _stream(
    engine: Engine,
    request: GraphQLRequest,
    scope: Scope,
    receive: Receive,
    answer: Answer,
    release: Callable[[], None],
    is_get: bool,
) -> None:
    document = engine.document(request)
    if not isinstance(document, dict) and is_get and is_mutation(document, request):
        raise ActionError(405, "method_not_allowed", "Send mutations with POST", headers={"Allow": "POST"})
    async with (
        await engine.start_operation(_context(engine, scope), scope, receive) as operation,
        AsyncExitStack() as stack,
    ):
        if isinstance(document, dict):
            made: Any = document
        elif is_subscription(document, request):
            stack.enter_context(engine.count_subscription())
            made = await engine.subscribe(document, request, operation)
        else:
            made = await engine.execute(document, request, operation)
        release()  # the limit is for running calls, not for idle streams
        await send_chunks(
            _events(_single(made) if isinstance(made, dict) else made),
            [*_SSE_HEADERS, *operation.headers()],
            receive,
            answer.send,
            engine.runtime.stopping,
            ping=(SSE_PING, engine.runtime.settings.channel_ping),
        )


async def _single(made: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield made


async def _events(results: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[bytes, None]:
    try:
        async for each in results:
            yield b"event: next\ndata: " + encoded(each) + b"\n\n"
        yield b"event: complete\ndata: \n\n"
    finally:
        await results.aclose()  # type: ignore[attr-defined]
