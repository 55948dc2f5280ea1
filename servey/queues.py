"""Calls that are made later: a job, how often it is tried, what becomes of it, and the queue that it waits in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import random
from typing import Any, Literal, Protocol, TypeAlias

from servey.access import Authorization
from servey.errors import ConfigError

MOST_DEAD = 10_000
"""So many dead jobs a queue keeps; the one that died first makes room."""
State: TypeAlias = Literal["queued", "running", "done", "failed", "dead"]
"""``failed`` had one try; ``dead`` had several, and is kept until somebody retries or drops it."""


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

    def wait_after(self, tries: int) -> float:
        """How many seconds to wait after the ``tries``-th try, a tenth more or less by chance."""
        wait = min(self.backoff * self.factor ** min(tries - 1, 64), self.max_delay)
        return wait * (0.9 + 0.2 * random())


ONE_TRY = Retry(max_tries=1)


@dataclass(frozen=True)
class Job:
    """One call of an action, or one delivery of an event, that is to be made later on behalf of whoever enqueued it.

    Shape: ``action`` is an action's name, or ``channel`` a webhook channel's; ``params`` is JSON by wire name, or the
    event of the webhook; ``authorization`` is the enqueuer's, None for the anonymous. ``trusted`` jobs are the app's own
    and are not asked whether they may.
    Units: ``enqueued_at`` in seconds since 1970.
    """

    id: str
    action: str
    params: Any
    channel: str | None = None
    authorization: Authorization | None = None
    trusted: bool = False
    request_id: str = ""
    traceparent: str | None = None
    retry: Retry = field(default_factory=Retry)
    enqueued_at: float = 0

    @property
    def title(self) -> str:
        """What people call it."""
        return self.action if self.channel is None else f"webhook {self.channel}"


@dataclass(frozen=True)
class JobState:
    """What has become of a job.

    Units: ``due_at`` in seconds since 1970.
    """

    job: Job
    state: State = "queued"
    tries: int = 0
    due_at: float = 0
    progress: Mapping[str, Any] | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """What its enqueuer is shown."""
        return {
            "id": self.job.id,
            "action": self.job.title,
            "state": self.state,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
        }


@dataclass(frozen=True)
class Depth:
    """How much lies in a queue. Units: ``due_at``, of the job that is due first, in seconds since 1970."""

    queued: int
    dead: int
    due_at: float | None


class Queue(Protocol):
    """Where jobs wait for a worker, and where it is told what became of them."""

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Takes a job; gives its id, or that of the job of the same action that came with this ``key`` before."""
        ...

    async def state(self, job_id: str) -> JobState | None:
        """What has become of a job; None for one that is not known, or not any more."""
        ...

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Notes how far a running job has come."""
        ...

    async def jobs(self) -> list[JobState]:
        """Every job that waits, runs or is dead; the one that is due first comes first."""
        ...

    async def depth(self) -> Depth:
        """How much lies in it."""
        ...

    async def retry(self, job_id: str) -> bool:
        """Lets a dead job begin anew; False where there is no such dead job."""
        ...

    async def drop(self, job_id: str) -> bool:
        """Forgets a dead job, or one that waits; False where there is no such job."""
        ...

    async def aclose(self) -> None:
        """Lets go of what it holds open."""
        ...
