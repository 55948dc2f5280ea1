"""Sends what a streaming action yields, as server-sent events or as JSON lines."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import anyio
from pydantic_core import to_json
from starlette.types import Receive, Send

from servey.invoke import Stream
from servey.web import known_error

MediaType = Literal["text/event-stream", "application/jsonl"]

logger = logging.getLogger("servey")


def stream_media_type(accept: str | None) -> MediaType:
    """The format that a client asks for: server-sent events where it names them first, else JSON lines."""
    weights = {"text/event-stream": 0.0, "application/jsonl": 0.0}
    for part in (accept or "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if name in weights:
            quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
            try:
                weights[name] = float(quality)
            except ValueError:
                weights[name] = 0.0
    return "text/event-stream" if weights["text/event-stream"] > weights["application/jsonl"] else "application/jsonl"


async def send_stream(
    stream: Stream,
    media_type: MediaType,
    headers: list[tuple[bytes, bytes]],
    receive: Receive,
    send: Send,
    stopping: asyncio.Event,
    request_id: str,
) -> None:
    """Sends a stream to its end, to its client's leaving or to the process's end, whichever comes first.

    Source: WHATWG HTML section 9.2 (server-sent events); jsonlines.org.
    """
    content_type = f"{media_type}; charset=utf-8" if media_type == "text/event-stream" else media_type
    start = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_when_left, receive, group.cancel_scope)
        group.start_soon(_cancel_when_stopping, stopping, group.cancel_scope)
        await _send_items(stream, media_type, send, request_id)
        group.cancel_scope.cancel()
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_items(stream: Stream, media_type: MediaType, send: Send, request_id: str) -> None:
    is_sse = media_type == "text/event-stream"
    serializer = stream.action.result
    assert serializer is not None
    try:
        async for item in stream:
            line = serializer.serializer.to_json(item, by_alias=True, warnings=False)
            body = b"data: " + line + b"\n\n" if is_sse else line + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})
            # Neither a function that never waits nor a send to a client that has left gives way to anything else.
            await asyncio.sleep(0)
    except Exception as error:
        known = to_json(known_error(error, request_id, stream.action.name).body(), fallback=str)
        body = b"event: error\ndata: " + known + b"\n\n" if is_sse else b'{"error":' + known + b"}\n"
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _cancel_when_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _cancel_when_stopping(stopping: asyncio.Event, scope: anyio.CancelScope) -> None:
    await stopping.wait()
    scope.cancel()
