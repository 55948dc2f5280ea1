"""Event channels: what is published, who may receive it, and where it goes.

A channel is a fact, found in a project's modules as its actions are. `publish` checks an event and hands it over, from
an action of either kind, a job, a schedule or any other code of a process that runs an app.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from servey.access import ALLOW_ALL, AccessControl, Authorization
from servey.actions import Action, get_action
from servey.context import current_runtime
from servey.errors import ConfigError, EventError
from servey.queues import Retry

if TYPE_CHECKING:
    from servey.runtime import Runtime

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel's history: the ``offset``-th event of an ``epoch``, which ends when history is lost."""

    epoch: str
    offset: int

    @property
    def cursor(self) -> str:
        """What a client gives back to resume after this place."""
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, cursor: str) -> Position | None:
        """The place that a client's cursor names; None for what is no cursor."""
        epoch, _, offset = cursor.rpartition(":")
        if not (0 < len(epoch) <= 64 and epoch.isascii() and epoch.isalnum()):
            return None
        if not (0 < len(offset) <= 18 and offset.isascii() and offset.isdigit()):
            return None
        return cls(epoch, int(offset))


@dataclass(frozen=True, slots=True)
class Message:
    """One event on its way: serialized once, for every subscriber.

    Shape: ``payload`` is the event's JSON; ``subscriber_id`` and ``subject`` narrow down who receives it; ``position`` is
    given by a bus that keeps it.
    """

    channel: str
    payload: bytes
    subscriber_id: str | None = None
    subject: str | None = None
    position: Position | None = None


class Publisher(Protocol):
    """The half of a bus that a channel needs."""

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Hands a message over; comes back when the bus has it. ``history`` is how many of the last ones it keeps."""
        ...


class EventFilterABC(ABC, Generic[T]):
    """A filter as an object; a plain function ``(event, authorization) -> bool`` does as well."""

    @abstractmethod
    def should_publish(self, event: T, authorization: Authorization | None) -> bool:
        """Whether this subscriber may see this event."""


EventFilter: TypeAlias = Callable[[Any, Authorization | None], bool] | EventFilterABC[Any]


class HandedOver(Generic[T]):
    """Something that the app's own loop was given to do: awaited, it comes back with what came of it when that is done;
    left alone, it is done all the same. In a worker thread it is done already, and ``value`` is what came of it.
    """

    __slots__ = ("_done", "value")

    value: T

    def __init__(self, done: asyncio.Future[T] | None = None) -> None:
        self._done = done

    def __await__(self) -> Generator[Any, None, T]:
        if self._done is not None:
            self.value = yield from asyncio.shield(self._done).__await__()
        return self.value


Published: TypeAlias = HandedOver[None]


@dataclass(frozen=True, eq=False)
class WebsocketEventChannel(Generic[T]):
    """Events for connected clients, by websocket, server-sent events and GraphQL subscriptions.

    ``access_control`` says who may subscribe, ``event_filter`` who sees which event; ``history`` is how many of the last
    events a client that comes back can still receive.
    """

    name: str
    event_type: Any
    access_control: AccessControl = ALLOW_ALL
    event_filter: EventFilter | None = None
    history: int = 0
    description: str | None = None

    @cached_property
    def event(self) -> TypeAdapter[T]:
        """Validates and serializes an event."""
        return _adapter(self.name, self.event_type)

    def may_see(self, event: T, authorization: Authorization | None) -> bool:
        """Whether the filter lets a subscriber see an event. Errors: whatever the filter raises."""
        if self.event_filter is None:
            return True
        decide: Any = getattr(self.event_filter, "should_publish", self.event_filter)
        return bool(decide(event, authorization))

    def publish(self, event: T, subscriber_id: str | None = None, *, subject: str | None = None) -> Published:
        """Sends an event to every subscriber, to one ``subscriber_id``, or to all connections of one ``subject``.

        Errors: EventError for what is not of the event type.
        """
        message = Message(self.name, _serialized(self.event, self.name, event), subscriber_id, subject)
        return _handed_over(lambda runtime: runtime.publish(message, history=self.history))


@dataclass(frozen=True, eq=False)
class BackgroundActionChannel(Generic[T]):
    """Events that call an action later, as a job, with the event as its parameter.

    Units: ``delay`` in seconds.
    """

    name: str
    action: Action
    delay: float = 0
    retry: Retry = field(default_factory=Retry)

    @cached_property
    def parameter(self) -> str:
        """The wire name of the parameter that takes the event. Errors: ConfigError unless there is just one."""
        client = self.action.signature.client
        if len(client) != 1:
            given = ", ".join(param.name for param in client) or "none"
            raise self.action.problem(
                f"channel '{self.name}' needs an action with one parameter, the event, not {given}"
            )
        return client[0].alias

    @property
    def event_type(self) -> Any:
        """The type of its events: that of the action's parameter."""
        return self.action.signature.client[0].annotation

    @cached_property
    def event(self) -> TypeAdapter[T]:
        """Validates and serializes an event."""
        return _adapter(self.name, self.event_type)

    def publish(self, event: T) -> Published:
        """Has the action called with an event. Errors: EventError for what is not of the event type."""
        payload = _serialized(self.event, self.name, event)
        return _handed_over(lambda runtime: runtime.enqueue_event(self, payload))


