"""The response to one message: JSON, or server-sent events if something is told before the result is there.

Source: MCP 2025-11-25 and 2026-07-28, "Streamable HTTP".
"""

from __future__ import annotations

import asyncio

from servey.http.sending import SSE_PING, BodyWriter
from servey.http.web import Answer

Headers = list[tuple[bytes, bytes]]
_NO_STORE = (b"cache-control", b"no-store")
_EVENTS: Headers = [_NO_STORE, (b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]


class Reply:
    """Answers one HTTP request; ``ping`` is after how many idle seconds an open event stream gets a comment."""

    def __init__(self, answer: Answer, ping: float) -> None:
        self._answer = answer
        self._ping = ping
        self._events: BodyWriter | None = None
        self._pinging: asyncio.Task[None] | None = None
        self.is_sent: bool = False

    async def notify(self, message: bytes) -> None:
        """Send a message before the result; the first one begins an event stream."""
        if self._events is None:
            await self._answer.send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            self._events = BodyWriter(self._answer.send)
            self._pinging = asyncio.create_task(self._events.ping(SSE_PING, self._ping))
        if self._events.is_open:
            await self._events.write(_event(message))

    async def send(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Send the result. An event stream has begun with its own status and headers, and ends with it."""
        self.is_sent = True
        if self._events is None:
            about = [_NO_STORE, (b"content-length", str(len(body)).encode()), *(headers or ())]
            if body:
                about.append((b"content-type", b"application/json"))
            await self._answer.send({"type": "http.response.start", "status": status, "headers": about})
            await self._answer.send({"type": "http.response.body", "body": body})
            return
        if self._events.is_open and await self._events.write(_event(body)):
            await self._events.end()

    def close(self) -> None:
        """Stop the pings of an event stream."""
        if self._pinging is not None:
            self._pinging.cancel()


def _event(message: bytes) -> bytes:
    return b"event: message\ndata: " + message + b"\n\n"
