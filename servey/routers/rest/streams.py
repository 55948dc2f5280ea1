"""Sends the items of a streaming action as server-sent events or JSON lines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any, Literal

from pydantic_core import to_json
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from servey.calls.outcomes import Stream, Waiting, checked
from servey.core.clock import Alarm, Clock
from servey.core.context import Context
from servey.core.errors import Unauthenticated, body_of
from servey.http.encode import Encode
from servey.http.errors import known_error
from servey.http.sending import SSE_PING, TURN_SECONDS, BodyWriter, send_body
from servey.runtime.runtime import Runtime

MediaType = Literal["text/event-stream", "application/jsonl"]
_BATCH_BYTES = 1 << 16
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
        encode: Encode | None,
    ) -> None:
        self._stream = stream
        self._encode = encode
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
        await send_body(
            _Items(self._stream, self._is_sse, self._context, self._encode).write,
            self.raw_headers,
            receive,
            send,
            self._runtime.stopping,
            ping=(SSE_PING, self._runtime.settings.channel_ping) if self._is_sse else None,
        )


@contextmanager
def _expiry(timer: asyncio.Timeout, moment: float, clock: Clock) -> Iterator[None]:
    """End the block by a timer at a time of day."""
    alarms: list[Alarm] = []

    def ring() -> None:
        alarms.pop().cancel()
        if clock.now() >= moment:
            timer.reschedule(asyncio.get_running_loop().time())
        else:
            alarms.append(clock.alarm(moment, ring))

    alarms.append(clock.alarm(moment, ring))
    try:
        yield
    finally:
        for alarm in alarms:
            alarm.cancel()


class _Items:
    """The items of a stream as the chunks of a body.

    Items that are ready at the same time are one chunk. They are sent before the generator is awaited, and at the latest
    after the first step that ends a millisecond after the last chunk.
    """

    def __init__(self, stream: Stream, is_sse: bool, context: Context, encode: Encode | None) -> None:
        assert stream.action.result is not None
        self._stream = stream
        self._is_sse = is_sse
        self._context = context
        self._encode = encode
        self._serialize = stream.action.result.serializer.to_json
        self._held: list[bytes] = []
        self._size = 0
        self._until = 0.0
        authorization = context.verified_authorization
        expire_at = authorization.expire_at if authorization is not None else None
        self._clock = context.runtime.clock
        self._expires = inf if expire_at is None else expire_at.timestamp()

    async def write(self, writer: BodyWriter) -> None:
        """Write all items, and the error that ends them early, until the client does not read."""
        # In one piece, since each call would cost as much as a part of an item.
        stream, waiting = self._stream, None
        while writer.is_open:
            try:
                if waiting is not None:
                    item = await (stream.wait(waiting) if self._expires == inf else self._wait(waiting))
                    if not (await writer.written() if writer.unsent else writer.is_open):
                        return
                    self._until = monotonic() + TURN_SECONDS
                    self._take(item)
                waiting = stream.take_ready(self._take)
            except StopAsyncIteration:
                await self._flush(writer)
                await self._succeed(writer)
                return
            except Exception as error:
                await self._flush(writer)
                await self._fail(writer, error)
                return
            if waiting is not None:
                # A timeout inside the generator runs already. It cancels what this task waits for: the step, not a send.
                if self._held:
                    writer.write_later(self._chunk())
            else:
                await self._flush(writer)
                # Neither items that are ready nor a send to a disconnected client yield to the event loop.
                await asyncio.sleep(0)
                self._until = monotonic() + TURN_SECONDS

    async def _succeed(self, writer: BodyWriter) -> None:
        try:
            await self._stream.succeed()
        except Exception as error:
            await self._fail(writer, error)

    async def _fail(self, writer: BodyWriter, error: Exception) -> None:
        action = self._stream.action
        known = known_error(error, self._context.runtime, self._context.request_id, action.name)
        body = to_json(body_of(known), fallback=str)
        if writer.is_open:
            chunk = b"event: error\ndata: " + body + b"\n\n" if self._is_sse else b'{"error":' + body + b"}\n"
            await writer.write(chunk)

    def _take(self, item: Any) -> bool:
        """Hold an item, and return whether to take another one before these are sent."""
        line = None if self._encode is None else self._encode(item)
        if line is None:
            line = self._serialize(checked(self._stream.action, item), by_alias=True, warnings=False)
        if self._expires != inf and self._clock.now() >= self._expires:
            raise Unauthenticated("The token has expired")
        now = monotonic()
        self._held.append(line)
        self._size += len(line)
        return now < self._until and self._size < _BATCH_BYTES

    async def _flush(self, writer: BodyWriter) -> None:
        if self._held:
            await writer.write(self._chunk())

    def _chunk(self) -> bytes:
        """Return what is held as one chunk, and hold nothing."""
        held, self._held = self._held, []
        chunk = held[0] if len(held) == 1 else (b"\n\ndata: " if self._is_sse else b"\n").join(held)
        self._size = 0
        return b"data: %b\n\n" % chunk if self._is_sse else chunk + b"\n"

    async def _wait(self, waiting: Waiting) -> Any:
        """Return the item that is waited for. Errors: Unauthenticated when the token expires."""
        timer = asyncio.timeout(None)
        try:
            async with timer:
                with _expiry(timer, self._expires, self._clock):
                    return await self._stream.wait(waiting)
        except TimeoutError:
            if not timer.expired():
                raise
            raise Unauthenticated("The token has expired") from None
