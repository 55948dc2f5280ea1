"""How frames leave a connection: straight into its transport where the server offers that, else by ASGI.

Whoever publishes never waits for a client: what can not be sent at once waits here, bounded, and a client that lets too
much of it wait is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from starlette.types import Scope, Send

from servey.events import Event, Item, Lost
from servey.settings import Settings
from servey.ws.frames import CLOSE_CODES, RESTART, event_frame

logger = logging.getLogger("servey")

EXTENSION = "servey.frames"
_SLOW = CLOSE_CODES["too_slow"]
_SLOW_REASON = "Too many events wait for this subscriber; come back and read faster"
_CLOSE_SECONDS = 5.0
_RESTART_SECONDS = 1.0


class Frames(Protocol):
    """What a server offers in ``scope["extensions"]`` to send frames that are made once for many connections."""

    @property
    def waiting_bytes(self) -> int:
        """How much was written that the client has not taken yet."""
        ...

    def writer(self) -> Callable[[bytes], int]:
        """What writes a whole frame as it goes over the wire, nothing once the connection is closed; it gives how many
        bytes the client has not taken yet.
        """
        ...

    async def drain(self) -> None:
        """Comes back once the client has taken most of what was written."""
        ...

    def abort(self) -> None:
        """Ends the connection without waiting for the client."""
        ...


class Sender(Protocol):
    """One connection's way out. ``put_*`` never wait, ``send_*`` wait for the client."""

    def bare(self) -> Callable[[Item], None]: ...
    def put_event(self, event: Event) -> None: ...
    def put_text(self, text: str) -> None: ...
    async def send_text(self, text: str) -> None: ...
    async def send_event(self, event: Event) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def watch(self, closing: Callable[[], None], stuck: Callable[[], object]) -> None: ...
    async def refuse(self, code: int, reason: str) -> None: ...
    async def aclose(self) -> None: ...

    @property
    def closed_with(self) -> int | None:
        """The code that it was closed with, by us."""
        ...


def sender_of(scope: Scope, send: Send, settings: Settings) -> Sender:
    """The quickest sender that this connection's server has."""
    frames: Frames | None = (scope.get("extensions") or {}).get(EXTENSION)
    if frames is not None:
        return DirectSender(frames, send, settings.channel_queue_bytes)
    return AsgiSender(send, settings.channel_queue, settings.channel_queue_bytes)


class _Closing:
    """What both senders do at the end of a connection."""

    __slots__ = ("_closing", "_on_closing", "_send", "_stuck", "closed_with")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._closing: asyncio.Task[None] | None = None
        self._on_closing: Callable[[], None] | None = None
        self._stuck: Callable[[], object] | None = None
        self.closed_with: int | None = None

    def watch(self, closing: Callable[[], None], stuck: Callable[[], object]) -> None:
        """Has ``closing`` called when this closes the connection, ``stuck`` when its client lets it not."""
        self._on_closing, self._stuck = closing, stuck

    def _begin_to_close(self, finish: Coroutine[Any, Any, None]) -> None:
        self._closing = asyncio.create_task(finish)
        if self._on_closing is not None:
            self._on_closing()

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            if self._stuck is not None:
                self._stuck()
        except (RuntimeError, OSError):
            pass  # the client has left

    async def refuse(self, code: int, reason: str) -> None:
        """Closes a connection that nothing was sent on yet."""
        await self._close(code, reason)

    async def aclose(self) -> None:
        """Waits for the end of its own."""
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)


