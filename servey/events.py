"""Events on their way to subscribers, and the bus that carries them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from servey.channels import Message, Position, WebsocketEventChannel


@dataclass(frozen=True)
class Gap:
    """In the place of events that a bus may have lost."""


@dataclass(frozen=True)
class Past:
    """What a bus keeps of a channel.

    Shape: ``position`` is that of the newest event; ``messages`` are all since the position that was asked for, or None
    where one of them is not kept any more.
    """

    position: Position
    messages: tuple[Message, ...] | None


class Bus(Protocol):
    """Carries events from whoever publishes to the processes that have subscribers.

    Errors: Overloaded while it can not be reached.
    """

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Takes a message over; keeps the last ``history`` ones of its channel."""
        ...

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """What is published on a channel from now on; it outlives outages, and yields a `Gap` after each."""
        ...

    async def recall(self, channel: str, after: Position | None) -> Past:
        """What was published after a position; with None, only where the channel is now."""
        ...

    async def aclose(self) -> None:
        """Lets go of what it holds open."""
        ...


class Event:
    """One event, shared by all subscribers of this process.

    Shape: ``cursor`` is where a client resumes after it, None for channels without history; ``frames`` keeps what
    transports make of the event, by transport, so that it is made once.
    """

    __slots__ = ("_value", "channel", "cursor", "frames", "message")

    def __init__(self, channel: WebsocketEventChannel[Any], message: Message) -> None:
        self.channel = channel
        self.message = message
        self.cursor = None if message.position is None else message.position.cursor
        self.frames: dict[str, Any] = {}
        self._value: Any = _UNREAD

    @property
    def payload(self) -> bytes:
        """The event's JSON."""
        return self.message.payload

    @property
    def value(self) -> Any:
        """The event as its type; the same object for everyone. Errors: ValidationError where another version sent it."""
        if self._value is _UNREAD:
            self._value = self.channel.event.validate_json(self.message.payload)
        return self._value


_UNREAD = object()


@dataclass(frozen=True)
class Lost:
    """Events were lost; ``cursor`` is where the channel goes on, None for channels without history."""

    cursor: str | None


Item: TypeAlias = Event | Lost
