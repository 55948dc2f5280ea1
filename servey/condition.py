"""How a running app is: whether the parts that it needs answer, and what its gauges say."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from servey.metrics import IN_FLIGHT, JOBS_DEAD, JOBS_OLDEST, JOBS_QUEUED, PART_UP, SUBSCRIBERS, Labels
from servey.queues import Depth

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

_CHECK_SECONDS = 1


async def check_parts(runtime: Runtime) -> dict[str, str | None]:
    """What is wrong with each part in use; None where it answers within a second.

    A part that depends on something outside of the process has a method ``async def check()`` that raises when that does
    not answer.
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
    """Which parts do not answer; why they do not goes to the log when it changes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told: dict[str, str] = {}

    async def failing_parts(self) -> list[str]:
        """The names of the parts in use that do not answer."""
        found = await check_parts(self._runtime)
        problems = {name: problem for name, problem in found.items() if problem is not None}
        for name, problem in problems.items():
            if self._told.get(name) != problem:
                logger.warning("the %s does not answer: %s", name, problem)
        for name in self._told.keys() - problems.keys():
            logger.info("the %s answers again", name)
        self._told = problems
        return sorted(problems)


def offer_gauges(runtime: Runtime) -> None:
    """Lets the app's metrics say what is so now: what runs, what waits, who listens, which parts answer."""

    async def depth(of: Callable[[Depth], float]) -> dict[Labels, float]:
        return {(): of(await runtime.queue.depth())} if "queue" in runtime.parts_in_use else {}

    async def parts_up() -> dict[Labels, float]:
        return {(name,): float(problem is None) for name, problem in (await check_parts(runtime)).items()}

    ask = runtime.metrics.ask
    ask(PART_UP, parts_up)
    ask(IN_FLIGHT, lambda: {(): float(runtime.in_flight.count)})
    ask(SUBSCRIBERS, lambda: runtime.subscriptions.counts)
    ask(JOBS_QUEUED, lambda: depth(lambda found: found.queued))
    ask(JOBS_DEAD, lambda: depth(lambda found: found.dead))
    ask(JOBS_OLDEST, lambda: depth(lambda found: max(0.0, time.time() - (found.due_at or time.time()))))
