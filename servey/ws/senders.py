"""Sends frames to a connection: directly into its transport if the server supports that, else by ASGI.

Publishing never waits for a client. Frames that cannot be sent at once are queued, and a client whose queue is full is
disconnected.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from starlette.types import Scope, Send

from servey.core.settings import Settings
from servey.events.items import Event, Item, Lost
from servey.http.close_codes import SERVICE_RESTART, TOO_SLOW
from servey.ws.frames import event_frame

logger: logging.Logger = logging.getLogger("servey")

EXTENSION = "servey.frames"
_SLOW_REASON = "Too many events are queued for this subscriber; reconnect and read faster"
_CLOSE_SECONDS = 5.0
_RESTART_SECONDS = 1.0
STALLED_SECONDS = 30.0
"""How long a client may take to read an answer or a replayed event; then it is disconnected."""


class Frames(Protocol):
    """The server's extension in ``scope["extensions"]`` that writes pre-serialized frames."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes written that the client has not read yet."""
        ...

    def writer(self) -> Callable[[bytes], int]:
        """A function that writes a whole frame and returns the number of buffered bytes; 0 once the connection is closed."""
        ...

    async def drain(self) -> None:
        """Wait until the client has read most of what was written."""
        ...

    def abort(self) -> None:
        """Close the connection without waiting for the client."""
        ...


class Sender(Protocol):
    """Sends to one connection. ``put_*`` never wait, ``send_*`` wait for the client."""

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
        """The close code that was sent, or None."""
        ...


def sender_of(scope: Scope, send: Send, settings: Settings) -> Sender:
    """The fastest sender that the server of this connection supports."""
    frames: Frames | None = (scope.get("extensions") or {}).get(EXTENSION)
    if frames is not None:
        return DirectSender(frames, send, settings.channel_queue_bytes)
    return AsgiSender(send, settings.channel_queue, settings.channel_queue_bytes)


class _Closing:
    """Closing a connection, for both senders."""

    __slots__ = ("_closing", "_on_closing", "_send", "_stuck", "closed_with")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._closing: asyncio.Task[None] | None = None
        self._on_closing: Callable[[], None] | None = None
        self._stuck: Callable[[], object] | None = None
        self.closed_with: int | None = None

    def watch(self, closing: Callable[[], None], stuck: Callable[[], object]) -> None:
        """Call ``closing`` when this closes the connection, and ``stuck`` if the client does not let it close."""
        self._on_closing, self._stuck = closing, stuck

    def _start_closing(self, code: int, finish: Coroutine[Any, Any, None]) -> None:
        self.closed_with = code
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
        """Close a connection before anything was sent on it."""
        await self._close(code, reason)

    async def aclose(self) -> None:
        """Wait until the connection is closed, if this is closing it."""
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)


class AsgiSender(_Closing):
    """Sends by ASGI, from a task that starts with the first event."""

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
        """A function that sends the bare payload of events; losses cannot be reported on such a socket."""
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
        await self._send_now(_message(text))

    async def send_event(self, event: Event) -> None:
        await self._send_now(_message(event_frame(event).decode()))

    def close(self, code: int, reason: str) -> None:
        """Close the connection; queued frames are dropped."""
        if self._closing is None:
            self._outbox.clear()
            self._start_closing(code, self._finish(code, reason))

    async def aclose(self) -> None:
        await super().aclose()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _send_now(self, message: dict[str, Any]) -> None:
        if self._closing is None:
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._send(message)
            except TimeoutError:
                self.close(TOO_SLOW, _SLOW_REASON)
            except (RuntimeError, OSError):
                pass  # the client has left; the reader detects that

    def _put(self, message: dict[str, Any]) -> None:
        if self._closing is not None:
            return
        self._bytes += len(message["text"])
        if len(self._outbox) >= self._max_items or self._bytes > self._max_bytes:
            self.close(TOO_SLOW, _SLOW_REASON)
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
    """Writes frames that were serialized once for all connections directly into the transport."""

    __slots__ = ("_abort", "_frames", "_max_bytes", "_write")

    def __init__(self, frames: Frames, send: Send, max_bytes: int) -> None:
        super().__init__(send)
        self._frames = frames
        self._write = frames.writer()
        self._max_bytes = max_bytes
        self._abort: asyncio.TimerHandle | None = None

    def bare(self) -> Callable[[Item], None]:
        """A function that sends the bare payload of events; losses cannot be reported on such a socket."""
        # Called for every subscriber and event, so attributes are looked up once.
        write, max_bytes = self._write, self._max_bytes

        def deliver(item: Item) -> None:
            if isinstance(item, Lost) or self._closing is not None:
                return
            frame = item.frames.get("bare")
            if frame is None:
                frame = item.frames["bare"] = text_frame(item.payload)
            if write(frame) > max_bytes:
                self.close(TOO_SLOW, _SLOW_REASON)

        return deliver

    def put_event(self, event: Event) -> None:
        frame = event.frames.get("framed")
        if frame is None:
            frame = event.frames["framed"] = text_frame(event_frame(event))
        self._put(frame)

    def put_text(self, text: str) -> None:
        self._put(text_frame(text.encode()))

    async def send_text(self, text: str) -> None:
        await self._send_now(text_frame(text.encode()))

    async def send_event(self, event: Event) -> None:
        await self._send_now(text_frame(event_frame(event)))

    def close(self, code: int, reason: str) -> None:
        """Close the connection; abort it if the client does not read the close frame."""
        if self._closing is None:
            self._start_closing(code, self._close(code, reason))
            loop = asyncio.get_running_loop()
            seconds = _RESTART_SECONDS if code == SERVICE_RESTART else _CLOSE_SECONDS
            self._abort = loop.call_later(seconds, self._frames.abort)

    async def aclose(self) -> None:
        await super().aclose()
        if self._abort is not None and not self._frames.waiting_bytes:
            self._abort.cancel()

    def _put(self, frame: bytes) -> None:
        if self._closing is None and self._write(frame) > self._max_bytes:
            self.close(TOO_SLOW, _SLOW_REASON)

    async def _send_now(self, frame: bytes) -> None:
        if self._closing is None:
            self._write(frame)
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._frames.drain()
            except TimeoutError:
                self.close(TOO_SLOW, _SLOW_REASON)


def _message(text: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": text}


def text_frame(payload: bytes) -> bytes:
    """A complete text frame from the server. Source: RFC 6455 section 5.2."""
    length = len(payload)
    if length < 126:
        return b"\x81%c%s" % (length, payload)
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
