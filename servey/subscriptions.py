"""Who receives the events of a channel in this process.

A bus brings each event here once (`Feed`), whatever the number of subscribers; each `Subscription` takes what its
subscriber may see, in order, and ends with an error that says why.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from servey.access import ALLOW_ALL, Authorization, allows, refusal
from servey.channels import Message, Position, WebsocketEventChannel
from servey.errors import (
    ActionError,
    Forbidden,
    InvalidParams,
    NotFound,
    Overloaded,
    Restarting,
    TooSlow,
    Unauthenticated,
)
from servey.events import Bus, Event, Gap, Item, Lost

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

MAX_ID_CHARACTERS = 128
_TIMER_SECONDS = 3600.0
_BACKOFF_SECONDS = (0.05, 2.0)


class Subscription:
    """One subscriber's events of one channel: iterate it, or `attach` a function to it; `close` it.

    Shape: ``recovered`` says whether everything after the cursor that was given is in it, None where none was given;
    ``cursor`` is where it begins.
    Errors: iteration raises why it ended: TooSlow, Unauthenticated once the token has expired, Restarting.
    """

    def __init__(
        self, feed: Feed, authorization: Authorization | None, subscriber_id: str, limits: tuple[int, int]
    ) -> None:
        self.channel = feed.channel
        self.authorization = authorization
        self.subscriber_id = subscriber_id
        self.cursor: str | None = None
        self.recovered: bool | None = None
        self.replay: deque[Event] = deque()
        self.error: ActionError | None = None
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._max_items, self._max_bytes = limits
        self._queue: deque[Item] = deque()
        self._bytes = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._deliver: Callable[[Item], None] | None = None
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
        if self._deliver is not None:
            self._deliver(item)
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
        waiting = [*self.replay, *self._queue]
        self.replay.clear()
        self._queue.clear()
        self._deliver, self._ended = deliver, ended
        for item in waiting:
            deliver(item)

    def on_end(self, ended: Callable[[ActionError], None]) -> None:
        """Has ``ended`` called with why it ends, for a consumer that is busy with something else."""
        self._ended = ended

    async def reauthorize(self, authorization: Authorization | None) -> None:
        """Goes on with another token of the same subscriber. Errors: Unauthenticated, Forbidden."""
        await _check_access(self.channel, authorization, self.subscriber_id)
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
                return self.replay.popleft()
            if self._queue:
                item = self._queue.popleft()
                self._bytes -= len(item.payload) if isinstance(item, Event) else 0
                return item
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _leave(self) -> None:
        self._feed.leave(self)
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


class Feed:
    """The one subscription of this process to a channel's bus, and everyone here who listens."""

    def __init__(self, channel: WebsocketEventChannel[Any], bus: Bus, emptied: Callable[[Feed], None]) -> None:
        self.channel = channel
        self.position: Position | None = None
        self.members: dict[Subscription, None] = {}
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bus = bus
        self._emptied = emptied
        self.waiting = 0
        self.task = asyncio.create_task(self._run(), name=f"feed of channel '{channel.name}'")

    def leave(self, member: Subscription) -> None:
        """Forgets a subscription."""
        if member in self.members:
            del self.members[member]
            self._emptied(self)

    async def _run(self) -> None:
        try:
            async with self._bus.subscribe(self.channel.name) as arrivals:
                if self.channel.history:
                    self.position = (await self._bus.recall(self.channel.name, None)).position
                self.ready.set_result(None)
                async for arrival in arrivals:
                    await self._take(arrival)
        except Exception as error:
            if not self.ready.done():
                self.ready.set_exception(error)
            else:
                logger.exception("channel '%s' has lost its bus", self.channel.name)
            for member in tuple(self.members):
                member.end(Restarting())

    async def _take(self, arrival: Message | Gap) -> None:
        at = self.position
        if isinstance(arrival, Gap):
            await (self._catch_up(at) if at is not None else self._lose(None))
        elif at is None or arrival.position is None:
            self._emit(arrival)
        elif arrival.position.epoch == at.epoch and arrival.position.offset <= at.offset:
            pass  # caught up with already
        elif arrival.position.epoch == at.epoch and arrival.position.offset == at.offset + 1:
            self._emit(arrival)
        else:
            await self._catch_up(at)

    async def _catch_up(self, at: Position) -> None:
        """Emits what was published since a position, or says that it is lost."""
        delay, longest = _BACKOFF_SECONDS
        while True:
            try:
                past = await self._bus.recall(self.channel.name, at)
                break
            except Overloaded:
                await asyncio.sleep(delay)
                delay = min(2 * delay, longest)
        if past.messages is None:
            await self._lose(past.position)
            return
        for message in past.messages:
            self._emit(message)
        self.position = past.position

    async def _lose(self, position: Position | None) -> None:
        self.position = position
        lost = Lost(None if position is None else position.cursor)
        for member in tuple(self.members):
            member.offer(lost)

    def _emit(self, message: Message) -> None:
        event = Event(self.channel, message)
        if self.position is not None and message.position is not None:
            self.position = message.position
        for member in tuple(self.members):
            if member.sees(event):
                member.offer(event)