@dataclass(frozen=True, eq=False)
class WebhookEventChannel(Generic[T]):
    """Events that are posted to somebody's server, as jobs, signed where there is a secret.

    Units: ``timeout`` in seconds.
    Source: Standard Webhooks 1.0.
    """

    name: str
    url: str
    event_type: Any
    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 15
    retry: Retry = field(default_factory=lambda: Retry(max_tries=10, backoff=1, factor=4, max_delay=36_000))

    @cached_property
    def event(self) -> TypeAdapter[T]:
        """Validates and serializes an event."""
        return _adapter(self.name, self.event_type)

    def publish(self, event: T) -> Published:
        """Has an event posted. Errors: EventError for what is not of the event type."""
        payload = _serialized(self.event, self.name, event)
        return _handed_over(lambda runtime: runtime.enqueue_event(self, payload))


EventChannel: TypeAlias = WebsocketEventChannel[Any] | BackgroundActionChannel[Any] | WebhookEventChannel[Any]


def websocket_event_channel(
    name: str,
    event_type: type[T] | Any,
    *,
    access_control: AccessControl = ALLOW_ALL,
    event_filter: EventFilter | None = None,
    history: int = 0,
    description: str | None = None,
) -> WebsocketEventChannel[T]:
    """A channel whose events connected clients receive. Errors: ConfigError."""
    if history < 0:
        raise ConfigError(f"channel '{name}': history is {history}; give a number of events, 0 or more")
    return WebsocketEventChannel(_checked_name(name), event_type, access_control, event_filter, history, description)


def background_action_channel(
    action: Callable[..., Any], delay: float = 0, name: str | None = None, retry: Retry | None = None
) -> BackgroundActionChannel[Any]:
    """A channel whose events call an action later. Errors: ConfigError."""
    made = action if isinstance(action, Action) else get_action(action)
    if made is None:
        raise ConfigError(f"background_action_channel({action!r}): that is not an action; decorate it with @action")
    if delay < 0:
        raise ConfigError(f"channel '{name or made.name}': delay is {delay}; give a number of seconds, 0 or more")
    return BackgroundActionChannel(_checked_name(name or made.name), made, delay, retry or made.retry or Retry())


def webhook_event_channel(
    name: str,
    url: str,
    event_type: type[T] | Any,
    *,
    secret: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 15,
    retry: Retry | None = None,
) -> WebhookEventChannel[T]:
    """A channel whose events are posted to a URL. Errors: ConfigError."""
    if not url.lower().startswith(("http://", "https://")):
        raise ConfigError(f"channel '{name}': {url!r} is no URL of a webhook; begin it with https://")
    more = {} if retry is None else {"retry": retry}
    return WebhookEventChannel(_checked_name(name), url, event_type, secret, dict(headers or {}), timeout, **more)


def _checked_name(name: str) -> str:
    if not name or not all(char.isalnum() or char in "_.-" for char in name) or not name.isascii() or len(name) > 128:
        raise ConfigError(f"channel {name!r}: write its name in letters, digits, '_', '-' and '.'")
    return name


def _adapter(name: str, event_type: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(event_type)
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise ConfigError(f"channel '{name}': pydantic can not validate its event type: {text}") from error


def _serialized(adapter: TypeAdapter[Any], name: str, event: Any) -> bytes:
    try:
        checked = adapter.validate_python(event, from_attributes=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "event"
        raise EventError(f"channel '{name}': the event does not fit its type: {place}: {first['msg']}") from None
    return adapter.dump_json(checked, by_alias=True)


def _handed_over(deliver: Callable[[Runtime], Awaitable[None]]) -> Published:
    """Has the running app deliver something: waited for here in a worker thread, in order on the app's own loop."""
    runtime = current_runtime()
    return runtime.hand_over(lambda: deliver(runtime))
