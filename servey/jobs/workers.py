"""The processes that run jobs, also those that have none now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class WorkerState:
    """A process that runs jobs.

    Shape: ``name`` is that of `JobState.worker`; ``at_once`` is how many jobs it runs at once; ``queues`` are those that it
    reads, None for all. Units: seconds since 1970; ``seen_at`` is when it was last heard of.
    """

    name: str
    at_once: int
    queues: Sequence[str] | None
    began_at: float
    seen_at: float


@runtime_checkable
class KnowsWorkers(Protocol):
    """A `Queue` that also knows the processes that run its jobs."""

    async def workers(self) -> list[WorkerState]:
        """Return the workers that were heard of in the last half minute, ordered by name."""
        ...
