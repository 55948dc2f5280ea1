"""A websocket protocol for uvicorn that serializes a frame once and writes it to many connections.

``servey run`` uses it (uvicorn's public option ``ws``); under other servers frames are sent by ASGI. uvicorn's own class
serializes each frame for each connection, which is most of the cost of a fan-out.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from servey.ws.senders import EXTENSION

_LINGER_SECONDS = 1.0


class FanoutProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, passed to the app as `servey.ws.senders.Frames`."""

    close_timer: TimerHandle | None
    frames: list[bytes]
    _failed = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes written that the client has not read yet."""
        return self.transport.get_write_buffer_size()

    def writer(self) -> Callable[[bytes], int]:
        """A function that writes a whole frame and returns the number of buffered bytes; 0 once the connection is closed."""
        write, is_closing = self.transport.write, self.transport.is_closing
        size = self.transport.get_write_buffer_size

        def put(frame: bytes) -> int:
            if self.close_sent or is_closing():
                return 0
            write(frame)
            return size()

        return put

    async def drain(self) -> None:
        """Wait until the write buffer is below its low-water mark."""
        await self.writable.wait()

    def abort(self) -> None:
        """Close the connection without waiting for the client."""
        self.transport.abort()

    async def send(self, message: Any) -> None:
        """Send an ASGI message; free the handshake response once it is sent."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            del self.response

    async def run_asgi(self) -> None:
        """Serve the connection, with this protocol in its scope."""
        extensions: Any = self.scope.setdefault("extensions", {})
        extensions[EXTENSION] = self
        await super().run_asgi()

    def data_received(self, data: bytes) -> None:
        """Read data; data after an invalid frame is discarded."""
        if self.conn.parser_exc is None and not self._failed:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Send a close frame after an invalid frame, then close.

        uvicorn closes the transport at once, which resets the connection if the client still sends, and loses the close
        frame.
        """
        assert self.conn.close_sent is not None
        self._failed = True
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()  # the client need not wait until its remaining data is discarded
        self.close_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def send_receive_event_to_app(self) -> None:
        """Pass a message to the app; text that is not UTF-8 closes the connection, without a traceback in the log."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(CloseCode.INVALID_DATA, "not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()
