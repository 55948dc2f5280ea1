"""uvicorn's process supervisor with our own server class, and a server that exits with 0 after SIGTERM.

Source: uvicorn/supervisors/multiprocess.py, uvicorn/server.py, 0.50 to 0.54. uvicorn has no public way to set the server
class of its worker processes; its supervisor creates them from the class `Process` of its module.
"""

from __future__ import annotations

import inspect
import signal
import socket
import sys
from array import array
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.server import Server
from uvicorn.supervisors import multiprocess

__all__ = ["QuietServer", "in_headers", "is_websocket", "supervise", "unread_bytes"]

if list(inspect.signature(multiprocess.Process.__init__).parameters) != ["self", "config", "sockets"] or (
    list(inspect.signature(Server._serve).parameters) != ["self", "sockets"]
):
    raise ImportError(
        f"uvicorn {uvicorn.__version__} changed its servers or worker processes; "
        "install a version of uvicorn that this version of servey supports"
    )


class QuietServer(Server):
    """A server whose process exits with 0 after SIGTERM; uvicorn's own raises the captured signal again."""

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super()._serve(sockets)
        self._captured_signals = [number for number in self._captured_signals if number != signal.SIGTERM]


class _Process(multiprocess.Process):
    """A worker process whose server is created by ``config.make_server``."""

    @property
    def server(self) -> Server:
        if self._server is None:
            make: Callable[[Any], Server] = self.config.make_server  # type: ignore[attr-defined]
            self._server = make(self.config)
        return self._server


def supervise(config: uvicorn.Config, make_server: Callable[[uvicorn.Config], Server]) -> None:
    """Run the worker processes of the config on one socket. A process that dies is replaced, SIGHUP replaces all of them
    one by one, and a worker that cannot start ends everything. ``make_server`` must be a module-level function.
    """
    config.make_server = make_server  # type: ignore[attr-defined]
    multiprocess.Process = _Process  # type: ignore[misc]
    multiprocess.Multiprocess(config, [config.bind_socket()]).run()


def is_websocket(connection: Any) -> bool:
    """Whether a connection is a websocket, and not HTTP."""
    return not hasattr(connection, "cycle")


def in_headers(connection: Any) -> bool:
    """Whether a connection has not sent complete request headers yet."""
    if is_websocket(connection):
        return False
    cycle = connection.cycle
    return (cycle is None or cycle.response_complete) and connection.timeout_keep_alive_task is None


def unread_bytes(connection: Any) -> int:
    """Return how many bytes the client has not read; 0 if the kernel has taken all of them.

    On Linux the bytes that the kernel holds count too: it takes more only when a third of its buffer, of up to 4 MB, is
    free, and until then what the transport holds stays the same, however much a slow client reads.
    Source: tcp(7), SIOCOUTQ.
    """
    transport = connection.transport
    if transport is None:
        return 0
    held: int = transport.get_write_buffer_size()
    if not held or sys.platform != "linux":
        return held
    # Other platforms have no such modules, or another meaning.
    from fcntl import ioctl
    from termios import TIOCOUTQ

    unsent = array("i", [0])
    try:
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, unsent)
    except (OSError, ValueError, AttributeError):  # it is closed
        return held
    return held + unsent[0]
