"""Events over Redis: published to all processes, the last ones kept in a stream, outages survived.

A position is an epoch and an offset. An epoch ends with the run of a Redis server, since one that comes back may have
lost its last second; its end is noted, so that positions up to there stay good in the next epoch, and later ones do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from broadcaster import BroadcastBackend
from broadcaster import Event as Broadcasted
from pydantic_core import from_json, to_json
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from servey.channels import Message, Position
from servey.compat.redis import cancellable
from servey.errors import Overloaded
from servey.events import Gap, Past
from servey.ws.bus import WAITING_EVENTS, Listening

logger = logging.getLogger("servey")

ERRORS = (RedisError, OSError, TimeoutError, EOFError)
_ANSWER_SECONDS = 2.0
_ACKNOWLEDGE_SECONDS = 2.0
_SILENCE_SECONDS = 3.0
"""After so long without an event the connection is tested, and given up when it does not answer in as long again."""
_BACKOFF_SECONDS = (0.05, 1.0)

_EPOCH = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local known = redis.call('HMGET', KEYS[2], 'epoch', 'offset', 'run')
local epoch, offset = known[1], tonumber(known[2] or '0')
if not epoch or known[3] ~= run then
    if epoch then
        local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
        local oldest = first[1] and tonumber(string.match(first[1][1], '^%d+')) or offset
        local all = redis.call('HGETALL', KEYS[2])
        for at = 1, #all, 2 do
            if string.sub(all[at], 1, 4) == 'end:' and tonumber(all[at + 1]) < oldest - 1 then
                redis.call('HDEL', KEYS[2], all[at])
            end
        end
        redis.call('HSET', KEYS[2], 'end:' .. epoch, string.format('%.0f', offset))
    else
        redis.call('DEL', KEYS[1])
    end
    epoch = ARGV[1]
    redis.call('HSET', KEYS[2], 'epoch', epoch, 'offset', string.format('%.0f', offset), 'run', run)
end
"""
PUBLISH = (
    _EPOCH
    + """
if ARGV[6] == '1' then
    for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 100)) do
        if entry[2][4] == ARGV[5] then return 0 end
    end
end
local at = string.format('%.0f', redis.call('HINCRBY', KEYS[2], 'offset', 1))
redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[3], at .. '-0', 'm', ARGV[2], 'i', ARGV[5])
redis.call('PUBLISH', ARGV[4], at .. ':' .. epoch .. ':' .. ARGV[2])
return 1
"""
)
RECALL = (
    _EPOCH
    + """
local top = string.format('%.0f', offset)
if ARGV[2] == '' then return {epoch, top} end
local last = ARGV[2] == epoch and offset or tonumber(redis.call('HGET', KEYS[2], 'end:' .. ARGV[2]) or '-1')
local after = tonumber(ARGV[3])
if after > last then return {epoch, top} end
local entries = redis.call('XRANGE', KEYS[1], string.format('%.0f-0', after + 1), '+')
if #entries ~= offset - after then return {epoch, top} end
return {epoch, top, entries}
"""
)


class RedisBackend(BroadcastBackend):
    """One connection for all subscriptions of this process. What is wanted is written down; one task owns the
    connection, makes it anew when it is lost or silent, and subscribes to what is wanted.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._wanted: set[str] = set()
        self._some_wanted = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._changing = asyncio.Lock()
        self._pubsub: Any = None
        self._queue: asyncio.Queue[Broadcasted] = asyncio.Queue(WAITING_EVENTS)
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Begins."""
        self._task = asyncio.create_task(self._run(), name="events from Redis")

    async def disconnect(self) -> None:
        """Ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def subscribe(self, group: str) -> None:
        """Comes back once Redis has the subscription; while it is away, a `Gap` tells later that it has."""
        async with self._changing:
            acknowledged = self._waiting[group] = asyncio.get_running_loop().create_future()
            self._wanted.add(group)
            self._some_wanted.set()
            if self._pubsub is not None:
                # Where this fails, the task that reads has to begin anew and subscribes to all.
                with contextlib.suppress(*ERRORS):
                    await self._pubsub.subscribe(self._prefix + group)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                await asyncio.shield(acknowledged)
        self._waiting.pop(group, None)

    async def unsubscribe(self, group: str) -> None:
        """Has Redis forget the subscription."""
        async with self._changing:
            self._wanted.discard(group)
            if not self._wanted:
                self._some_wanted.clear()
            if self._pubsub is not None:
                with contextlib.suppress(*ERRORS):
                    await self._pubsub.unsubscribe(self._prefix + group)

    async def publish(self, channel: str, message: Any) -> None:
        """Passes an envelope on to every process. Errors: Redis' own."""
        await self._client.publish(self._prefix + channel, message)

    async def next_published(self) -> Broadcasted:
        """The next event or gap."""
        return await self._queue.get()

    async def _run(self) -> None:
        low, high = _BACKOFF_SECONDS
        delay = low
        while True:
            await self._some_wanted.wait()
            pubsub = self._client.pubsub()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await pubsub.subscribe(*(self._prefix + channel for channel in self._wanted))
                asked = {name.decode().removeprefix(self._prefix) for name in pubsub.channels}
                self._pubsub = pubsub
                if self._wanted - asked:  # wanted while this connected
                    await pubsub.subscribe(*(self._prefix + channel for channel in self._wanted - asked))
                await self._read(pubsub)
                delay = low
                continue
            except ERRORS as error:
                if self._pubsub is not None:
                    delay = low
                logger.warning("events from Redis are interrupted (%s); trying again", type(error).__name__)
            finally:
                self._pubsub = None
                with contextlib.suppress(*ERRORS):
                    await pubsub.aclose()
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, high)

    async def _read(self, pubsub: Any) -> None:
        tested = False
        while pubsub.subscribed:
            arrived = await pubsub.get_message(timeout=_SILENCE_SECONDS)
            if arrived is None:
                if tested:
                    raise ConnectionError("silence")
                await pubsub.ping()
                tested = True
                continue
            tested = False
            if arrived["type"] == "message":
                channel = arrived["channel"].decode().removeprefix(self._prefix)
                await self._queue.put(Broadcasted(channel, _opened(channel, arrived["data"])))  # type: ignore[arg-type]
            elif arrived["type"] == "subscribe":
                channel = arrived["channel"].decode().removeprefix(self._prefix)
                waiting = self._waiting.pop(channel, None)
                if waiting is not None:
                    waiting.set_result(None)
                else:
                    await self._queue.put(Broadcasted(channel, Gap()))  # type: ignore[arg-type]


