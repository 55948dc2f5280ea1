"""The in-memory bus, and what both buses share: Broadcaster with backends of our own.

Each process has one Broadcaster subscription for each channel. Broadcaster's own backends lose their subscribers when
Redis restarts.
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

from servey.core.messages import Gap, Message, Past, Position

WAITING_EVENTS = 10_000
"""The most events that may be queued between a backend and its listener; then publishing waits."""


class Listening:
    """A Broadcaster that connects on first use."""

    def __init__(self, backend: BroadcastBackend) -> None:
        self._broadcast = Broadcast(backend=backend)
        self._connected: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[Message | Gap]]:
        """Everything that the backend receives for a channel from now on."""
        if self._connected is None:
            self._connected = asyncio.create_task(self._broadcast.connect())
        await asyncio.shield(self._connected)
        async with self._broadcast.subscribe(channel) as subscriber:
            yield _arrivals(subscriber)

    async def publish(self, channel: str, message: Any) -> None:
        """Publish a message with the backend."""
        await self._broadcast.publish(channel, message)

    async def aclose(self) -> None:
        """Disconnect."""
        if self._connected is not None:
            await self._connected
            await self._broadcast.disconnect()


async def _arrivals(subscriber: Any) -> AsyncIterator[Message | Gap]:
    while True:
        yield (await subscriber.get()).message


class MemoryBackend(BroadcastBackend):
    """Delivers events within this process."""

    def __init__(self) -> None:
        self.channels: set[str] = set()
        self._queue: asyncio.Queue[Broadcasted] = asyncio.Queue(WAITING_EVENTS)

    async def connect(self) -> None:
        """Does nothing: there is no connection."""

    async def disconnect(self) -> None:
        """Does nothing: there is no connection."""

    async def subscribe(self, group: str) -> None:
        """Deliver a channel's events from now on."""
        self.channels.add(group)

    async def unsubscribe(self, group: str) -> None:
        """Stop delivering a channel's events."""
        self.channels.discard(group)

    async def publish(self, channel: str, message: Any) -> None:
        """Deliver an event if the channel has a subscriber; wait while the queue is full."""
        if channel in self.channels:
            await self._queue.put(Broadcasted(channel, message))

    async def next_published(self) -> Broadcasted:
        """The next event."""
        return await self._queue.get()


@dataclass
class History:
    """The last events of one channel."""

    messages: deque[Message]
    offset: int = 0
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))

    def since(self, after: Position | None) -> Past:
        """The events after a position, if all of them are stored."""
        newest = Position(self.epoch, self.offset)
        if after is None or after.epoch != self.epoch or not 0 <= self.offset - after.offset <= len(self.messages):
            return Past(newest, None)
        missed = self.offset - after.offset
        return Past(newest, tuple(self.messages)[len(self.messages) - missed :])


class MemoryBus:
    """A bus within one process; its history is lost when the process ends."""

    def __init__(self) -> None:
        self._backend = MemoryBackend()
        self._listening = Listening(self._backend)
        self._histories: dict[str, History] = {}

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Everything published on a channel from now on."""
        return self._listening.subscribe(channel)

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Publish a message."""
        if history:
            past = self._history_of(message.channel)
            if past.messages.maxlen != history:
                past.messages = deque(past.messages, history)
            past.offset += 1
            message = replace(message, position=Position(past.epoch, past.offset))
            past.messages.append(message)
        await self._listening.publish(message.channel, message)

    async def recall(self, channel: str, after: Position | None) -> Past:
        """The messages after a position."""
        return self._history_of(channel).since(after)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._listening.aclose()

    def _history_of(self, channel: str) -> History:
        # Bounded, because only channels of the catalog are used.
        if channel not in self._histories:
            self._histories[channel] = History(deque(maxlen=0))
        return self._histories[channel]
