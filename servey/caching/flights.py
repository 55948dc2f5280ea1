"""Single flight: one computation for all callers that wait for the same result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from servey.core.errors import ActionTimeout


@dataclass(frozen=True)
class Entry:
    """A cached result.

    Shape: ``read`` are the values of the backend's ``keys`` that it was read from; without keys it was just computed.
    Units: ``made_at`` in seconds since 1970.
    """

    made_at: float
    content: bytes
    keys: tuple[str, ...] = ()
    read: Sequence[bytes | None] = ()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a computation: ``entry`` is None if it cannot be cached, ``elsewhere`` if it was read from there."""

    value: Any
    entry: Entry | None
    elsewhere: bool = False


class ComputationTimeout(Exception):
    """A computation has reached the timeout of its action; a caller that still waits can start another one."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Flight:
    """One computation and its waiting callers."""

    def __init__(self, task: asyncio.Task[Outcome], outlives: bool) -> None:
        self.task = task
        self._outlives = outlives
        self._waiting = 0

    async def join(self, *, leads: bool) -> Outcome | None:
        """Wait for the outcome; None if it was cancelled with the caller that started it, or if it took too long.

        Errors: ActionTimeout for the caller that started it.
        """
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        except ComputationTimeout as error:
            if leads:
                raise ActionTimeout(error.seconds) from None
            return None
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if leads or not self.task.cancelled() or me is None or me.cancelling():
                raise
            return None
        finally:
            self._waiting -= 1
            if not self.task.done() and (self._waiting == 0 or (leads and not self._outlives)):
                self.task.cancel()
                await asyncio.wait({self.task})
