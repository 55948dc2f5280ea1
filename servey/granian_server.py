"""The server of `servey run --server granian`: granian embedded in one process, with the same graceful shutdown.

After SIGTERM, ``/health/ready`` returns 503 and every response closes its connection; requests are still served for the
drain time. Then streams end (`Runtime.lifespan`), requests in progress finish within the grace period, and the process ends.
A second SIGTERM, or Ctrl-C, skips the drain time.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servey.core.context import running_processes
from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.observability.logs import log_as_json
from servey.runtime.garbage import keep_start_out_of_collections
from servey.runtime.systemd import READY, STOPPING, notify

IDLE_SECONDS = 60
"""How long a connection may take to send the headers of its first or next request; granian's longest."""
MAX_MESSAGE_BYTES = 1 << 20
"""The longest message of a websocket, as with uvicorn."""
CLOSE_SECONDS = 1
"""How long a websocket of the app's own may take to close at the end, and then to react to its cancellation."""

logger: logging.Logger = logging.getLogger("servey")


def check(where: dict[str, Any], workers: int) -> None:
    """Check that granian can serve like this. Errors: ConfigError."""
    if workers > 1:
        raise ConfigError(
            f"--server granian runs one process, not --workers {workers}; run one process in each container, or use uvicorn"
        )
    if "fd" in where:
        raise ConfigError(
            "--server granian cannot listen on an open socket (--fd); use --uds or a port, or use uvicorn"
        )


def run(app: ASGIApp, settings: Settings, where: dict[str, Any]) -> None:
    """Serve an app until a signal arrives; the exit code is 0 after SIGTERM, and 1 if the app cannot start."""

    async def until_signal() -> bool:
        serving = _Serving(app, settings, where)
        # Not before this: granian configures logging, which closes all handlers.
        writer = log_as_json("DEBUG" if settings.debug else settings.log_level) if settings.logs_json else None
        try:
            return await serving.until_signal()
        finally:
            if writer is not None:
                writer.flush()

    with asyncio.Runner(loop_factory=_new_loop()) as runner:
        has_served = runner.run(until_signal())
    if not has_served:
        sys.exit(1)


def _new_loop() -> Any:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


class _Serving:
    """One server and what its requests need: addresses, limits of messages, a drain time."""

    def __init__(self, app: ASGIApp, settings: Settings, where: dict[str, Any]) -> None:
        uds: str | None = where.get("uds")
        self._app = app
        self._is_unix = uds is not None  # its ends have no addresses
        self._settings = settings
        self._draining = False
        self._has_failed = False
        self._stopping = asyncio.Event()
        self._end: Any = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._sockets: set[asyncio.Task[Any]] = set()
        address: dict[str, Any] = (
            {"uds": Path(uds)} if uds is not None else {"address": _resolved(where["host"]), "port": where["port"]}
        )
        self._place = f"the Unix socket {uds}" if uds is not None else f"http://{where['host']}:{where['port']}"
        self._server: Any = Server(
            self._serve,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=IDLE_SECONDS * 1000),
            backlog=2048,
            log_enabled=False,  # the app logs its own errors
            **address,
        )

    async def until_signal(self) -> bool:
        """Serve until a signal arrives, and return whether the app could start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: loop.call_soon_threadsafe(self._stopping.set))
        serving = asyncio.create_task(self._server.serve())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            stopping.cancel()
            error = serving.exception()
            if error is not None and not self._has_failed:
                logger.error("granian cannot serve on %s: %s", self._place, error)
            return error is None
        if not self._draining:
            notify(STOPPING)
        self._server.stop()
        if not (await asyncio.wait({serving}, timeout=self._settings.grace))[0]:
            logger.warning("%d requests did not end within %g s", len(self._calls), self._settings.grace)
            for call in tuple(self._calls):
                call.cancel()
        await serving
        return True

    def _on_terminate(self, loop: asyncio.AbstractEventLoop, number: int, frame: FrameType | None) -> None:
        if self._draining or self._settings.drain == 0:
            self._end(number, frame)
            return
        self._draining = True
        notify(STOPPING)
        loop.call_soon_threadsafe(self._drain, loop, number)

    def _drain(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        logger.info("shutting down; still serving for %g s", self._settings.drain)
        for runtime in running_processes():
            runtime.drain()
        loop.call_later(self._settings.drain, self._end, number, None)

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                # The app has put its own handler, which ends its streams, around the first one.
                loop = asyncio.get_running_loop()
                self._end = signal.getsignal(signal.SIGTERM)
                signal.signal(signal.SIGTERM, lambda number, frame: self._on_terminate(loop, number, frame))
                logger.info("granian serves on %s", self._place)
                keep_start_out_of_collections()
                notify(READY)
            elif message["type"] == "lifespan.startup.failed":
                self._has_failed = True
                logger.error("the app did not start: %s", message.get("message", ""))
            elif message["type"] == "lifespan.shutdown.failed":
                logger.error("the app failed while it stopped: %s", message.get("message", ""))
            await send(message)

        async def receive_late() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                return message
            await self._finish()
            return message

        await self._app(scope, receive_late, noted)

    async def _finish(self) -> None:
        """Wait for what still needs the things that the lifespan closes, and that granian does not wait for: requests whose
        client has left, and websockets.
        """
        if self._calls:
            await asyncio.wait(tuple(self._calls))
        if self._sockets:
            _, still_open = await asyncio.wait(tuple(self._sockets), timeout=CLOSE_SECONDS)
            for each in still_open:
                each.cancel()
            if still_open:
                await asyncio.wait(still_open, timeout=CLOSE_SECONDS)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
            return
        # Files that granian reads itself cannot be compressed.
        scope["extensions"].pop("http.response.pathsend", None)
        for end in ("client", "server"):
            scope[end] = None if self._is_unix else _address(*scope[end])
        if scope["type"] == "websocket":
            receive = _within_limit(receive, send)
        elif self._draining:
            send = _closing(send)
        call = asyncio.current_task()
        assert call is not None
        running = self._sockets if scope["type"] == "websocket" else self._calls
        running.add(call)
        try:
            await self._app(scope, receive, send)
        finally:
            running.discard(call)


def _resolved(host: str) -> str:
    """Return the address of a host's name, such as localhost; granian listens on addresses only."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return str(socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)[0][4][0])


def _address(host: str, port: str) -> tuple[str, int]:
    """Return an address as ASGI defines it; granian writes ports as text."""
    return host, int(port)


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return closing


def _within_limit(receive: Receive, send: Send) -> Receive:
    """Return a ``receive`` that closes the websocket after a message that is too long."""

    async def within_limit() -> Message:
        message = await receive()
        content = message.get("text") or message.get("bytes") or b""
        size = len(content.encode()) if isinstance(content, str) else len(content)
        if size <= MAX_MESSAGE_BYTES:
            return message
        with suppress(Exception):  # the client may have disconnected
            await send({"type": "websocket.close", "code": 1009, "reason": "message too big"})
        return {"type": "websocket.disconnect", "code": 1009, "reason": "message too big"}

    return within_limit
