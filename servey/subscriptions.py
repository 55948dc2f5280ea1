"""Receiving the events of a channel: who may, what of them, and until when.

A `Subscription` takes what its subscriber may see, in order, and ends with an error that says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from servey.access import ALLOW_ALL, Authorization, allows, refusal
from servey.channels import WebsocketEventChannel
from servey.errors import (
    ActionError,
    Forbidden,
    InvalidParams,
    NotFound,
    TooSlow,
    Unauthenticated,
)
from servey.events import Event, Item

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

MAX_ID_CHARACTERS = 128
_TIMER_SECONDS = 3600.0


class Subscription:
    """One subscriber's events of one channel: iterate it, or `attach` a function to it; `close` it.

    Shape: ``recovered`` says whether everything after the cursor that was given is in it, None where none was given;
    ``cursor`` is where it begins.
    Errors: iteration raises why it ended: TooSlow, Unauthenticated once the token has expired, Restarting.
    """

    def __init__(
        self,
        channel: WebsocketEventChannel[Any],
        authorization: Authorization | None,
        subscriber_id: str,
        limits: tuple[int, int],
        leave: Callable[[Subscription], None],
    ) -> None:
        self.channel = channel
        self.authorization = authorization
        self.subscriber_id = subscriber_id
        self.cursor: str | None = None
        self.recovered: bool | None = None
        # Lists, since most of them rest empty, and an empty deque takes 760 bytes.
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
        self._timer: asyncio.TimerHandle | None = None
        self._set_timer()

    def sees(self, event: Event) -> bool:
        """Whether an event is meant for this subscriber, and the channel's filter lets it through."""
        message, authorization = event.message, self.authorization
        if message.subscriber_id is not None and message.subscriber_id != self.subscriber_id:
            return False
        if message.subject is not None and (authorization is None or authorization.subject_id != message.subject):
            return False
        if self.channel.event_filter is None:
            return True
        try:
            return self.channel.may_see(event.value, authorization)
        except Exception:
            logger.exception("the filter of channel '%s' failed; its event is held back", self.channel.name)
            return False

    def offer(self, item: Item) -> None:
        """Takes in an event, or ends the subscription that has too many of them waiting."""
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
        """Has ``deliver`` called with what waits, and with everything from now on; ``ended`` with why it ends."""
        if self.error is not None:
            ended(self.error)
            return
        waiting = self.waiting()
        self.deliver, self._ended = deliver, ended
        for item in waiting:
            deliver(item)

    def waiting(self) -> list[Item]:
        """What would be received without waiting, taken out."""
        found: list[Item] = [] if self.error is not None else [*self.replay, *self._queue]
        self.replay.clear()
        self._queue.clear()
        self._bytes = 0
        return found

    def on_end(self, ended: Callable[[ActionError], None]) -> None:
        """Has ``ended`` called with why it ends, for a consumer that is busy with something else."""
        self._ended = ended

    async def reauthorize(self, authorization: Authorization | None) -> None:
        """Goes on with another token of the same subscriber. Errors: Unauthenticated, Forbidden."""
        await check_access(self.channel, authorization, self.subscriber_id)
        self.authorization = authorization
        self._set_timer()

    def end(self, error: ActionError) -> None:
        """Ends it for its consumer; what still waits is dropped."""
        if self.error is None and not self._closed:
            self.error = error
            self._leave()
            if self._ended is not None:
                self._ended(error)

    def close(self) -> None:
        """Leaves the channel."""
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
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self.replay.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        expire_at = self.authorization.expire_at if self.authorization is not None else None
        if expire_at is None:
            return
        left = (expire_at - datetime.now(UTC)).total_seconds()
        if left <= 0:
            self.end(Unauthenticated("The token has expired"))
        else:
            # A clock may be set, and a timer may not be as long as a token lives.
            self._timer = self._loop.call_later(min(left, _TIMER_SECONDS), self._set_timer)


async def open_subscription(
    runtime: Runtime,
    channel: str,
    authorization: Authorization | None,
    *,
    subscriber_id: str | None = None,
    after: str | None = None,
) -> Subscription:
    """A subscriber's events of a channel from now on, and those since the cursor ``after`` where they are all kept.

    ``subscriber_id`` is one that the client chose; without it, a new one is made.
    Errors: NotFound, Unauthenticated, Forbidden, Overloaded while the bus can not be reached, Restarting.
    """
    found = next((each for each in runtime.catalog.channels_of(WebsocketEventChannel) if each.name == channel), None)
    if found is None:
        raise NotFound(f"There is no channel '{channel[:MAX_ID_CHARACTERS]}'")
    return await runtime.subscriptions.open(found, authorization, subscriber_id, after)


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
            f"Channel '{channel.name}' is guarded and takes no subscriber_id of a client's own; "
            "its publisher reaches one caller by subject"
        )
    if not (subscriber_id and subscriber_id.isprintable() and len(subscriber_id) <= MAX_ID_CHARACTERS):
        text = f"1 to {MAX_ID_CHARACTERS} printable characters are expected"
        place = ["path", "subscriber_id"]
        raise InvalidParams([{"type": "value_error", "loc": place, "msg": text, "input": subscriber_id[:200]}])
