"""Server-sent events of one channel, at the path of its websocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from servey.calls.ids import new_request_id
from servey.core.errors import ActionError, body_of
from servey.core.process import Process
from servey.events.items import Event, Item
from servey.events.subscriptions import Subscription, authorize_subscriber, open_subscription
from servey.http.errors import error_response, shown_error
from servey.http.sending import SSE_PING, send_chunks
from servey.http.tokens import caller_token
from servey.http.web import header
from servey.ws.sockets import Connections

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # tells nginx not to buffer events
]
_RETRY = b"retry: 2000\n\n"


async def serve_stream(connections: Connections, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a channel's events until the client leaves. Source: WHATWG HTML section 9.2."""
    runtime = connections.runtime
    path = scope["path_params"]
    with ExitStack() as held:
        try:
            held.enter_context(connections.count_one())
            authorization = await authorize_subscriber(runtime, caller_token(scope, runtime))
            subscription = await open_subscription(
                runtime,
                path["channel"],
                authorization,
                subscriber_id=path.get("subscriber_id"),
                after=header(scope, b"last-event-id"),
            )
        except ActionError as error:
            await error_response(error, runtime, scope)(scope, receive, send)
            return
        held.callback(subscription.close)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": b""})
            return
        dropped = asyncio.Event()
        subscription.on_end(lambda error: dropped.set() if error.code == "too_slow" else None)
        await send_chunks(
            _chunks(subscription, runtime),
            _HEADERS,
            receive,
            send,
            runtime.stopping,
            ping=(SSE_PING, runtime.settings.channel_ping),
            given_up=dropped,
        )


async def _chunks(subscription: Subscription, runtime: Process) -> AsyncGenerator[bytes, None]:
    if subscription.cursor is not None:
        yield _ready(subscription.recovered, subscription.cursor)
    else:
        yield _RETRY
    try:
        async for item in subscription:
            queued = subscription.take_queued()
            yield _chunk(item) if not queued else b"".join(map(_chunk, [item, *queued]))
    except ActionError as error:
        shown, _ = shown_error(error, runtime, new_request_id(), "sse")
        yield b"event: error\ndata: %s\n\n" % to_json(body_of(shown), fallback=str)


def _chunk(item: Item) -> bytes:
    if isinstance(item, Event):
        return _event(item)
    return b"" if item.cursor is None else _ready(False, item.cursor)


def _ready(recovered: bool | None, cursor: str) -> bytes:
    """The first event of a channel with history, and the event after a loss; its id is the position to resume from."""
    data = b"{}" if recovered is None else b'{"recovered":%s}' % (b"true" if recovered else b"false")
    return b"event: ready\nid: %s\nretry: 2000\ndata: %s\n\n" % (cursor.encode(), data)


def _event(event: Event) -> bytes:
    chunk = event.frames.get("sse")
    if chunk is None:
        identity = b"" if event.cursor is None else b"id: %s\n" % event.cursor.encode()
        chunk = event.frames["sse"] = b"%sdata: %s\n\n" % (identity, event.payload)
    return bytes(chunk)
