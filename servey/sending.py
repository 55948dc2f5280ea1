"""Sends a body that has no end of its own: pinged when it is silent, ended with its client and with the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from starlette.types import Receive, Send

SSE_PING = b": ping\n\n"
"""A comment, which keeps an event stream alive and which no client shows. Source: WHATWG HTML section 9.2.7."""

STALLED_SECONDS = 30.0
"""How long a client may take to accept one piece; then it is given up on."""

_END_SECONDS = 1.0


async def send_chunks(
    chunks: AsyncGenerator[bytes, None],
    headers: list[tuple[bytes, bytes]],
    receive: Receive,
    send: Send,
    stopping: asyncio.Event,
    *,
    ping: tuple[bytes, float] | None = None,
    given_up: asyncio.Event | None = None,
) -> None:
    """Sends the pieces of a body until they end, the client leaves or stops reading, or the process is asked to end.

    Shape: ``ping`` is what is sent after so many seconds of silence; ``given_up`` ends the body from outside.
    """
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    line = _Line(send)
    async with aclosing(chunks), anyio.create_task_group() as group:
        group.start_soon(_cancel_when_left, receive, group.cancel_scope)
        group.start_soon(_cancel_when, stopping, group.cancel_scope)
        if given_up is not None:
            group.start_soon(_cancel_when, given_up, group.cancel_scope)
        if ping is not None:
            group.start_soon(line.ping, *ping, group.cancel_scope)
        async for chunk in chunks:
            if not await line.put(chunk):
                break
            # Neither a body that never waits nor a send to a client that has left gives way to anything else.
            await asyncio.sleep(0)
        group.cancel_scope.cancel()
    if line.is_open:
        await line.end()


class _Line:
    """One response's way out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = asyncio.Lock()
        self._quiet = True
        self.is_open = True

    async def put(self, chunk: bytes) -> bool:
        """Whether the client took it in time."""
        self._quiet = False
        try:
            async with self._lock, asyncio.timeout(STALLED_SECONDS):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            self.is_open = False
        return self.is_open

    async def end(self) -> None:
        """Ends the body, unless the client keeps it from ending."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            pass

    async def ping(self, chunk: bytes, every: float, scope: anyio.CancelScope) -> None:
        """Puts this after each silence; ends the body of a client that does not take it."""
        while True:
            self._quiet = True
            await asyncio.sleep(every)
            if self._quiet and not await self.put(chunk):
                scope.cancel()


async def _cancel_when_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _cancel_when(happened: asyncio.Event, scope: anyio.CancelScope) -> None:
    await happened.wait()
    scope.cancel()
