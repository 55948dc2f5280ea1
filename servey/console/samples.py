"""What the console samples while an app runs: how many jobs wait in each queue, and how many events were published."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from servey.core.channels import EventChannel, WebhookEventChannel, WebsocketEventChannel
from servey.core.errors import ActionError
from servey.observability.metrics import JOBS_ENQUEUED, PUBLISHED
from servey.runtime.runtime import Runtime

SECONDS = 10
"""The time between two samples."""
KEPT = 181
"""How many samples are kept: those of half an hour."""
_RATE_SECONDS = 60


@dataclass(frozen=True)
class Sample:
    """One moment.

    Shape: ``waiting`` are the queued jobs by queue, None if they are not known; ``published`` are the events that this
    process has published by channel. Units: ``at`` in seconds on the monotonic clock.
    """

    at: float
    waiting: Mapping[str, int] | None
    published: Mapping[str, int]


@dataclass(frozen=True)
class Samples:
    """The last samples of a process, oldest first."""

    kept: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT))

    def waiting(self, queue: str, now: int) -> list[int]:
        """Return how many jobs of a queue waited in each sample, and wait now."""
        return [*(each.waiting.get(queue, 0) for each in self.kept if each.waiting is not None), now]

    def published(self, channel: str, now: int) -> list[int]:
        """Return how many events of a channel were published before each sample and since the last one; 0 before the
        process began.
        """
        counts = [*(each.published.get(channel, 0) for each in self.kept), now]
        counts = counts[:1] * (KEPT + 1 - len(counts)) + counts
        return [later - earlier for earlier, later in pairwise(counts)]

    def in_last_minute(self, channel: str, now: int) -> int:
        """Return how many events of a channel were published in the last minute."""
        moment = time.monotonic()
        first = next((each for each in self.kept if each.at >= moment - _RATE_SECONDS - SECONDS), None)
        if first is None:
            return 0
        return round((now - first.published.get(channel, 0)) * _RATE_SECONDS / max(_RATE_SECONDS, moment - first.at))


def published_of(runtime: Runtime, channel: EventChannel) -> int | None:
    """Return how many events of a channel this process has published; None for a background action, whose jobs have
    other sources too.
    """
    if isinstance(channel, WebsocketEventChannel):
        return int(runtime.metrics.value(PUBLISHED, channel.name))
    if isinstance(channel, WebhookEventChannel):
        return int(runtime.metrics.value(JOBS_ENQUEUED, f"webhook {channel.name}"))
    return None


def sampling(samples: Samples) -> Callable[[Runtime], AbstractAsyncContextManager[None]]:
    """Return the service that takes a sample every ten seconds while an app runs."""

    @asynccontextmanager
    async def service(runtime: Runtime) -> AsyncIterator[None]:
        samples.kept.append(Sample(time.monotonic(), None, _published(runtime)))
        task = asyncio.create_task(_sample(runtime, samples), name="samples of the console")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    return service


async def _sample(runtime: Runtime, samples: Samples) -> None:
    has_jobs = "queue" in runtime.parts_in_use and runtime.settings.queue_url is None  # SQS lists nothing
    while True:
        await asyncio.sleep(SECONDS)
        waiting = None
        if has_jobs:
            try:
                waiting = {each.name: each.queued for each in await runtime.queue.queues()}
            except ActionError:
                pass  # the queue does not answer
        samples.kept.append(Sample(time.monotonic(), waiting, _published(runtime)))


def _published(runtime: Runtime) -> dict[str, int]:
    return {each.name: published_of(runtime, each) or 0 for each in runtime.catalog.channels}


def points(values: Sequence[float], width: int, height: int) -> str:
    """Return the points of a line through the values of samples as SVG has them; the last one is at the right."""
    highest, step = max([1, *values]), width / (KEPT - 1)
    return " ".join(
        f"{width - step * age:.1f},{height - 1 - (height - 3) * value / highest:.1f}"
        for age, value in reversed(list(enumerate(reversed(values[-KEPT:]))))
    )