class RedisBus:
    """Events between processes, by one Redis."""

    def __init__(self, url: str) -> None:
        self._client: Any = cancellable(
            redis.Redis.from_url(
                url,
                socket_timeout=_ANSWER_SECONDS,
                socket_connect_timeout=_ANSWER_SECONDS,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 0),
            )
        )
        # Redis' databases keep keys apart, not what is published.
        database = self._client.connection_pool.connection_kwargs.get("db", 0)
        self._prefix = f"servey:{database}:events:"
        self._listening = Listening(RedisBackend(self._client, self._prefix))
        self._publish = self._client.register_script(PUBLISH)
        self._recall = self._client.register_script(RECALL)

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """What any process publishes on a channel from now on."""
        return self._listening.subscribe(channel)

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Comes back when Redis has the message. Errors: Overloaded while it does not answer."""
        envelope = _closed(message)
        try:
            if history:
                await self._keep(message.channel, envelope, history)
            else:
                await self._listening.publish(message.channel, b"::" + envelope)
        except ERRORS as error:
            raise _unreachable(error) from error

    async def _keep(self, channel: str, envelope: bytes, history: int) -> None:
        """Tries for a while; an attempt whose answer was lost is found by its id, and not made twice."""
        given = [secrets.token_hex(8), envelope, history, self._prefix + channel, secrets.token_hex(8)]
        async with asyncio.timeout(_ANSWER_SECONDS):
            again = 0
            while True:
                try:
                    await self._publish(keys=_keys(channel), args=[*given, again])
                    return
                except (OSError, redis.ConnectionError, redis.BusyLoadingError):
                    again = 1
                    await asyncio.sleep(_BACKOFF_SECONDS[0])

    async def recall(self, channel: str, after: Position | None) -> Past:
        """What was published after a position. Errors: Overloaded while Redis does not answer."""
        given = ["", 0] if after is None else [after.epoch, after.offset]
        try:
            found = await self._recall(keys=_keys(channel), args=[secrets.token_hex(8), *given])
        except ERRORS as error:
            raise _unreachable(error) from error
        epoch, top, *entries = found
        here = Position(epoch.decode(), int(top))
        if not entries:
            return Past(here, None)
        kept = (
            _opened(channel, b"%s:%s:%s" % (key.partition(b"-")[0], epoch, fields[1])) for key, fields in entries[0]
        )
        return Past(here, tuple(kept))

    async def aclose(self) -> None:
        """Ends its connections."""
        await self._listening.aclose()
        await self._client.aclose()


def _keys(channel: str) -> list[str]:
    # The braces keep both in one slot of a cluster.
    return [f"servey:channel:{{{channel}}}:history", f"servey:channel:{{{channel}}}:place"]


def _closed(message: Message) -> bytes:
    """A message as it travels: whom it is for, a line end, the event."""
    if message.subscriber_id is None and message.subject is None:
        return b"\n" + message.payload
    return to_json([message.subscriber_id, message.subject]) + b"\n" + message.payload


def _opened(channel: str, data: bytes) -> Message:
    offset, epoch, envelope = data.split(b":", 2)
    meant_for, _, payload = envelope.partition(b"\n")
    subscriber_id, subject = from_json(meant_for) if meant_for else (None, None)
    position = Position(epoch.decode(), int(offset)) if offset else None
    return Message(channel, payload, subscriber_id, subject, position)


def _unreachable(error: BaseException) -> Overloaded:
    logger.warning("Redis does not answer (%s)", type(error).__name__)
    return Overloaded("The event bus can not be reached; try again shortly")
