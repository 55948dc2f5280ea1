"""A websocket protocol for uvicorn that lets a frame be made once and written to many connections.

``servey run`` uses it (uvicorn's public option ``ws``); under any other server frames go out by ASGI. uvicorn's own class
copies and masks nothing less, but makes each frame anew for each connection, which is most of the cost of a fan-out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from servey.ws.senders import EXTENSION

_LINGER_SECONDS = 1.0


class FanoutProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which offers itself to the app as `servey.ws.senders.Frames`."""

    _failed = False

    @property
    def waiting_bytes(self) -> int:
        """How much was written that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def writer(self) -> Callable[[bytes], int]:
        """What writes a whole frame, nothing once the connection is closed, and gives how many bytes still wait."""
        write, is_closing = self.transport.write, self.transport.is_closing
        size = self.transport.get_write_buffer_size

        def put(frame: bytes) -> int:
            if self.close_sent or is_closing():
                return 0
            write(frame)
            return size()

        return put

    async def drain(self) -> None:
        """Comes back once the client has taken most of what was written."""
        await self.writable.wait()

    def abort(self) -> None:
        """Ends the connection without waiting for the client."""
        self.transport.abort()

    async def send(self, message: Any) -> None:
        """Sends a message of the app's, and lets go of the handshake once it is done."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            del self.response

    async def run_asgi(self) -> None:
        """Serves the connection, with this protocol in its scope."""
        extensions: Any = self.scope.setdefault("extensions", {})
        extensions[EXTENSION] = self
        await super().run_asgi()

    def data_received(self, data: bytes) -> None:
        """Reads on; what a client says after a frame that can not be is thrown away."""
        if self.conn.parser_exc is None and not self._failed:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Closes a connection with a bad frame, in order.

        uvicorn ends the transport at once, which resets a connection whose client still sends, and loses the close frame.
        """
        assert self.conn.close_sent is not None
        self._failed = True
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()  # the client need not wait for the rest of it to be thrown away
        self.close_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def send_receive_event_to_app(self) -> None:
        """Passes a whole message on; text that is not UTF-8 ends the connection, without a trace in the log."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(CloseCode.INVALID_DATA, "not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()
