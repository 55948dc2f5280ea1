"""The in-memory bus: publishing calls the listeners of a channel, one after the other, before it returns."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field

from servey.core.messages import Gap, Message, Past, Position


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
        self._listeners: dict[str, list[Callable[[Message], None]]] = {}
        self._histories: dict[str, History] = {}
        self._delivering: set[str] = set()

    @property
    def is_local(self) -> bool:
        """Whether publishing never waits; not in a subclass or an object with methods of its own."""
        return type(self) is MemoryBus and self.__dict__.keys() == _FIELDS

    @contextmanager
    def listen(self, channel: str, receive: Callable[[Message], None]) -> Iterator[None]:
        """Call ``receive`` with everything published on a channel from now on, in the context of the caller of this."""
        context = copy_context()

        def run(message: Message) -> None:
            context.run(receive, message)

        self._listeners.setdefault(channel, []).append(run)
        try:
            yield
        finally:
            listeners = self._listeners[channel]
            listeners.remove(run)
            if not listeners:
                del self._listeners[channel]

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[Message | Gap]]:
        """Everything published on a channel from now on."""
        arrivals: asyncio.Queue[Message] = asyncio.Queue()
        with self.listen(channel, arrivals.put_nowait):
            yield _arrivals(arrivals)

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Publish a message."""
        channel = message.channel
        # An event filter that publishes: its event comes after the one that it filters.
        while channel in self._delivering:  # noqa: ASYNC110
            await asyncio.sleep(0)
        if history:
            past = self._history_of(channel)
            if past.messages.maxlen != history:
                past.messages = deque(past.messages, history)
            past.offset += 1
            position = Position(past.epoch, past.offset)
            message = Message(channel, message.payload, message.subscriber_id, message.subject, position)
            past.messages.append(message)
        if channel in self._listeners:
            self._delivering.add(channel)
            try:
                for receive in tuple(self._listeners[channel]):
                    receive(message)
            finally:
                self._delivering.discard(channel)

    async def recall(self, channel: str, after: Position | None) -> Past:
        """The messages after a position."""
        return self._history_of(channel).since(after)

    async def aclose(self) -> None:
        """Does nothing: there is no connection."""

    def _history_of(self, channel: str) -> History:
        # Bounded, because only channels of the catalog are used.
        if channel not in self._histories:
            self._histories[channel] = History(deque(maxlen=0))
        return self._histories[channel]


_FIELDS = MemoryBus().__dict__.keys()


async def _arrivals(arrived: asyncio.Queue[Message]) -> AsyncIterator[Message | Gap]:
    while True:
        yield await arrived.get()
