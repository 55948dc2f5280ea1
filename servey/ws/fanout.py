"""A websocket protocol for uvicorn that lets a frame be made once and written to many connections.

``servey run`` uses it (uvicorn's public option ``ws``); under any other server frames go out by ASGI. uvicorn's own class
copies and masks nothing less, but makes each frame anew for each connection, which is most of the cost of a fan-out.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from servey.ws.senders import EXTENSION


class FanoutProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which offers itself to the app as `servey.ws.senders.Frames`."""

    @property
    def waiting_bytes(self) -> int:
        """How much was written that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def write(self, frame: bytes) -> None:
        """Writes a whole frame; nothing once the connection is closed."""
        if not (self.close_sent or self.disconnected or self.transport.is_closing()):
            self.transport.write(frame)

    async def drain(self) -> None:
        """Comes back once the client has taken most of what was written."""
        await self.writable.wait()

    def abort(self) -> None:
        """Ends the connection without waiting for the client."""
        self.transport.abort()

    async def run_asgi(self) -> None:
        """Serves the connection, with this protocol in its scope."""
        extensions: Any = self.scope["extensions"]
        extensions[EXTENSION] = self
        await super().run_asgi()

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
