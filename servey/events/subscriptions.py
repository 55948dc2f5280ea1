"""Subscriptions to channels: access control, filtering, queueing, expiry.

A `Subscription` receives the events that its subscriber may see, in order, and ends with an error that says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from servey.core.access import ALLOW_ALL, Authorization, AuthorizationError, allows, refusal
from servey.core.channels import WebsocketEventChannel
from servey.core.clock import Alarm, Clock
from servey.core.errors import (
    ActionError,
    Forbidden,
    InvalidParams,
    NotFound,
    TooSlow,
    Unauthenticated,
)
from servey.core.process import Process
from servey.events.items import Event, Item

logger: logging.Logger = logging.getLogger("servey")

MAX_ID_CHARACTERS = 128


class Subscription:
    """One subscriber's events of one channel: iterate it, or `attach` a function to it; `close` it.

    Shape: ``recovered`` says whether every event since the given cursor is included, or is None if no cursor was given;
    ``cursor`` is the start position.
    Errors: iteration raises the reason for its end: TooSlow, Unauthenticated once the token has expired, Restarting.
    """

    def __init__(
        self,
        channel: WebsocketEventChannel[Any],
        authorization: Authorization | None,
        subscriber_id: str,
        limits: tuple[int, int],
        leave: Callable[[Subscription], None],
        clock: Clock,
    ) -> None:
        self.channel = channel
        self.authorization = authorization
        self.subscriber_id = subscriber_id
        self.cursor: str | None = None
        self.recovered: bool | None = None
        # Lists, because most of them stay empty, and an empty deque takes 760 bytes.
        self.replay: list[Event] = []
        self.error: ActionError | None = None
        self._leave_feed = leave
        self._loop = asyncio.get_running_loop()
        self._max_items, self._max_bytes = limits
        self._queue: list[Item] = []
        self._bytes = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self.deliver: Callable[[Item], None] | None = None
        self._ended: Callable[[ActionError], None] | None = None
        self._clock = clock
        self._alarm: Alarm | None = None
        self._set_alarm()

    def sees(self, event: Event) -> bool:
        """Whether an event is addressed to this subscriber and passes the channel's filter."""
        message, authorization = event.message, self.authorization
        if message.subscriber_id is not None and message.subscriber_id != self.subscriber_id:
            return False
        if message.subject is not None and (authorization is None or authorization.subject_id != message.subject):
            return False
        if self.channel.event_filter is None:
            return True
        try:
            return self.channel.may_see(event.value, authorization)
        except KeyboardInterrupt:
            raise
        except BaseException:  # also SystemExit and CancelledError, which would end the feed of every subscriber
            logger.exception(
                "the filter of channel '%s' failed; this subscriber does not get the event", self.channel.name
            )
            return False

    def offer(self, item: Item) -> None:
        """Queue an event; end the subscription if its queue is full."""
        if self.deliver is not None:
            self.deliver(item)
            return
        self._bytes += len(item.payload) if isinstance(item, Event) else 0
        if len(self._queue) >= self._max_items or self._bytes > self._max_bytes:
            self.end(TooSlow())
            return
        self._queue.append(item)
        self._wake()

    def attach(self, deliver: Callable[[Item], None], ended: Callable[[ActionError], None]) -> None:
        """Call ``deliver`` with every queued and future item, and ``ended`` with the error that ends the subscription."""
        if self.error is not None:
            ended(self.error)
            return
        queued = self.take_queued()
        self.deliver, self._ended = deliver, ended
        for item in queued:
            deliver(item)

    def take_queued(self) -> list[Item]:
        """Remove and return the queued items."""
        found: list[Item] = [] if self.error is not None else [*self.replay, *self._queue]
        self.replay.clear()
        self._queue.clear()
        self._bytes = 0
        return found

    def on_end(self, ended: Callable[[ActionError], None]) -> None:
        """Call ``ended`` with the error that ends the subscription, for a consumer that is not waiting for the next item."""
        self._ended = ended

    async def reauthorize(self, authorization: Authorization | None) -> None:
        """Continue with another token of the same subscriber. Errors: Unauthenticated, Forbidden."""
        await check_access(self.channel, authorization, self.subscriber_id)
        self.authorization = authorization
        self._set_alarm()

    def end(self, error: ActionError) -> None:
        """End the subscription with an error; queued items are dropped."""
        if self.error is None and not self._closed:
            self.error = error
            self._leave()
            if self._ended is not None:
                self._ended(error)

    def close(self) -> None:
        """Unsubscribe."""
        if not self._closed:
            self._closed = True
            self._leave()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Item:
        while True:
            if self.error is not None:
                raise self.error
            if self._closed:
                raise StopAsyncIteration
            if self.replay:
                return self.replay.pop(0)
            if self._queue:
                item = self._queue.pop(0)
                self._bytes -= len(item.payload) if isinstance(item, Event) else 0
                return item
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _leave(self) -> None:
        self._leave_feed(self)
        if self._alarm is not None:
            self._alarm.cancel()
        self._queue.clear()
        self.replay.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        expire_at = self.authorization.expire_at if self.authorization is not None else None
        if expire_at is None:
            return
        if expire_at.timestamp() <= self._clock.now():
            self.end(Unauthenticated("The token has expired"))
        else:
            self._alarm = self._clock.alarm(expire_at.timestamp(), self._set_alarm)


async def open_subscription(
    runtime: Process,
    channel: str,
    authorization: Authorization | None,
    *,
    subscriber_id: str | None = None,
    after: str | None = None,
    trusted: bool = False,
) -> Subscription:
    """Subscribe to a channel, and replay the events since the cursor ``after`` if all of them are stored.

    ``subscriber_id`` is chosen by the client; without it, a new one is created. The access rule does not apply to
    ``trusted`` callers, the filter does.
    Errors: NotFound, Unauthenticated, Forbidden, Overloaded if the bus cannot be reached, Restarting.
    """
    found = next((each for each in runtime.catalog.channels_of(WebsocketEventChannel) if each.name == channel), None)
    if found is None:
        raise NotFound(f"There is no channel '{channel[:MAX_ID_CHARACTERS]}'")
    opened: Subscription = await runtime.subscriptions.open(found, authorization, subscriber_id, after, trusted=trusted)
    return opened


async def check_access(
    channel: WebsocketEventChannel[Any],
    authorization: Authorization | None,
    subscriber_id: str | None,
    *,
    chosen: bool = False,
) -> None:
    params = {"channel": channel.name, "subscriber_id": subscriber_id}
    if not await allows(channel.access_control, authorization, params):
        raise refusal(authorization)
    if not chosen:
        return
    assert subscriber_id is not None
    if channel.access_control is not ALLOW_ALL:
        raise Forbidden(
            f"Channel '{channel.name}' is guarded and does not accept a client's own subscriber_id; "
            "publish to a subject instead"
        )
    if not (subscriber_id and subscriber_id.isprintable() and len(subscriber_id) <= MAX_ID_CHARACTERS):
        text = f"1 to {MAX_ID_CHARACTERS} printable characters are expected"
        place = ["path", "subscriber_id"]
        raise InvalidParams([{"type": "value_error", "loc": place, "msg": text, "input": subscriber_id[:200]}])


async def authorize_subscriber(process: Process, token: str | None) -> Authorization | None:
    """Verify the token of a connection; None for the anonymous. Errors: Unauthenticated if it is invalid."""
    if token is None:
        return None
    try:
        return await process.authorizer.authorize(token)
    except AuthorizationError as error:
        if process.ignores_unknown_tokens:
            return None
        logger.info("a token was refused: %s", error)
        raise Unauthenticated() from None