class AsgiSender(_Closing):
    """Sends by ASGI, from a task that begins with the first event."""

    __slots__ = ("_bytes", "_max_bytes", "_max_items", "_outbox", "_wake", "_writer")

    def __init__(self, send: Send, max_items: int, max_bytes: int) -> None:
        super().__init__(send)
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._outbox: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def bare(self) -> Callable[[Item], None]:
        """What takes events alone; a socket of bare events has no way to say that some were lost."""
        return self._put_bare

    def _put_bare(self, item: Item) -> None:
        if not isinstance(item, Lost):
            message = item.frames.get("asgi bare")
            if message is None:
                message = item.frames["asgi bare"] = _message(item.payload.decode())
            self._put(message)

    def put_event(self, event: Event) -> None:
        message = event.frames.get("asgi")
        if message is None:
            message = event.frames["asgi"] = _message(event_frame(event).decode())
        self._put(message)

    def put_text(self, text: str) -> None:
        self._put(_message(text))

    async def send_text(self, text: str) -> None:
        await self._pass(_message(text))

    async def send_event(self, event: Event) -> None:
        await self._pass(_message(event_frame(event).decode()))

    def close(self, code: int, reason: str) -> None:
        """Closes the connection; what waits is dropped."""
        if self._closing is None:
            self.closed_with = code
            self._outbox.clear()
            self._begin_to_close(self._finish(code, reason))

    async def aclose(self) -> None:
        await super().aclose()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _pass(self, message: dict[str, Any]) -> None:
        if self._closing is None:
            try:
                await self._send(message)
            except (RuntimeError, OSError):
                pass  # the client has left; the reader sees that

    def _put(self, message: dict[str, Any]) -> None:
        if self._closing is not None:
            return
        self._bytes += len(message["text"])
        if len(self._outbox) >= self._max_items or self._bytes > self._max_bytes:
            self.close(_SLOW, _SLOW_REASON)
            return
        self._outbox.append(message)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                while self._outbox:
                    message = self._outbox.popleft()
                    self._bytes -= len(message["text"])
                    await self._send(message)
                self._wake = loop.create_future()
                await self._wake
        except (RuntimeError, OSError):
            self._outbox.clear()

    async def _finish(self, code: int, reason: str) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._close(code, reason)


class DirectSender(_Closing):
    """Writes frames that were made once for all connections straight into the transport."""

    __slots__ = ("_abort", "_frames", "_max_bytes", "_write")

    def __init__(self, frames: Frames, send: Send, max_bytes: int) -> None:
        super().__init__(send)
        self._frames = frames
        self._write = frames.writer()
        self._max_bytes = max_bytes
        self._abort: asyncio.TimerHandle | None = None

    def bare(self) -> Callable[[Item], None]:
        """What takes events alone; a socket of bare events has no way to say that some were lost."""
        # This is called for every subscriber and event, so that it looks up nothing twice.
        write, max_bytes = self._write, self._max_bytes

        def deliver(item: Item) -> None:
            if isinstance(item, Lost) or self._closing is not None:
                return
            frame = item.frames.get("bare")
            if frame is None:
                frame = item.frames["bare"] = text_frame(item.payload)
            if write(frame) > max_bytes:
                self.close(_SLOW, _SLOW_REASON)

        return deliver

    def put_event(self, event: Event) -> None:
        frame = event.frames.get("framed")
        if frame is None:
            frame = event.frames["framed"] = text_frame(event_frame(event))
        self._put(frame)

    def put_text(self, text: str) -> None:
        self._put(text_frame(text.encode()))

    async def send_text(self, text: str) -> None:
        await self._pass(text_frame(text.encode()))

    async def send_event(self, event: Event) -> None:
        await self._pass(text_frame(event_frame(event)))

    def close(self, code: int, reason: str) -> None:
        """Closes the connection, for a client that does not read by force."""
        if self._closing is None:
            self.closed_with = code
            self._begin_to_close(self._close(code, reason))
            loop = asyncio.get_running_loop()
            self._abort = loop.call_later(_RESTART_SECONDS if code == RESTART else _CLOSE_SECONDS, self._frames.abort)

    async def aclose(self) -> None:
        await super().aclose()
        if self._abort is not None and not self._frames.waiting_bytes:
            self._abort.cancel()

    def _put(self, frame: bytes) -> None:
        if self._closing is None and self._write(frame) > self._max_bytes:
            self.close(_SLOW, _SLOW_REASON)

    async def _pass(self, frame: bytes) -> None:
        if self._closing is None:
            self._write(frame)
            await self._frames.drain()


def _message(text: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": text}


def text_frame(payload: bytes) -> bytes:
    """A server's text frame, whole. Source: RFC 6455 section 5.2."""
    length = len(payload)
    if length < 126:
        return b"\x81%c%s" % (length, payload)
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
