"""Renew leases from a thread, so that a blocked event loop does not lose its jobs while the process is alive."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import redis

from servey.compat.redis_location import sync_client

logger: logging.Logger = logging.getLogger("servey")

_BEAT_SECONDS = 0.5
_STALLED_SECONDS = 5.0


@dataclass(eq=False)
class Lease:
    """A lease that is held. The script renews it and returns 1, or 0 if it is lost.

    Shape: ``renewed`` is called on the event loop with any answer except 1.

    Units: ``every`` in seconds; ``until`` on the monotonic clock: until when it is renewed even if the loop is blocked.
    """

    script: str
    keys: Sequence[str]
    args: Sequence[Any]
    every: float
    until: float
    renewed: Callable[[int], None]
    due: float = 0


class LeaseKeeper:
    """Renews leases while they are held.

    A loop that is blocked keeps its leases for as long as something on it may still be running by its timeout. A loop
    that is blocked for longer counts as hanging: its leases expire, and other workers take the jobs.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._leases: set[Lease] = set()
        self._changed = threading.Event()
        self._wakes_at = math.inf
        self._stopped = False
        self._beat = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the thread until the block ends."""
        self._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._run, name="servey leases", daemon=True)
        heartbeats = asyncio.create_task(self._send_heartbeats())
        thread.start()
        try:
            yield
        finally:
            heartbeats.cancel()
            self._stopped = True
            self._changed.set()
            with suppress(asyncio.CancelledError):
                await heartbeats

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        """Renew a lease until the block ends."""
        lease.due = time.monotonic() + lease.every
        self._leases.add(lease)
        if lease.due < self._wakes_at:
            self._changed.set()
        try:
            yield
        finally:
            self._leases.discard(lease)

    async def _send_heartbeats(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)

    def _run(self) -> None:
        client: redis.Redis = sync_client(self._url, self._prefix, socket_timeout=2, socket_connect_timeout=2)
        warned = False
        while not self._stopped:
            # Until the time of the next renewal is known again, each new lease wakes the thread.
            self._wakes_at = math.inf
            leases = list(self._leases)
            now = time.monotonic()
            self._wakes_at = min((each.due for each in leases), default=now + 1)
            self._changed.wait(max(0.0, self._wakes_at - now))
            self._changed.clear()
            try:
                self._renew_due(client)
                warned = False
            except Exception as error:
                if not warned:
                    logger.warning("leases cannot be renewed: %s", error or type(error).__name__)
                warned = True
        client.close()

    def _renew_due(self, client: redis.Redis) -> None:
        leases = list(self._leases)
        now = time.monotonic()
        blocked = now - self._beat > _STALLED_SECONDS
        if blocked and leases and now > max(each.until for each in leases):
            logger.error(
                "the event loop has been blocked for %.0f s; its jobs are left to other workers", now - self._beat
            )
            self._leases.difference_update(leases)
            return
        for lease in leases:
            if lease.due > now:
                continue
            lease.due = now + min(lease.every, 0.2)  # if this fails
            answer = int(cast(Any, client.eval(lease.script, len(lease.keys), *lease.keys, *lease.args)))
            if not answer:
                self._leases.discard(lease)
            if answer != 1:
                self._notify(lease, answer)
            lease.due = time.monotonic() + lease.every

    def _notify(self, lease: Lease, answer: int) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lease.renewed, answer)
