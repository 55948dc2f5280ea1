"""Calls that are made later: a job, how often it is tried, and the queue that it waits in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from servey.access import Authorization
from servey.errors import ConfigError


@dataclass(frozen=True)
class Retry:
    """How often a job that fails is tried again.

    Units: ``backoff`` and ``max_delay`` in seconds; the wait grows by ``factor`` from one try to the next.
    """

    max_tries: int = 5
    backoff: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0

    def __post_init__(self) -> None:
        if self.max_tries < 1 or self.backoff < 0 or self.factor < 1 or self.max_delay < 0:
            raise ConfigError(f"{self!r}: give at least 1 try, a factor of at least 1, and no negative seconds")


@dataclass(frozen=True)
class Job:
    """One call of an action that is to be made later, on behalf of whoever enqueued it.

    Shape: ``params`` is JSON by wire name; ``authorization`` is the enqueuer's, None for the anonymous.
    """

    id: str
    action: str
    params: Mapping[str, Any]
    authorization: Authorization | None = None
    trusted: bool = False
    request_id: str = ""
    traceparent: str | None = None


class Queue(Protocol):
    """Where jobs wait for a worker."""

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Takes a job; gives its id, or that of the job that was enqueued with this ``key`` before."""
        ...
