"""Sends open-ended response bodies, with pings while idle, until the client disconnects or the process shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from contextvars import Context, copy_context
from time import monotonic
from types import CoroutineType
from typing import Any

import anyio
from starlette.types import Receive, Send

from servey.calls.steps import resume_coroutine
from servey.compat.asyncio import Step, steps_as

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
    writer = BodyWriter(send)
    watchers = _Watchers(writer.close)
    writer.start = watchers.start
    watches: list[Coroutine[Any, Any, object]] = [_disconnected(receive), stopping.wait()]
    if given_up is not None:
        watches.append(given_up.wait())
    if ping is not None:
        watches.append(writer.ping(*ping))

    async def whole() -> None:
        await write(writer)
        await writer.written()

    await watchers.run(whole, watches)
    if writer.is_read:
        await writer.end()


class _Watchers:
    """Tasks beside a body that end when it has to end.

    It is not cancelled by a cancel scope of anyio: a generator may be in one that it entered before the body began, and
    scopes end in the reverse order.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._timer = asyncio.timeout(None)
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_running = False
        self._error: BaseException | None = None

    def start(self, watch: Coroutine[Any, Any, object], context: Context | None = None) -> asyncio.Task[object]:
        """Start a watcher while the body runs."""
        task = asyncio.create_task(watch, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def run(self, body: Callable[[], Awaitable[None]], watches: Iterable[Coroutine[Any, Any, object]]) -> None:
        """Run a body until it or one of the watchers ends. Errors: those of the body and of the watchers."""
        try:
            async with self._timer:
                self._is_running = True
                for watch in watches:
                    self.start(watch)
                try:
                    await body()
                finally:
                    self._is_running = False
        except TimeoutError:
            if not self._timer.expired():
                raise
        finally:
            for task in self._tasks:
                task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._tasks)
        if self._error is not None:
            raise self._error

    def _ended(self, task: asyncio.Task[object]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._is_running and not self._timer.expired():
            self._error = error
            self._close()
            self._timer.reschedule(asyncio.get_running_loop().time())


class BodyWriter:
    """Writes the body of one response.

    Shape: ``start`` runs a task that ends with the body; ``unsent`` is how many chunks that `write_later` was given are not
    sent yet; ``is_open`` says whether the body goes on, ``is_read`` whether the
    client reads it.
    """

    start: Callable[[Coroutine[Any, Any, object], Context], asyncio.Task[object]] | None = None
    _step_later: Step

    def __init__(self, send: Send) -> None:
        self._send = send
        self._later: asyncio.Queue[bytes | Awaitable[None]] | None = None
        self.unsent: int = 0
        self._lock = asyncio.Lock()
        self._is_idle = True
        self.is_open: bool = True
        self.is_read: bool = True

    def close(self) -> None:
        """Write no more chunks."""
        self.is_open = False

    async def write(self, chunk: bytes) -> bool:
        """Send a chunk and return whether the client read it in time."""
        return await self.written() and await self._write(chunk)

    def write_later(self, chunk: bytes) -> None:
        """Send a chunk on behalf of another task; the body ends if the client does not read it in time.

        The task that writes the body calls it.
        """
        self._is_idle = False
        if self._later is None:
            assert self.start is not None
            self._later, context = asyncio.Queue(), copy_context()
            self._step_later = steps_as(self.start(self._write_queued(self._later), context), context)
        if self.unsent or self._lock.locked():  # a ping may be on its way
            self._queue(chunk)
            return
        sending = self._send(_message(chunk))
        if isinstance(sending, CoroutineType):
            try:
                waits_for = self._step_later(sending)
            except StopIteration:
                return  # most sends do not wait, and the other task has nothing to do
            except Exception as error:
                sending = _failed(error)
            else:
                sending = resume_coroutine(sending, waits_for)
        self._queue(sending)

    def _queue(self, item: bytes | Awaitable[None]) -> None:
        assert self._later is not None
        self.unsent += 1
        self._later.put_nowait(item)

    async def written(self) -> bool:
        """Wait until what `write_later` was given is sent, and return whether the client read it in time."""
        if self.unsent and self.is_open:
            assert self._later is not None
            await self._later.join()
        return self.is_open

    async def _write_queued(self, items: asyncio.Queue[bytes | Awaitable[None]]) -> None:
        is_read = True
        while is_read:
            item = await items.get()
            is_read = await (self._write(item) if isinstance(item, bytes) else self._finish(item))
            self.unsent -= 1
            items.task_done()

    async def _write(self, chunk: bytes) -> bool:
        self._is_idle = False
        try:
            while self._lock.locked():
                async with self._lock:
                    pass
            sending = self._send(_message(chunk))
            if isinstance(sending, CoroutineType):
                try:
                    waits_for = sending.send(None)
                except StopIteration:
                    return self.is_open  # most sends do not wait, and need neither the lock nor a timer
                sending = resume_coroutine(sending, waits_for)
        except (TimeoutError, OSError):  # the client has disconnected
            self.is_open = self.is_read = False
            return False
        return await self._finish(sending)

    async def _finish(self, sending: Awaitable[None]) -> bool:
        """Wait until a send is finished, and return whether the client read it in time."""
        try:
            async with self._lock, asyncio.timeout(STALLED_SECONDS):
                await sending
        except (TimeoutError, OSError):  # the client does not read, or has disconnected
            self.is_open = self.is_read = False
        return self.is_open

    async def end(self) -> None:
        """End the body, or give up after a second if the client does not read."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, OSError):  # the client does not read, or has disconnected
            pass

    async def ping(self, chunk: bytes, every: float) -> None:
        """Send this chunk after each idle period, until the client does not read it."""
        while self.is_open:
            self._is_idle = True
            await asyncio.sleep(every)
            if self._is_idle:
                await self._write(chunk)


def _message(chunk: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": True}


async def _failed(error: Exception) -> None:
    raise error


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
