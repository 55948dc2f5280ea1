"""Redis clients whose calls can be cancelled.

redis-py writes with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that arrives at the moment the
write completes: a cancelled task then runs for ever.
Source: redis/asyncio/connection.py 5.3, AbstractConnection.send_packed_command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from typing import Any


def cancellable(client: Any) -> Any:
    """Make the connections of a client close when the task that uses them is cancelled."""
    pool = client.connection_pool
    pool.connection_class = _cancellable(pool.connection_class)
    return client


@cache
def _cancellable(base: Any) -> Any:
    class Cancellable(base):  # type: ignore[misc]
        async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
            task = asyncio.current_task()
            before = 0 if task is None else task.cancelling()
            await super().send_packed_command(command, check_health)
            if task is not None and task.cancelling() > before:
                # Nobody will read the answer to the written command.
                await self.disconnect(nowait=True)
                raise asyncio.CancelledError

    Cancellable.__qualname__ = Cancellable.__name__ = base.__name__
    return Cancellable
