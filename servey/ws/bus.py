"""What carries events to the processes that have subscribers: Broadcaster, in memory or over Redis.

Of Broadcaster, one subscription for each channel and process is used; the backends are ours, since its own ones lose
their subscribers when Redis restarts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from broadcaster import Broadcast, BroadcastBackend
from broadcaster import Event as Broadcasted

from servey.channels import Message, Position
from servey.errors import ConfigError
from servey.events import Bus, Gap, Past
from servey.settings import Settings

WAITING_EVENTS = 10_000
"""How many events may wait between a backend and its listener; then whoever publishes waits."""


def bus_of(settings: Settings) -> Bus:
    """The bus that the settings ask for: over Redis where there is one. Errors: ConfigError."""
    if settings.redis_url is None:
        return MemoryBus()
    try:
        from servey.ws.redis_bus import RedisBus
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise ConfigError('SERVEY_REDIS_URL needs Servey\'s extra "jobs": pip install -e ".[jobs]"') from None
    return RedisBus(settings.redis_url)


class Listening:
    """A Broadcaster that is connected once it is needed."""

    def __init__(self, backend: BroadcastBackend) -> None:
        self._broadcast = Broadcast(backend=backend)
        self._connected: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[Message | Gap]]:
        """What its backend gives for a channel from now on."""
        if self._connected is None:
            self._connected = asyncio.create_task(self._broadcast.connect())
        await asyncio.shield(self._connected)
        async with self._broadcast.subscribe(channel) as subscriber:
            yield _arrivals(subscriber)

    async def publish(self, channel: str, message: Any) -> None:
        """Passes a message on to the backend."""
        await self._broadcast.publish(channel, message)

    async def aclose(self) -> None:
        """Ends it."""
        if self._connected is not None:
            await self._connected
            await self._broadcast.disconnect()


async def _arrivals(subscriber: Any) -> AsyncIterator[Message | Gap]:
    while True:
        yield (await subscriber.get()).message


class MemoryBackend(BroadcastBackend):
    """Passes events on within this process."""

    def __init__(self) -> None:
        self.channels: set[str] = set()
        self._queue: asyncio.Queue[Broadcasted] = asyncio.Queue(WAITING_EVENTS)

    async def connect(self) -> None:
        """Nothing has to be opened."""

    async def disconnect(self) -> None:
        """Nothing has to be closed."""

    async def subscribe(self, group: str) -> None:
        """Passes a channel's events on from now on."""
        self.channels.add(group)

    async def unsubscribe(self, group: str) -> None:
        """Passes none of a channel's events on any more."""
        self.channels.discard(group)

    async def publish(self, channel: str, message: Any) -> None:
        """Passes an event on where somebody listens; waits while too many of them are on their way."""
        if channel in self.channels:
            await self._queue.put(Broadcasted(channel, message))

    async def next_published(self) -> Broadcasted:
        """The next event."""
        return await self._queue.get()


@dataclass
class Kept:
    """The last events of one channel."""

    messages: deque[Message]
    offset: int = 0
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))

    def since(self, after: Position | None) -> Past:
        """What came after a position, if all of it is still here."""
        here = Position(self.epoch, self.offset)
        if after is None or after.epoch != self.epoch or not 0 <= self.offset - after.offset <= len(self.messages):
            return Past(here, None)
        missed = self.offset - after.offset
        return Past(here, tuple(self.messages)[len(self.messages) - missed :])


class MemoryBus:
    """Events within one process; what it keeps of them ends with the process."""

    def __init__(self) -> None:
        self._backend = MemoryBackend()
        self._listening = Listening(self._backend)
        self._kept: dict[str, Kept] = {}

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """What is published on a channel from now on."""
        return self._listening.subscribe(channel)

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Takes a message over."""
        if history:
            kept = self._kept_of(message.channel)
            if kept.messages.maxlen != history:
                kept.messages = deque(kept.messages, history)
            kept.offset += 1
            message = replace(message, position=Position(kept.epoch, kept.offset))
            kept.messages.append(message)
        await self._listening.publish(message.channel, message)

    async def recall(self, channel: str, after: Position | None) -> Past:
        """What was published after a position."""
        return self._kept_of(channel).since(after)

    async def aclose(self) -> None:
        """Ends it."""
        await self._listening.aclose()

    def _kept_of(self, channel: str) -> Kept:
        # Only channels of the catalog get here, so that this stays small.
        if channel not in self._kept:
            self._kept[channel] = Kept(deque(maxlen=0))
        return self._kept[channel]
