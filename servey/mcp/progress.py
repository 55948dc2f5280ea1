"""Progress of a running call, for a client that asks for it.

Source: MCP 2025-11-25 and 2026-07-28, "Progress".
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from pydantic_core import to_json

from servey.mcp.messages import Request

_PAUSE_SECONDS = 0.1
_MESSAGE_LENGTH = 1000
"""How much of an item of a stream its notification has, in characters; the result has all of it."""


class Progress:
    """How far a call is, as its client is told: at most ten times a second, the latest value each time."""

    def __init__(self, token: str | int) -> None:
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._done = -math.inf
        self._latest: dict[str, Any] | None = None
        self._counts_items = True
        self._changed = asyncio.Event()
        self._over = asyncio.Event()

    def report(self, done: float, total: float | None = None) -> None:
        """Tell how far the call is; from any thread."""
        self._counts_items = False
        self._report(done, total, None)

    def report_item(self, count: int, item: bytes) -> None:
        """Tell about an item of a stream, unless the action reports its own progress."""
        if self._counts_items:
            self._report(count, None, item.decode()[:_MESSAGE_LENGTH])

    def _report(self, done: float, total: float | None, message: str | None) -> None:
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:  # a worker thread
            is_here = False
        if is_here:
            self._note(done, total, message)
        else:
            self._loop.call_soon_threadsafe(self._note, done, total, message)

    def _note(self, done: float, total: float | None, message: str | None) -> None:
        # The protocol wants values that rise; JSON has no infinity.
        if not self._done < done < math.inf:
            return
        self._done = done
        self._latest = {"progressToken": self._token, "progress": done}
        self._latest |= {"total": total} if total is not None and math.isfinite(total) else {}
        self._latest |= {"message": message} if message is not None else {}
        self._changed.set()

    def end(self) -> None:
        """Note that the call has ended: `write_to` writes the latest value, and returns."""
        self._over.set()
        self._changed.set()

    async def write_to(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write notifications until the call has ended."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._latest is not None:
                params, self._latest = self._latest, None
                await write(to_json({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            if self._over.is_set() and self._latest is None:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS):
                    await self._over.wait()


def progress_of(request: Request) -> Progress | None:
    """Return what tells the client about a call, or None if it does not ask for it."""
    token = request.meta.get("progressToken")
    return Progress(token) if isinstance(token, str | int) and not isinstance(token, bool) else None


async def reported(
    call: Awaitable[bytes], progress: Progress | None, write: Callable[[bytes], Awaitable[object]]
) -> bytes:
    """Await a call, and write its progress meanwhile; all of it before this returns."""
    if progress is None:
        return await call
    writing = asyncio.create_task(progress.write_to(write))
    try:
        result = await call
        progress.end()
        await writing
    except BaseException:
        writing.cancel()
        raise
    return result
