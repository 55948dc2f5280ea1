"""What a subscription receives: events, and notices that events were lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from servey.core.channels import WebsocketEventChannel
from servey.core.messages import Message


class Event:
    """One event, shared by all subscribers of this process.

    Shape: ``cursor`` is the position to resume from after this event, None for channels without history; ``frames``
    caches the serialized event by transport.
    """

    __slots__ = ("_value", "channel", "cursor", "frames", "message")

    def __init__(self, channel: WebsocketEventChannel[Any], message: Message) -> None:
        self.channel: WebsocketEventChannel[Any] = channel
        self.message: Message = message
        self.cursor: str | None = None if message.position is None else message.position.cursor
        self.frames: dict[str, Any] = {}
        self._value: Any = _UNREAD

    @property
    def payload(self) -> bytes:
        """The event's JSON."""
        return self.message.payload

    @property
    def value(self) -> Any:
        """The event as its Python type; one object for all subscribers. Errors: ValidationError if it does not fit."""
        if self._value is _UNREAD:
            self._value = self.channel.event.validate_json(self.message.payload)
        return self._value


_UNREAD = object()


@dataclass(frozen=True)
class Lost:
    """Events were lost; ``cursor`` is where the channel continues, None for channels without history."""

    cursor: str | None


Item: TypeAlias = Event | Lost
