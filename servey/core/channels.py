"""Event channels: the type of their events, who may receive them, and how they are delivered.

Channels are declared in a project's modules, as actions are. `publish` validates an event and sends it, from an action, a
job, a schedule or any other code of a process that runs an app.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Generic, TypeAlias, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from servey.core.access import ALLOW_ALL, AccessControl, Authorization, problem_of
from servey.core.actions import Action, get_action
from servey.core.context import current_process, no_call_to_wait_for, running_context
from servey.core.errors import ConfigError, EventError, ServeyError
from servey.core.messages import Message, Published, Submitted
from servey.core.payloads import NotStorable, Payload, payload_of
from servey.core.process import Process
from servey.core.queues import Retry, check_delay
from servey.core.webhooks import checked_headers, checked_timeout, checked_url, signing_keys

T = TypeVar("T")


class EventFilterABC(ABC, Generic[T]):
    """A filter as an object; a plain function ``(event, authorization) -> bool`` works too."""

    @abstractmethod
    def should_publish(self, event: T, authorization: Authorization | None) -> bool:
        """Whether this subscriber may see this event."""


EventFilter: TypeAlias = Callable[[Any, Authorization | None], bool] | EventFilterABC[Any]


@dataclass(frozen=True, eq=False)
class WebsocketEventChannel(Generic[T]):
    """Events for connected clients, by websocket, server-sent events and GraphQL subscriptions.

    ``access_control`` says who may subscribe, ``event_filter`` who receives which event; ``history`` is how many of the last
    events are replayed to a client that reconnects; with ``mcp`` they are a resource of agents.
    """

    name: str
    event_type: Any
    access_control: AccessControl = ALLOW_ALL
    event_filter: EventFilter | None = None
    history: int = 0
    description: str | None = None
    mcp: bool = False

    @cached_property
    def event(self) -> TypeAdapter[T]:
        """Validates and serializes an event."""
        return _adapter(self.name, self.event_type)

    def may_see(self, event: T, authorization: Authorization | None) -> bool:
        """Whether the filter lets a subscriber receive an event. Errors: whatever the filter raises."""
        if self.event_filter is None:
            return True
        decision = _decide(self.event_filter)(event, authorization)
        if inspect.isawaitable(decision):
            if inspect.iscoroutine(decision):
                decision.close()
            raise TypeError("the filter returned an awaitable; a filter is a plain function")
        return bool(decision)

    def publish(
        self, event: T, subscriber_id: str | None = None, *, subject: str | None = None, on_success: bool = False
    ) -> Published:
        """Send an event to every subscriber, to one ``subscriber_id``, or to all connections of one ``subject``.

        With ``on_success`` it is sent when the running call has succeeded and its dependencies of scope ``function`` are
        closed, and not at all if the call fails.
        Errors: EventError if the event does not fit the event type; ServeyError for ``on_success`` outside a call.
        """
        message = Message(self.name, _serialized(self.event, self.name, event), subscriber_id, subject)
        return _submit(self, partial(_send, message, self.history), on_success=on_success)


@dataclass(frozen=True, eq=False)
class BackgroundActionChannel(Generic[T]):
    """Each event calls an action as a background job, with the event as its parameter.

    Units: ``delay`` in seconds.
    """

    name: str
    action: Action
    delay: float = 0
    retry: Retry = field(default_factory=Retry)

    @cached_property
    def parameter(self) -> str:
        """The wire name of the parameter that receives the event. Errors: ConfigError unless there is exactly one."""
        client = self.action.signature.client
        if len(client) != 1:
            given = ", ".join(param.name for param in client) or "none"
            raise self.action.problem(
                f"channel '{self.name}' needs an action with one parameter, the event, not {given}"
            )
        return client[0].alias

    @property
    def event_type(self) -> Any:
        """The event type: the type of the action's parameter."""
        return self.action.signature.client[0].annotation

    @cached_property
    def event(self) -> TypeAdapter[T]:
        """Validates and serializes an event."""
        return _adapter(self.name, self.event_type)

    def publish(self, event: T, *, on_success: bool = False) -> Published:
        """Enqueue a job that calls the action; with ``on_success``, when the running call has succeeded.

        Errors: EventError if the event does not fit the event type, or would not arrive equal; ServeyError for
        ``on_success`` outside a call.
        """
        payload = self._payload_of(event)
        return _submit(self, partial(_enqueue, self, payload), on_success=on_success)

    def _payload_of(self, event: Any) -> Payload:
        validate, given = self.action.params.validator.validate_python, {self.parameter: event}
        try:
            values = validate(given)
        except ValidationError as first:
            try:
                values = validate(given, from_attributes=True)
            except ValidationError:
                raise _event_error(self.name, first, 1) from None
        names = {self.parameter: self.action.signature.client[0].name}
        try:
            return payload_of(given, values, names, validate)
        except NotStorable as error:
            place = ".".join(map(str, error.loc[1:])) or "event"
            raise EventError(f"channel '{self.name}': the event cannot be stored: {place}: {error.problem}") from None


