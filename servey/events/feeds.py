"""Distributes the events of a process to its subscriptions.

A process receives each event from the bus once; a `Feed` delivers it to every subscriber of the channel.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from servey.core.access import Authorization
from servey.core.channels import WebsocketEventChannel
from servey.core.errors import Overloaded, Restarting
from servey.core.messages import Gap, Message, Position, local_bus
from servey.core.process import Process
from servey.events.items import Event, Lost
from servey.events.subscriptions import Subscription, check_access
from servey.observability.metrics import DELIVERED, SUBSCRIBERS_DROPPED, TASK_RESTARTS

logger: logging.Logger = logging.getLogger("servey")

_BACKOFF_SECONDS = (0.05, 2.0)
_DROPPED_BECAUSE = {"too_slow": "slow", "unauthenticated": "expired", "forbidden": "forbidden"}


class Feed:
    """This process's subscription to a channel on the bus, and the subscribers of that channel."""

    def __init__(self, channel: WebsocketEventChannel[Any], runtime: Process, on_empty: Callable[[Feed], None]) -> None:
        self.channel = channel
        self.position: Position | None = None
        self.members: dict[Subscription, None] = {}
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bus = runtime.bus
        self._metrics = runtime.metrics
        self._on_empty = on_empty
        self.pending = 0
        self.task: asyncio.Task[None] = asyncio.create_task(self._run(), name=f"feed of channel '{channel.name}'")

    def leave(self, member: Subscription) -> None:
        """Remove a subscription."""
        if member in self.members:
            del self.members[member]
            if member.error is not None and member.error.code in _DROPPED_BECAUSE:
                self._metrics.add(SUBSCRIBERS_DROPPED, self.channel.name, _DROPPED_BECAUSE[member.error.code])
            self._on_empty(self)

    async def _run(self) -> None:
        try:
            local = local_bus(self._bus)
            if local is not None:
                with local.listen(self.channel.name, self._receive):
                    await self._start()
                    await asyncio.get_running_loop().create_future()  # until this is cancelled
            async with self._bus.subscribe(self.channel.name) as arrivals:
                await self._start()
                async for arrival in arrivals:
                    await self._accept(arrival)
        except Exception as error:
            self._fail(error)

    async def _start(self) -> None:
        if self.channel.history:
            self.position = (await self._bus.recall(self.channel.name, None)).position
        self.ready.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
        else:
            self._metrics.add(TASK_RESTARTS, "events")
            text = "the feed of channel '%s' failed; its subscribers have to reconnect"
            logger.error(text, self.channel.name, exc_info=error)
        for member in tuple(self.members):
            member.end(Restarting())

    def _receive(self, message: Message) -> None:
        """Emit an event of a local bus, which loses none."""
        try:
            self._emit(message)
        except Exception as error:
            self._fail(error)

    async def _accept(self, arrival: Message | Gap) -> None:
        at = self.position
        if isinstance(arrival, Gap):
            await (self._catch_up(at) if at is not None else self._report_loss(None))
        elif at is None or arrival.position is None:
            self._emit(arrival)
        elif arrival.position.epoch == at.epoch and arrival.position.offset <= at.offset:
            pass  # already delivered by catching up
        elif arrival.position.epoch == at.epoch and arrival.position.offset == at.offset + 1:
            self._emit(arrival)
        else:
            await self._catch_up(at)

    async def _catch_up(self, at: Position) -> None:
        """Emit the events since a position, or report that they are lost."""
        delay, longest = _BACKOFF_SECONDS
        while True:
            try:
                past = await self._bus.recall(self.channel.name, at)
                break
            except Overloaded:
                await asyncio.sleep(delay)
                delay = min(2 * delay, longest)
        if past.messages is None:
            await self._report_loss(past.position)
            return
        for message in past.messages:
            self._emit(message)
        self.position = past.position

    async def _report_loss(self, position: Position | None) -> None:
        self.position = position
        lost = Lost(None if position is None else position.cursor)
        for member in tuple(self.members):
            member.offer(lost)

    def _emit(self, message: Message) -> None:
        event = Event(self.channel, message)
        if self.position is not None and message.position is not None:
            self.position = message.position
        seen = 0
        everyone = message.subscriber_id is None and message.subject is None and self.channel.event_filter is None
        for member in tuple(self.members):
            if everyone or member.sees(event):
                try:
                    # Saves a call for each subscriber.
                    (member.deliver or member.offer)(event)
                except Exception:
                    logger.exception(
                        "channel '%s': sending to a subscriber failed; it has to reconnect", self.channel.name
                    )
                    member.end(Restarting())
                    continue
                seen += 1
        self._metrics.add(DELIVERED, self.channel.name, amount=seen)


