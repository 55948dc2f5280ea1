"""The jobs that wait in memory: for their due time, for a worker, or for their limit."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from servey.core.queues import JobLimit, JobState
from servey.jobs.weights import in_turn


@dataclass(order=True)
class _Entry:
    """A job that waits. Entries of one queue sort by priority, then by due time, then by age."""

    priority: int
    due_at: float
    number: int
    state: JobState = field(compare=False)


@dataclass
class _Usage:
    """The jobs of one limit: which run, when the last ones started, and which wait for it."""

    running: set[str] = field(default_factory=set)
    starts: deque[float] = field(default_factory=deque)
    held: list[_Entry] = field(default_factory=list)

    def free_at(self, limit: JobLimit, now: float) -> float | None:
        """Return None if a job may start, or else the time to look again; infinity is when another job ends."""
        if limit.concurrent is not None and len(self.running) >= limit.concurrent:
            return math.inf
        if limit.starts is not None:
            while self.starts and self.starts[0] <= now - limit.seconds:
                self.starts.popleft()
            if len(self.starts) >= limit.starts:
                return self.starts[-limit.starts] + limit.seconds
        return None


class WaitingJobs:
    """Jobs in the order in which they may run."""

    def __init__(self) -> None:
        self.paused: set[str] = set()
        self._entries: dict[str, _Entry] = {}
        self._ready: dict[str, list[_Entry]] = {}
        self._later: list[tuple[float, int, _Entry]] = []
        self._usage: dict[str, _Usage] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def queues(self) -> Iterable[str]:
        """The names of all queues that have held a job."""
        return self._ready.keys()

    def add(self, state: JobState) -> None:
        """Add a queued job. A job that is already waiting is replaced."""
        job = state.job
        self._number += 1
        entry = self._entries[job.id] = _Entry(-job.priority, state.due_at, self._number, state)
        self._ready.setdefault(job.queue, [])
        heapq.heappush(self._later, (state.due_at, entry.number, entry))

    def discard(self, job_id: str) -> None:
        """Remove a job that waits."""
        self._entries.pop(job_id, None)

    def left(self, job_id: str, limit: JobLimit | None) -> None:
        """Record that a job is no longer running."""
        if limit is not None and (usage := self._usage.get(limit.key)) is not None:
            usage.running.discard(job_id)

    def take(self, now: float) -> JobState | None:
        """Return the next job that may run, and count it as running; None if there is none."""
        self._promote(now)
        open_queues = {name: 1 for name, ready in self._ready.items() if ready and name not in self.paused}
        for name, _ in in_turn(open_queues, 1):
            ready = self._ready[name]
            while ready:
                entry = heapq.heappop(ready)
                if not self._waits(entry):
                    continue
                limit = entry.state.job.limit
                if limit is not None:
                    usage = self._usage.setdefault(limit.key, _Usage())
                    if usage.free_at(limit, now) is not None:
                        heapq.heappush(usage.held, entry)
                        continue
                    if limit.concurrent is not None:
                        usage.running.add(entry.state.job.id)
                    if limit.starts is not None:
                        usage.starts.append(now)
                del self._entries[entry.state.job.id]
                return entry.state
        return None

    def next_at(self, now: float) -> float | None:
        """Return when the next waiting job may start; None if that depends on another event, such as the end of a job."""
        times = [self._later[0][0]] if self._later else []
        for usage in self._usage.values():
            if usage.held:
                limit = usage.held[0].state.job.limit
                assert limit is not None
                times.append(usage.free_at(limit, now) or now)
        first = min(times, default=math.inf)
        return None if first == math.inf else first

    def is_due(self, now: float) -> bool:
        """Whether a job of a queue that is not paused is due, including jobs that wait for a limit."""
        return any(entry.due_at <= now and entry.state.job.queue not in self.paused for entry in self._entries.values())

    def _waits(self, entry: _Entry) -> bool:
        return self._entries.get(entry.state.job.id) is entry

    def _promote(self, now: float) -> None:
        """Move jobs that have become due, or whose limit allows another start, to those that are ready."""
        while self._later and (self._later[0][0] <= now or not self._waits(self._later[0][2])):
            entry = heapq.heappop(self._later)[2]
            if self._waits(entry):
                heapq.heappush(self._ready[entry.state.job.queue], entry)
        for key, usage in list(self._usage.items()):
            while usage.held and not self._waits(usage.held[0]):
                heapq.heappop(usage.held)
            if usage.held:
                limit = usage.held[0].state.job.limit
                assert limit is not None
                if usage.free_at(limit, now) is None:
                    entry = heapq.heappop(usage.held)
                    heapq.heappush(self._ready[entry.state.job.queue], entry)
            elif not usage.running and not usage.starts:
                del self._usage[key]
