"""Sends open-ended response bodies, with pings while idle, until the client disconnects or the process shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from time import monotonic
from types import CoroutineType

import anyio
from anyio.abc import TaskGroup
from starlette.types import Receive, Send

from servey.calls.steps import resume_coroutine

SSE_PING = b": ping\n\n"
"""A comment that keeps an event stream alive; clients ignore it. Source: WHATWG HTML section 9.2.7."""

STALLED_SECONDS = 30.0
"""How long a client may take to read one chunk before the response is aborted."""

_END_SECONDS = 1.0
TURN_SECONDS = 0.001
"""How long chunks that are ready are sent before other tasks run."""


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
    """Send the chunks of a body as `send_body` does."""

    async def write(writer: BodyWriter) -> None:
        until = 0.0
        async for chunk in chunks:
            if not await writer.write(chunk):
                break
            # The clock of an event loop may stand still while no other task runs.
            if monotonic() >= until:
                # Neither chunks that are ready nor a send to a disconnected client yield to the event loop.
                await asyncio.sleep(0)
                until = monotonic() + TURN_SECONDS

    async with aclosing(chunks):
        await send_body(write, headers, receive, send, stopping, ping=ping, given_up=given_up)


async def send_body(
    write: Callable[[BodyWriter], Awaitable[None]],
    headers: list[tuple[bytes, bytes]],
    receive: Receive,
    send: Send,
    stopping: asyncio.Event,
    *,
    ping: tuple[bytes, float] | None = None,
    given_up: asyncio.Event | None = None,
) -> None:
    """Send a body until ``write`` returns, the client disconnects or stops reading, or the process shuts down.

    Shape: ``ping`` is a chunk and the seconds of idle time after which it is sent; ``given_up`` is an event that ends the
    body.
    """
    if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):
        # nginx buffers responses unless they ask it not to.
        headers = [*(pair for pair in headers if pair[0] != b"x-accel-buffering"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with anyio.create_task_group() as group:
        writer = BodyWriter(send, group)
        group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)
        group.start_soon(_cancel_when, stopping, group.cancel_scope)
        if given_up is not None:
            group.start_soon(_cancel_when, given_up, group.cancel_scope)
        if ping is not None:
            group.start_soon(writer.ping, *ping, group.cancel_scope.cancel)
        await write(writer)
        await writer.written()
        group.cancel_scope.cancel()
    if writer.is_open:
        await writer.end()


class BodyWriter:
    """Writes the body of one response. ``group`` runs what `write_later` starts, and ends with the body."""

    def __init__(self, send: Send, group: TaskGroup | None = None) -> None:
        self._send = send
        self._group = group
        self._later: asyncio.Queue[bytes] | None = None
        self._lock = asyncio.Lock()
        self._is_idle = True
        self.is_open: bool = True

    async def write(self, chunk: bytes) -> bool:
        """Send a chunk and return whether the client read it in time."""
        return await self.written() and await self._write(chunk)

    def write_later(self, chunk: bytes) -> None:
        """Send a chunk in another task; the body ends if the client does not read it in time."""
        self._is_idle = False
        if self._later is None:
            assert self._group is not None
            self._later = asyncio.Queue()
            self._group.start_soon(self._write_queued, self._later, self._group.cancel_scope.cancel)
        self._later.put_nowait(chunk)

    async def written(self) -> bool:
        """Wait until what `write_later` was given is sent, and return whether the client read it in time."""
        if self._later is not None:
            await self._later.join()
        return self.is_open

    async def _write_queued(self, chunks: asyncio.Queue[bytes], give_up: Callable[[], object]) -> None:
        while await self._write(await chunks.get()):
            chunks.task_done()
        chunks.task_done()
        give_up()

    async def _write(self, chunk: bytes) -> bool:
        self._is_idle = False
        message = {"type": "http.response.body", "body": chunk, "more_body": True}
        try:
            while self._lock.locked():
                async with self._lock:
                    pass
            sending = self._send(message)
            if isinstance(sending, CoroutineType):
                try:
                    waits_for = sending.send(None)
                except StopIteration:
                    return self.is_open  # most sends do not wait, and need neither the lock nor a timer
                sending = resume_coroutine(sending, waits_for)
            async with self._lock, asyncio.timeout(STALLED_SECONDS):
                await sending
        except (TimeoutError, OSError):  # the client does not read, or has disconnected
            self.is_open = False
        return self.is_open

    async def end(self) -> None:
        """End the body, or give up after a second if the client does not read."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, OSError):  # the client does not read, or has disconnected
            pass

    async def ping(self, chunk: bytes, every: float, give_up: Callable[[], object]) -> None:
        """Send this chunk after each idle period, until the client does not read it."""
        while self.is_open:
            self._is_idle = True
            await asyncio.sleep(every)
            if self._is_idle and not await self._write(chunk):
                give_up()


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _cancel_when(happened: asyncio.Event, scope: anyio.CancelScope) -> None:
    await happened.wait()
    scope.cancel()