class Subscriptions:
    """Every feed of this process."""

    def __init__(self, runtime: Process) -> None:
        self._runtime = runtime
        self._feeds: dict[str, Feed] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """The number of open subscriptions."""
        return sum(len(feed.members) for feed in self._feeds.values())

    @property
    def counts(self) -> dict[tuple[str, ...], float]:
        """The number of open subscriptions by channel, as the values of a gauge."""
        return {(name,): float(len(feed.members)) for name, feed in self._feeds.items()}

    def members(self, channel: str) -> Iterable[Subscription]:
        """The open subscriptions to a channel."""
        feed = self._feeds.get(channel)
        return () if feed is None else feed.members

    async def open(
        self,
        channel: WebsocketEventChannel[Any],
        authorization: Authorization | None,
        subscriber_id: str | None,
        after: str | None,
        *,
        trusted: bool = False,
    ) -> Subscription:
        """See `open_subscription`."""
        stopping = self._runtime.stopping
        if stopping.is_set():
            raise Restarting()
        if not trusted:
            await check_access(channel, authorization, subscriber_id, chosen=subscriber_id is not None)
        if self._watch is None:
            self._watch = asyncio.create_task(self._end_when(stopping), name="end of subscriptions")
        feed = self._feeds.get(channel.name)
        if feed is None:
            feed = self._feeds[channel.name] = Feed(channel, self._runtime, self._on_empty)
        feed.pending += 1
        try:
            await asyncio.shield(feed.ready)
        finally:
            feed.pending -= 1
            if not feed.members and not feed.pending:
                self._on_empty(feed, soon=True)
        settings = self._runtime.settings
        limits = (settings.channel_queue, settings.channel_queue_bytes)
        chosen = subscriber_id or secrets.token_urlsafe(16)
        made = Subscription(channel, authorization, chosen, limits, feed.leave, self._runtime.clock)
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

    async def _resume(self, made: Subscription, start: Position | None, after: str | None) -> None:
        made.cursor = None if start is None else start.cursor
        if after is None:
            return
        made.recovered = False
        given = Position.parse(after)
        if start is None or given is None:
            return
        past = await self._runtime.bus.recall(made.channel.name, given)
        # Everything after `start` arrives live. The bus may have newer events by now, or fewer if it has lost some.
        if past.messages is None or past.position.epoch != start.epoch or past.position.offset < start.offset:
            return
        made.recovered, made.cursor = True, after
        for message in past.messages:
            if message.position is not None and message.position.offset <= start.offset:
                event = Event(made.channel, message)
                if made.sees(event):
                    made.replay.append(event)

    def _on_empty(self, feed: Feed, *, soon: bool = False) -> None:
        if soon:
            # A pending subscriber may become a member in the same iteration of the event loop.
            asyncio.get_running_loop().call_soon(self._on_empty, feed)
            return
        if feed.members or feed.pending or feed.task in self._ending:
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
                try:
                    member.end(Restarting())
                except Exception:
                    logger.exception("channel '%s': ending a subscription failed", feed.channel.name)
                if number % 100 == 99:
                    await asyncio.sleep(0)  # let other streams end in time too

    async def aclose(self) -> None:
        """End every subscription and feed."""
        tasks = [feed.task for feed in self._feeds.values()]
        for feed in tuple(self._feeds.values()):
            for member in tuple(feed.members):
                member.end(Restarting())
            feed.task.cancel()
        if self._watch is not None:
            self._watch.cancel()
            tasks.append(self._watch)
        await asyncio.gather(*tasks, *self._ending, return_exceptions=True)
