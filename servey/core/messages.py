"""Event messages, their position in a channel's history, and the `Bus` that carries them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a channel's history: event number ``offset`` of an ``epoch``; lost history starts a new epoch."""

    epoch: str
    offset: int

    @property
    def cursor(self) -> str:
        """The cursor that a client sends to resume after this position."""
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, cursor: str) -> Position | None:
        """Parse a client's cursor; return None if it is malformed."""
        epoch, _, offset = cursor.rpartition(":")
        if not (0 < len(epoch) <= 64 and epoch.isascii() and epoch.isalnum()):
            return None
        if not (0 < len(offset) <= 18 and offset.isascii() and offset.isdigit()):
            return None
        return cls(epoch, int(offset))


@dataclass(frozen=True, slots=True)
class Message:
    """One event, serialized once for every subscriber.

    Shape: ``payload`` is the event's JSON; ``subscriber_id`` and ``subject`` restrict who receives it; ``position`` is set
    by a bus that keeps history.
    """

    channel: str
    payload: bytes
    subscriber_id: str | None = None
    subject: str | None = None
    position: Position | None = None


@dataclass(frozen=True)
class Gap:
    """Marks that the bus may have lost events here."""


@dataclass(frozen=True)
class Past:
    """A channel's history since a position.

    Shape: ``position`` is that of the newest event; ``messages`` are all messages since the requested position, or None
    if some of them are no longer available.
    """

    position: Position
    messages: tuple[Message, ...] | None


class Bus(Protocol):
    """Carries events from publishers to the processes that have subscribers.

    Errors: Overloaded while it cannot be reached.
    """

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Publish a message; keep the last ``history`` messages of its channel."""
        ...

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Receive what is published on a channel from now on; survives outages and yields a `Gap` after each."""
        ...

    async def recall(self, channel: str, after: Position | None) -> Past:
        """Return what was published after a position; with None, only the current position."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class LocalBus(Bus, Protocol):
    """A bus within one process: publishing calls its listeners."""

    @property
    def is_local(self) -> bool:
        """Whether publishing never waits."""
        ...

    def listen(self, channel: str, receive: Callable[[Message], None]) -> AbstractContextManager[None]:
        """Call ``receive`` with everything published on a channel from now on, in the context of the caller of this."""
        ...


def local_bus(bus: Bus) -> LocalBus | None:
    """The bus if publishing on it never waits, else None."""
    # Not an attribute that a wrapper passes on, since the wrapper may publish and subscribe in its own way.
    is_able = hasattr(type(bus), "is_local")
    return cast(LocalBus, bus) if is_able and cast(LocalBus, bus).is_local else None


class Submitted(Generic[T]):
    """Work that runs on the app's event loop. Await it for its result; it runs even if nobody awaits it. In a worker
    thread it is already finished and ``value`` is its result.
    """

    __slots__ = ("_done", "value")

    value: T

    def __init__(self, done: asyncio.Future[T] | None = None) -> None:
        self._done = done

    def __await__(self) -> Generator[Any, None, T]:
        if self._done is not None:
            self.value = yield from asyncio.shield(self._done).__await__()
        return self.value


class Finished(Submitted[T]):
    """Work that is finished. Awaiting it lets other tasks run once, so that a loop that awaits only this blocks nobody."""

    __slots__ = ()

    def __init__(self, value: T) -> None:
        self._done = None
        self.value = value

    def __await__(self) -> Generator[Any, None, T]:
        yield
        return self.value


Published: TypeAlias = Submitted[None]
