"""Sends the items of a streaming action as server-sent events or JSON lines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic_core import to_json
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from servey.calls.outcomes import Stream
from servey.core.context import Context
from servey.core.errors import Unauthenticated, body_of
from servey.http.errors import known_error
from servey.http.sending import SSE_PING, send_chunks
from servey.runtime.runtime import Runtime

MediaType = Literal["text/event-stream", "application/jsonl"]
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def stream_media_type(accept: str | None) -> MediaType:
    """Return the format that a client prefers; JSON lines unless server-sent events are preferred.

    Source: RFC 9110 section 12.5.1. Of equal weights, the more specific range counts, then the one listed first.
    """
    ranges = [_parse_range(part) for part in (accept or "").split(",")]
    sse, lines = (_preference(ranges, each) for each in ("text/event-stream", "application/jsonl"))
    return "text/event-stream" if sse > lines else "application/jsonl"


def _parse_range(text: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in text.split(";"))
    quality = next((each[2:].strip() for each in parameters if each.startswith("q=")), "1")
    return name, float(quality) if _QUALITY.fullmatch(quality) else 0.0


def _preference(ranges: list[tuple[str, float]], media_type: MediaType) -> tuple[float, int, int]:
    """Return the weight of a media type, how specific its range is, and how early it is listed."""
    for specificity, wanted in ((2, media_type), (1, media_type.partition("/")[0] + "/*"), (0, "*/*")):
        for position, (name, weight) in enumerate(ranges):
            if name == wanted:
                return (weight, specificity, -position) if weight else (0.0, 0, 0)
    return (0.0, 0, 0)


class StreamResponse(Response):
    """Sends a stream until it ends, the client disconnects, its token expires or the process shuts down.

    Source: WHATWG HTML section 9.2 (server-sent events); jsonlines.org.
    """

    def __init__(
        self,
        stream: Stream,
        media_type: MediaType,
        headers: list[tuple[bytes, bytes]],
        runtime: Runtime,
        context: Context,
    ) -> None:
        self._stream = stream
        self._is_sse = media_type == "text/event-stream"
        self._runtime = runtime
        self._context = context
        self.status_code = 200
        self.background: BackgroundTask | None = None
        content_type = f"{media_type}; charset=utf-8" if self._is_sse else media_type
        self.raw_headers: list[tuple[bytes, bytes]] = [
            (b"content-type", content_type.encode()),
            (b"cache-control", b"no-store"),
            *headers,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_chunks(
            _chunks(self._stream, self._is_sse, self._context),
            self.raw_headers,
            receive,
            send,
            self._runtime.stopping,
            ping=(SSE_PING, self._runtime.settings.channel_ping) if self._is_sse else None,
        )


def _until_expiry(stream: Stream, context: Context) -> AsyncIterable[Any]:
    """Return the items of a stream, which ends when the caller's token expires."""
    authorization = context.verified_authorization
    expire_at = authorization.expire_at if authorization is not None else None
    return stream if expire_at is None else _until(expire_at, stream)


async def _until(expire_at: datetime, stream: Stream) -> AsyncGenerator[Any, None]:
    """Yield the items of a stream. Errors: Unauthenticated when it has not ended by this time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (expire_at - datetime.now(UTC)).total_seconds()
    while True:
        timer = asyncio.timeout_at(deadline)
        try:
            async with timer:
                item = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if not timer.expired():
                raise
            raise Unauthenticated("The token has expired") from None
        if loop.time() >= deadline:
            raise Unauthenticated("The token has expired")
        yield item


async def _chunks(stream: Stream, is_sse: bool, context: Context) -> AsyncGenerator[bytes, None]:
    assert stream.action.result is not None
    serialize = stream.action.result.serializer.to_json
    try:
        async for item in _until_expiry(stream, context):
            line = serialize(item, by_alias=True, warnings=False)
            yield b"data: %b\n\n" % line if is_sse else line + b"\n"
    except Exception as error:
        known = to_json(
            body_of(known_error(error, context.runtime, context.request_id, stream.action.name)), fallback=str
        )
        yield b"event: error\ndata: " + known + b"\n\n" if is_sse else b'{"error":' + known + b"}\n"
