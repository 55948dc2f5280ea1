"""``/graphql`` over HTTP: queries by GET and POST, mutations by POST, subscriptions as server-sent events.

Source: the GraphQL-over-HTTP specification; graphql-sse's protocol in its distinct connections mode.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import orjson
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from servey.bodies import parse_json, whole_body
from servey.context import Context
from servey.errors import ActionError
from servey.graphql.engine import Engine, is_mutation, is_subscription
from servey.graphql.failures import request_failure
from servey.graphql.operation import LimitExceeded
from servey.graphql.requests import (
    EVENT_STREAM,
    RESPONSE_JSON,
    Asked,
    BadRequest,
    answer_type,
    asked_in_query,
    asked_of,
    check_media_type,
)
from servey.web import Answer, bearer_token, error_response, exception_of, header, known_error, replay, request_id_of

logger = logging.getLogger("servey")

_PING_SECONDS = 12


async def serve_http(engine: Engine, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers one request, whatever is wrong with it."""
    answer = Answer(scope, send, request_id_of(scope))
    try:
        with engine.runtime.in_flight.one_more() as let_go:
            await _serve(engine, scope, receive, answer, let_go)
    except (Exception, asyncio.CancelledError) as raised:
        error = exception_of(raised)
        if answer.started:
            logger.error("GraphQL failed after its answer", exc_info=error)
            return
        known = known_error(error, request_id_of(scope), "GraphQL")
        if isinstance(known, LimitExceeded):
            response = _response(request_failure(known), answer_type(scope), 200)
        elif isinstance(known, BadRequest):
            response = _response(request_failure(known), answer_type(scope), 400)
        else:
            response = error_response(known)
        await response(scope, receive, answer.send)


async def _serve(engine: Engine, scope: Scope, receive: Receive, answer: Answer, let_go: Callable[[], None]) -> None:
    is_get = scope["method"] in ("GET", "HEAD")
    body = b""
    if is_get:
        asked: Asked | list[Asked] = asked_in_query(scope)
    elif scope["method"] == "POST":
        body, asked = await _asked_in_body(engine, scope, receive)
    else:
        raise ActionError(405, "method_not_allowed", "Method Not Allowed", headers={"Allow": "GET, POST"})
    receive = replay(body, receive)
    media_type = answer_type(scope)
    if isinstance(asked, list):
        media_type = RESPONSE_JSON if media_type == RESPONSE_JSON else "application/json"
        answers, headers = [], []
        for each in asked:
            made, more = await _answer_to(engine, each, scope, receive, is_get)
            answers.append(made)
            headers += more
        await _response(answers, media_type, 200, headers)(scope, receive, answer.send)
        return
    if media_type == EVENT_STREAM:
        await _stream(engine, asked, scope, receive, answer, let_go, is_get)
        return
    await _one(engine, asked, scope, receive, answer, is_get, media_type)


async def _asked_in_body(engine: Engine, scope: Scope, receive: Receive) -> tuple[bytes, Asked | list[Asked]]:
    check_media_type(scope)
    settings = engine.runtime.settings
    body = await whole_body(
        receive,
        length=header(scope, b"content-length"),
        limit_bytes=settings.max_body_bytes,
        timeout=settings.body_timeout,
    )
    given = parse_json(body)
    if not isinstance(given, list):
        return body, asked_of(given)
    if len(given) > settings.graphql_max_batch:
        raise LimitExceeded(f"There are {len(given)} operations in the request; {settings.graphql_max_batch} may be")
    if not given:
        raise BadRequest("A list of operations may not be empty")
    return body, [asked_of(each) for each in given]


def _context(engine: Engine, scope: Scope) -> Context:
    return Context(engine.runtime, "graphql", request_id=request_id_of(scope), token=bearer_token(scope))


async def _one(
    engine: Engine, asked: Asked, scope: Scope, receive: Receive, answer: Answer, is_get: bool, media_type: str
) -> None:
    document = _runnable(engine, asked, is_get)
    if isinstance(document, dict):
        await _response(document, media_type, _status(document, media_type))(scope, receive, answer.send)
        return
    async with await engine.begin(_context(engine, scope), scope, receive) as operation:
        made = await engine.execute(document, asked, operation)
        response = _response(made, media_type, _status(made, media_type), operation.headers())
        await response(scope, receive, answer.send)


async def _answer_to(
    engine: Engine, asked: Asked, scope: Scope, receive: Receive, is_get: bool
) -> tuple[dict[str, Any], list[tuple[bytes, bytes]]]:
    document = _runnable(engine, asked, is_get)
    if isinstance(document, dict):
        return document, []
    async with await engine.begin(_context(engine, scope), scope, receive) as operation:
        return await engine.execute(document, asked, operation), operation.headers()


def _runnable(engine: Engine, asked: Asked, is_get: bool) -> Any:
    """The document, or the answer that says why it is not run."""
    document = engine.document(asked)
    if isinstance(document, dict):
        return document
    if is_get and is_mutation(document, asked):
        raise ActionError(405, "method_not_allowed", "A mutation is sent by POST", headers={"Allow": "POST"})
    if is_subscription(document, asked):
        text = f"A subscription comes over a websocket, or as {EVENT_STREAM} where the request accepts that"
        return request_failure(BadRequest(text, "unsupported_media_type"))
    return document


def _status(made: dict[str, Any], media_type: str) -> int:
    """Source: GraphQL-over-HTTP section 6.4: without ``data``, nothing was run."""
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
    """An answer as JSON, numbers of any size included."""
    try:
        return orjson.dumps(made, option=orjson.OPT_UTC_Z)
    except TypeError:
        pass
    try:
        return to_json(made, inf_nan_mode="null")
    except ValueError:
        return json.dumps(made, default=str).encode()  # half a surrogate pair


# ---------------------------------------------------------------------------------------------- server-sent events


async def _stream(
    engine: Engine,
    asked: Asked,
    scope: Scope,
    receive: Receive,
    answer: Answer,
    let_go: Callable[[], None],
    is_get: bool,
) -> None:
    document = engine.document(asked)
    if not isinstance(document, dict) and is_get and is_mutation(document, asked):
        raise ActionError(405, "method_not_allowed", "A mutation is sent by POST", headers={"Allow": "POST"})
    async with await engine.begin(_context(engine, scope), scope, receive) as operation:
        if isinstance(document, dict):
            made: Any = document
        elif is_subscription(document, asked):
            made = await engine.subscribe(document, asked, operation)
        else:
            made = await engine.execute(document, asked, operation)
        let_go()  # open streams are many and idle; they are not what the limit is about
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await answer.send({"type": "http.response.start", "status": 200, "headers": [*headers, *operation.headers()]})
        answers: Any = _alone(made) if isinstance(made, dict) else made
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_until_left, receive, group.cancel_scope)
                group.start_soon(_until, engine.runtime.stopping, group.cancel_scope)
                group.start_soon(_ping, answer.send)
                async for each in answers:
                    await _send_event(answer.send, b"next", encoded(each))
                    await asyncio.sleep(0)  # neither side may ever have to wait
                await _send_event(answer.send, b"complete", b"")
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await answers.aclose()
        await answer.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _alone(made: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield made


async def _send_event(send: Send, name: bytes, data: bytes) -> None:
    body = b"event: " + name + b"\ndata: " + data + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _ping(send: Send) -> None:
    while True:
        await asyncio.sleep(_PING_SECONDS)
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})


async def _until_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _until(event: asyncio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
