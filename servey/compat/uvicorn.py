"""uvicorn's server and its supervisor of processes, with a server class of ours in them.

Source: uvicorn/supervisors/multiprocess.py, uvicorn/server.py, 0.50 to 0.54. Uvicorn has no public way to give its worker
processes another server than its own; its supervisor makes them of the class `Process` of its module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.server import Server
from uvicorn.supervisors import multiprocess

__all__ = ["in_headers", "supervise"]

if list(inspect.signature(multiprocess.Process.__init__).parameters) != ["self", "config", "sockets"]:
    raise ImportError(
        f"uvicorn {uvicorn.__version__} changed its worker processes; "
        "install a version of uvicorn that this version of servey supports"
    )


class _Process(multiprocess.Process):
    """A worker process that serves by the server that its config makes."""

    @property
    def server(self) -> Server:
        if self._server is None:
            make: Callable[[Any], Server] = self.config.make_server  # type: ignore[attr-defined]
            self._server = make(self.config)
        return self._server


def supervise(config: uvicorn.Config, make_server: Callable[[uvicorn.Config], Server]) -> None:
    """Runs as many worker processes as the config says, on one socket; those that die are replaced, SIGHUP replaces all
    of them one by one, and a worker that can not start ends everything. ``make_server`` is a function of a module.
    """
    config.make_server = make_server  # type: ignore[attr-defined]
    multiprocess.Process = _Process  # type: ignore[misc]
    multiprocess.Multiprocess(config, [config.bind_socket()]).run()


def in_headers(connection: Any) -> bool:
    """Whether a connection has begun a request whose headers are not whole, or has not begun any."""
    if not hasattr(connection, "cycle"):
        return False  # a websocket
    cycle = connection.cycle
    return (cycle is None or cycle.response_complete) and connection.timeout_keep_alive_task is None