@dataclass(frozen=True, eq=False)
class WebhookEventChannel(Generic[T]):
    """Each event is posted to a URL as a background job, signed if there is a secret.

    Units: ``timeout`` in seconds.
    Source: Standard Webhooks 1.0.
    """

    name: str
    url: str
    event_type: Any
    secret: str | bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 15
    retry: Retry = field(default_factory=lambda: Retry(max_tries=10, backoff=1, factor=4, max_delay=36_000))

    @cached_property
    def event(self) -> TypeAdapter[T]:
        """Validates and serializes an event."""
        return _adapter(self.name, self.event_type)

    def publish(self, event: T, *, on_success: bool = False) -> Published:
        """Enqueue a job that posts the event; with ``on_success``, when the running call has succeeded.

        Errors: EventError if the event does not fit the event type; ServeyError for ``on_success`` outside a call.
        """
        payload = _serialized(self.event, self.name, event)
        return _submit(self, partial(_enqueue, self, payload), on_success=on_success)


EventChannel: TypeAlias = WebsocketEventChannel[Any] | BackgroundActionChannel[Any] | WebhookEventChannel[Any]


def publish(channel: EventChannel, event: Any, *, on_success: bool = False, **to: str | None) -> Published:
    """Publish an event on a channel of any kind, from anywhere: in a call, a host's own route, the lifespan or a script.

    It is the same as ``channel.publish``. Shape: ``to`` is a ``subscriber_id`` or a ``subject`` of a websocket channel.
    Errors: those of the channel's ``publish``; TypeError for a ``to`` that the channel does not have.
    """
    return channel.publish(event, on_success=on_success, **to)


@overload
def websocket_event_channel(
    name: str,
    event_type: type[T],
    *,
    access_control: AccessControl = ALLOW_ALL,
    event_filter: EventFilter | None = None,
    history: int = 0,
    description: str | None = None,
    mcp: bool = False,
) -> WebsocketEventChannel[T]: ...


@overload
def websocket_event_channel(
    name: str,
    event_type: Any,
    *,
    access_control: AccessControl = ALLOW_ALL,
    event_filter: EventFilter | None = None,
    history: int = 0,
    description: str | None = None,
    mcp: bool = False,
) -> WebsocketEventChannel[Any]: ...


def websocket_event_channel(
    name: str,
    event_type: Any,
    *,
    access_control: AccessControl = ALLOW_ALL,
    event_filter: EventFilter | None = None,
    history: int = 0,
    description: str | None = None,
    mcp: bool = False,
) -> WebsocketEventChannel[Any]:
    """Declare a channel whose events are sent to connected clients. Errors: ConfigError.

    With ``mcp`` the last events, as many as ``history``, are a resource that agents read and subscribe to.
    """
    if event_filter is not None and inspect.iscoroutinefunction(_decide(event_filter)):
        raise ConfigError(f"channel '{name}': its event_filter is an async def; use a plain def")
    if history < 0:
        raise ConfigError(f"channel '{name}': history is {history}; give a number of events, 0 or more")
    if mcp and not history:
        raise ConfigError(f"channel '{name}': mcp=True offers the last events to agents; set history to their number")
    problem = problem_of(access_control)
    if problem is None and isinstance(event_filter, type):
        problem = f"event_filter is the class {event_filter.__name__}; use an instance of it"
    if problem is not None:
        raise ConfigError(f"channel '{name}': {problem}")
    checked = _checked_name(name)
    return WebsocketEventChannel(checked, event_type, access_control, event_filter, history, description, mcp)


