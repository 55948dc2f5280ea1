"""Server-sent events of one channel, at the path of its websocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from servey.errors import ActionError
from servey.events import Event, Item
from servey.sending import SSE_PING, send_chunks
from servey.subscriptions import Subscription, open_subscription
from servey.web import bearer_token, error_response, header
from servey.ws.sockets import Connections, authorization_of

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy would keep events back
]
_RETRY = b"retry: 2000\n\n"


async def serve_stream(connections: Connections, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends a channel's events until the client leaves. Source: WHATWG HTML section 9.2."""
    runtime = connections.runtime
    path = scope["path_params"]
    try:
        connections.check_room()
        authorization = await authorization_of(runtime, bearer_token(scope))
        subscription = await open_subscription(
            runtime,
            path["channel"],
            authorization,
            subscriber_id=path.get("subscriber_id"),
            after=header(scope, b"last-event-id"),
        )
    except ActionError as error:
        await error_response(error)(scope, receive, send)
        return
    if scope["method"] == "HEAD":
        subscription.close()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b""})
        return
    dropped = asyncio.Event()
    subscription.on_end(lambda error: dropped.set() if error.code == "too_slow" else None)
    connections.streams += 1
    try:
        await send_chunks(
            _chunks(subscription),
            _HEADERS,
            receive,
            send,
            runtime.stopping,
            ping=(SSE_PING, runtime.settings.channel_ping),
            given_up=dropped,
        )
    finally:
        connections.streams -= 1
        subscription.close()


async def _chunks(subscription: Subscription) -> AsyncGenerator[bytes, None]:
    if subscription.cursor is not None:
        yield _ready(subscription.recovered, subscription.cursor)
    else:
        yield _RETRY
    try:
        async for item in subscription:
            waiting = subscription.waiting()
            yield _chunk(item) if not waiting else b"".join(map(_chunk, [item, *waiting]))
    except ActionError as error:
        yield b"event: error\ndata: %s\n\n" % to_json(error.body(), fallback=str)


def _chunk(item: Item) -> bytes:
    if isinstance(item, Event):
        return _event(item)
    return b"" if item.cursor is None else _ready(False, item.cursor)


def _ready(recovered: bool | None, cursor: str) -> bytes:
    """How a stream of a channel with history begins, and goes on after a loss; its id is where to resume."""
    told = b"{}" if recovered is None else b'{"recovered":%s}' % (b"true" if recovered else b"false")
    return b"event: ready\nid: %s\nretry: 2000\ndata: %s\n\n" % (cursor.encode(), told)


def _event(event: Event) -> bytes:
    chunk = event.frames.get("sse")
    if chunk is None:
        identity = b"" if event.cursor is None else b"id: %s\n" % event.cursor.encode()
        chunk = event.frames["sse"] = b"%sdata: %s\n\n" % (identity, event.payload)
    return bytes(chunk)
