"""Sends what a streaming action yields, as server-sent events or as JSON lines."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Literal

from pydantic_core import to_json
from starlette.types import Receive, Send

from servey.invoke import Stream
from servey.runtime import Runtime
from servey.sending import SSE_PING, send_chunks
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
    runtime: Runtime,
    request_id: str,
) -> None:
    """Sends a stream to its end, to its client's leaving or to the process's end, whichever comes first.

    Source: WHATWG HTML section 9.2 (server-sent events); jsonlines.org.
    """
    is_sse = media_type == "text/event-stream"
    content_type = f"{media_type}; charset=utf-8" if is_sse else media_type
    start = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store"), *headers]
    await send_chunks(
        _chunks(stream, is_sse, request_id),
        start,
        receive,
        send,
        runtime.stopping,
        ping=(SSE_PING, runtime.settings.channel_ping) if is_sse else None,
    )


async def _chunks(stream: Stream, is_sse: bool, request_id: str) -> AsyncGenerator[bytes, None]:
    serializer = stream.action.result
    assert serializer is not None
    try:
        async for item in stream:
            line = serializer.serializer.to_json(item, by_alias=True, warnings=False)
            yield b"data: " + line + b"\n\n" if is_sse else line + b"\n"
    except Exception as error:
        known = to_json(known_error(error, request_id, stream.action.name).body(), fallback=str)
        yield b"event: error\ndata: " + known + b"\n\n" if is_sse else b'{"error":' + known + b"}\n"
