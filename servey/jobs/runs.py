"""The last runs of schedules, and which schedules are paused: what a queue may also know, for all processes."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

MOST_RUNS = 10
"""How many runs of a schedule are kept; the oldest is dropped first."""
RUNS_KEPT_SECONDS = 30 * 86_400
"""How long they are kept after the last of them."""

Outcome: TypeAlias = Literal["done", "failed", "skipped"]
"""``skipped``: the run before was still going on."""


@dataclass(frozen=True)
class Run:
    """One slot of a schedule.

    Shape: ``worker`` is the process that ran it, as ``host:pid``; ``error`` is a text, empty if it did not fail.
    Units: seconds since 1970.
    """

    slot_at: float
    started_at: float
    ended_at: float
    outcome: Outcome
    error: str = ""
    worker: str = ""


@runtime_checkable
class PausesSchedules(Protocol):
    """A `Queue` that also knows which schedules are paused, for all processes that run them."""

    async def pause_schedule(self, schedule: str) -> None:
        """Skip the slots of a schedule until it is resumed. A run that has begun goes on."""
        ...

    async def resume_schedule(self, schedule: str) -> None:
        """Run the slots of a paused schedule again."""
        ...

    async def paused_schedules(self) -> frozenset[str]:
        """Return the names of the paused schedules."""
        ...


@runtime_checkable
class RecordsRuns(Protocol):
    """A `Queue` that also records the runs of schedules, of all processes that run them."""

    async def record_run(self, schedule: str, run: Run) -> None:
        """Record a run that has ended."""
        ...

    async def last_runs(self, schedules: Sequence[str]) -> Mapping[str, Sequence[Run]]:
        """Return the last runs of some schedules by name, the latest first."""
        ...


class LocalSchedules:
    """What a queue inside a process knows of schedules."""

    def __init__(self) -> None:
        self.skipped_schedules: set[str] = set()
        self._runs: dict[str, deque[Run]] = {}

    async def pause_schedule(self, schedule: str) -> None:
        """Skip the slots of a schedule until it is resumed or the process ends."""
        self.skipped_schedules.add(schedule)

    async def resume_schedule(self, schedule: str) -> None:
        """Run the slots of a paused schedule again."""
        self.skipped_schedules.discard(schedule)

    async def paused_schedules(self) -> frozenset[str]:
        """Return the names of the paused schedules."""
        return frozenset(self.skipped_schedules)

    async def record_run(self, schedule: str, run: Run) -> None:
        """Record a run that has ended."""
        self._runs.setdefault(schedule, deque(maxlen=MOST_RUNS)).appendleft(run)

    async def last_runs(self, schedules: Iterable[str]) -> Mapping[str, Sequence[Run]]:
        """Return the last runs of some schedules by name, the latest first."""
        return {each: list(self._runs.get(each, ())) for each in schedules}


def this_process() -> str:
    """Return the name of this process, as ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"
