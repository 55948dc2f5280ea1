"""A worker's small HTTP server: liveness, readiness and metrics.

It serves three paths for monitoring inside a private network, and implements only the part of HTTP that this needs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from servey.observability.metrics import CONTENT_TYPE
from servey.runtime.health import Readiness

if TYPE_CHECKING:
    from servey.runtime.runtime import Runtime

_MAX_BYTES = 8192
_SECONDS = 5


@asynccontextmanager
async def status_served(runtime: Runtime, host: str, port: int | None) -> AsyncIterator[None]:
    """Serve ``/health/live``, ``/health/ready`` and ``/metrics`` until the block ends; without a port, do nothing.

    Errors: OSError if the port is in use.
    """
    if port is None:
        yield
        return
    readiness = Readiness(runtime)

    async def answer(path: str) -> tuple[int, str, str]:
        if path == "/health/live":
            return 200, "application/json", json.dumps({"status": "ok"})
        if path == "/health/ready":
            failing = await readiness.failing_parts()
            body = {"status": "failing", "failing": failing} if failing else {"status": "ok"}
            return (503 if failing else 200), "application/json", json.dumps(body)
        if path == "/metrics" and runtime.settings.metrics:
            return 200, CONTENT_TYPE, await runtime.metrics.text()
        return 404, "application/json", json.dumps({"detail": "Not Found", "code": "not_found"})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                status, kind, text = (
                    await answer(path.partition("?")[0]) if method == "GET" else (405, "text/plain", "")
                )
                body = text.encode()
                writer.write(
                    f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, port, limit=_MAX_BYTES)
    try:
        yield
    finally:
        server.close()