def background_action_channel(
    action: Callable[..., Any], delay: float = 0, name: str | None = None, retry: Retry | None = None
) -> BackgroundActionChannel[Any]:
    """Declare a channel whose events call an action in the background. Errors: ConfigError."""
    made = action if isinstance(action, Action) else get_action(action)
    if made is None:
        raise ConfigError(f"background_action_channel({action!r}): that is not an action; decorate it with @action")
    try:
        check_delay(delay)
    except ServeyError as error:
        raise ConfigError(f"channel '{name or made.name}': {error}") from None
    return BackgroundActionChannel(_checked_name(name or made.name), made, delay, retry or made.retry or Retry())


@overload
def webhook_event_channel(
    name: str,
    url: str,
    event_type: type[T],
    *,
    secret: str | bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 15,
    retry: Retry | None = None,
) -> WebhookEventChannel[T]: ...


@overload
def webhook_event_channel(
    name: str,
    url: str,
    event_type: Any,
    *,
    secret: str | bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 15,
    retry: Retry | None = None,
) -> WebhookEventChannel[Any]: ...


def webhook_event_channel(
    name: str,
    url: str,
    event_type: Any,
    *,
    secret: str | bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 15,
    retry: Retry | None = None,
) -> WebhookEventChannel[Any]:
    """Declare a channel whose events are posted to a URL. Errors: ConfigError."""
    try:
        checked = checked_url(url), checked_headers(headers), checked_timeout(timeout), signing_keys(secret)
    except ValueError as error:
        raise ConfigError(f"channel '{name}': {error}") from None
    more = {} if retry is None else {"retry": retry}
    return WebhookEventChannel(_checked_name(name), checked[0], event_type, secret, checked[1], checked[2], **more)


def _decide(event_filter: EventFilter) -> Callable[[Any, Authorization | None], Any]:
    decide: Any = getattr(event_filter, "should_publish", event_filter)
    return decide  # type: ignore[no-any-return]


def _checked_name(name: str) -> str:
    if not name or not all(char.isalnum() or char in "_.-" for char in name) or not name.isascii() or len(name) > 128:
        raise ConfigError(f"channel {name!r}: use letters, digits, '_', '-' and '.'")
    return name


def _adapter(name: str, event_type: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(event_type)
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise ConfigError(f"channel '{name}': pydantic cannot validate its event type: {text}") from error


def _serialized(adapter: TypeAdapter[Any], name: str, event: Any) -> bytes:
    try:
        checked = adapter.validate_python(event, from_attributes=True)
    except ValidationError as error:
        raise _event_error(name, error, 0) from None
    try:
        return adapter.dump_json(checked, by_alias=True)
    except PydanticSerializationError as error:
        raise EventError(f"channel '{name}': the event cannot be sent as JSON: {error}") from None


def _event_error(name: str, error: ValidationError, skipped: int) -> EventError:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"][skipped:])) or "event"
    return EventError(f"channel '{name}': the event does not fit its type: {place}: {first['msg']}")


def _send(message: Message, history: int, process: Process) -> Published:
    return process.submit_event(message, history=history)


def _enqueue(
    channel: BackgroundActionChannel[Any] | WebhookEventChannel[Any], payload: bytes | Payload, process: Process
) -> Published:
    return process.submit(lambda: process.enqueue_event(channel, payload), lane=f"channel {channel.name}")


def _submit(channel: EventChannel, submit: Callable[[Process], Published], *, on_success: bool) -> Published:
    """Deliver on the app's event loop, in order within the channel; in a worker thread, wait until it is done."""
    process = current_process(lambda process: channel in process.catalog.channels)
    if not on_success:
        return submit(process)
    context = running_context()
    if context is None:
        raise ServeyError(no_call_to_wait_for("publish"))
    context.hold_until_success(partial(submit, process))
    held: Published = Submitted()
    held.value = None
    return held