class Subscriptions:
    """Every feed of this process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._feeds: dict[str, Feed] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """The subscriptions that are open."""
        return sum(len(feed.members) for feed in self._feeds.values())

    async def open(
        self,
        channel: WebsocketEventChannel[Any],
        authorization: Authorization | None,
        subscriber_id: str | None,
        after: str | None,
    ) -> Subscription:
        """See `open_subscription`."""
        stopping = self._runtime.stopping
        if stopping.is_set():
            raise Restarting()
        await _check_access(channel, authorization, subscriber_id, chosen=subscriber_id is not None)
        if self._watch is None:
            self._watch = asyncio.create_task(self._end_when(stopping), name="subscriptions' end")
        feed = self._feeds.get(channel.name)
        if feed is None:
            feed = self._feeds[channel.name] = Feed(channel, self._runtime.bus, self._emptied)
        feed.waiting += 1
        try:
            await asyncio.shield(feed.ready)
        finally:
            feed.waiting -= 1
            if not feed.members and not feed.waiting:
                self._emptied(feed, soon=True)
        settings = self._runtime.settings
        limits = (settings.channel_queue, settings.channel_queue_bytes)
        made = Subscription(feed, authorization, subscriber_id or secrets.token_urlsafe(16), limits)
        if made.error is not None:
            raise made.error
        feed.members[made] = None
        if stopping.is_set():
            made.end(Restarting())
            raise Restarting()
        try:
            await self._resume(made, feed.position, after)
        except BaseException:
            made.close()
            raise
        return made

    async def _resume(self, made: Subscription, begun: Position | None, after: str | None) -> None:
        made.cursor = None if begun is None else begun.cursor
        if after is None:
            return
        made.recovered = False
        given = Position.parse(after)
        if begun is None or given is None:
            return
        past = await self._runtime.bus.recall(made.channel.name, given)
        # Everything after `begun` comes live; the bus may know more than that, or, having lost it, less.
        if past.messages is None or past.position.epoch != begun.epoch or past.position.offset < begun.offset:
            return
        made.recovered, made.cursor = True, after
        for message in past.messages:
            if message.position is not None and message.position.offset <= begun.offset:
                event = Event(made.channel, message)
                if made.sees(event):
                    made.replay.append(event)

    def _emptied(self, feed: Feed, *, soon: bool = False) -> None:
        if soon:
            # Whoever waited may become a member in this very step.
            asyncio.get_running_loop().call_soon(self._emptied, feed)
            return
        if feed.members or feed.waiting or feed.task in self._ending:
            return
        if self._feeds.get(feed.channel.name) is feed:
            del self._feeds[feed.channel.name]
        feed.task.cancel()
        self._ending.add(feed.task)
        feed.task.add_done_callback(self._ending.discard)

    async def _end_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        for feed in tuple(self._feeds.values()):
            for number, member in enumerate(tuple(feed.members)):
                member.end(Restarting())
                if number % 100 == 99:
                    await asyncio.sleep(0)  # other streams have to end in time too

    async def aclose(self) -> None:
        """Ends every subscription and feed."""
        tasks = [feed.task for feed in self._feeds.values()]
        for feed in tuple(self._feeds.values()):
            for member in tuple(feed.members):
                member.end(Restarting())
            feed.task.cancel()
        if self._watch is not None:
            self._watch.cancel()
            tasks.append(self._watch)
        await asyncio.gather(*tasks, *self._ending, return_exceptions=True)


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


async def _check_access(
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
