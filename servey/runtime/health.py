"""Health of a running app: whether the parts that it needs answer, and its gauges."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from servey.calls.in_flight import InFlight
from servey.core.clock import Clock
from servey.core.queues import ActionJobs, Depth, Queue, QueueState
from servey.events.feeds import Subscriptions
from servey.observability.metrics import (
    ACTION_JOBS,
    ACTION_OLDEST,
    IN_FLIGHT,
    IN_FLIGHT_LIMIT,
    JOBS_DEAD,
    JOBS_OLDEST,
    JOBS_QUEUED,
    PART_UP,
    QUEUE_JOBS,
    QUEUE_OLDEST,
    QUEUE_PAUSED,
    SUBSCRIBERS,
    Labels,
    Metrics,
)

logger: logging.Logger = logging.getLogger("servey")


class Monitored(Protocol):
    """What health checks and gauges read from a running app; `servey.runtime.Runtime` implements it."""

    metrics: Metrics
    in_flight: InFlight
    failed_tasks: dict[str, str]
    clock: Clock

    @property
    def parts_in_use(self) -> dict[str, Any]:
        """The parts that the app needs, by name."""
        ...

    @property
    def queue(self) -> Queue:
        """Stores jobs until a worker takes them."""
        ...

    @property
    def subscriptions(self) -> Subscriptions:
        """The subscriptions of this process."""
        ...


_CHECK_SECONDS = 1


async def check_parts(runtime: Monitored) -> dict[str, str | None]:
    """The problem of each part in use, or None if it answers within a second.

    A part that depends on another process has a method ``async def check()`` that raises if that process does not answer.
    """
    parts = runtime.parts_in_use
    problems = await asyncio.gather(*(_problem_of(part) for part in parts.values()))
    return dict(zip(parts, problems, strict=True))


async def _problem_of(part: Any) -> str | None:
    check = getattr(part, "check", None)
    if check is None:
        return None
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None


class Readiness:
    """Finds parts that do not answer and long-lived tasks that have failed; logs the reason when it changes."""

    def __init__(self, runtime: Monitored) -> None:
        self._runtime = runtime
        self._logged: dict[str, str] = {}

    async def failing_parts(self) -> list[str]:
        """Return the names of the parts in use that do not answer, and of the tasks that have failed."""
        found = {**await check_parts(self._runtime), **self._runtime.failed_tasks}
        problems = {name: problem for name, problem in found.items() if problem is not None}
        for name, problem in problems.items():
            if self._logged.get(name) != problem:
                logger.warning("the %s does not answer: %s", name, problem)
        for name in self._logged.keys() - problems.keys():
            logger.info("the %s answers again", name)
        self._logged = problems
        return sorted(problems)


def register_gauges(runtime: Monitored) -> None:
    """Register the gauges of an app: calls in flight, jobs, subscribers, and which parts answer."""

    def in_use() -> bool:
        return "queue" in runtime.parts_in_use

    async def depth(of: Callable[[Depth], float]) -> dict[Labels, float]:
        return {(): of(await runtime.queue.depth())} if in_use() else {}

    async def queue_jobs() -> dict[Labels, float]:
        found = await runtime.queue.queues() if in_use() else []
        counts: dict[Labels, float] = {}
        for each in found:
            counts[each.name, "queued"], counts[each.name, "running"] = each.queued, each.running
        return counts

    async def queues(of: Callable[[QueueState], float]) -> dict[Labels, float]:
        return {(each.name,): of(each) for each in await runtime.queue.queues()} if in_use() else {}

    async def action_jobs() -> dict[Labels, float]:
        found = await runtime.queue.actions() if in_use() else []
        return {
            (each.action, each.queue, state): count
            for each in found
            for state, count in (("queued", each.queued), ("running", each.running), ("dead", each.dead))
        }

    async def action_oldest() -> dict[Labels, float]:
        found = await runtime.queue.actions() if in_use() else []
        return {(each.action, each.queue): overdue(each) for each in found}

    def overdue(found: Depth | QueueState | ActionJobs) -> float:
        return 0 if found.due_at is None else max(0.0, runtime.clock.now() - found.due_at)

    async def parts_up() -> dict[Labels, float]:
        return {(name,): float(problem is None) for name, problem in (await check_parts(runtime)).items()}

    register = runtime.metrics.register_gauge
    register(PART_UP, parts_up)
    register(IN_FLIGHT, lambda: {(): float(runtime.in_flight.count)})
    register(IN_FLIGHT_LIMIT, lambda: {(): float(runtime.in_flight.limit)})
    register(SUBSCRIBERS, lambda: runtime.subscriptions.counts)
    register(JOBS_QUEUED, lambda: depth(lambda found: found.queued))
    register(JOBS_OLDEST, lambda: depth(overdue))
    register(QUEUE_JOBS, queue_jobs)
    register(QUEUE_OLDEST, lambda: queues(overdue))
    register(ACTION_JOBS, action_jobs)
    register(ACTION_OLDEST, action_oldest)
    register(QUEUE_PAUSED, lambda: queues(lambda queue: queue.paused))
    register(JOBS_DEAD, lambda: depth(lambda found: found.dead))
