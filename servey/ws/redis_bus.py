"""The Redis bus: pub/sub for live events, a stream for the history of a channel, and reconnection.

It is Broadcaster with a backend of our own: one subscription of each process for each channel. Broadcaster's own backend
loses its subscribers when Redis restarts.

A position is an epoch and an offset. A restart of the Redis server starts a new epoch, because the server may have lost its
last second. The last offset of the old epoch is stored: positions up to it stay valid, later ones do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from broadcaster import Broadcast, BroadcastBackend
from broadcaster import Event as Broadcasted
from pydantic_core import from_json, to_json
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from servey.calls.supervise import Supervising, supervise
from servey.compat.redis import cancellable
from servey.compat.redis_location import async_pool
from servey.core.errors import Overloaded
from servey.core.messages import Gap, Message, Past, Position
from servey.observability.metrics import Metrics

logger: logging.Logger = logging.getLogger("servey")

ERRORS = (RedisError, OSError, TimeoutError, EOFError)
_WAITING_EVENTS = 10_000
"""The most events that may be queued between Redis and the listener."""
_ANSWER_SECONDS = 2.0
_CHECK_SECONDS = 60
"""How long the key remains that a check writes."""
_ACKNOWLEDGE_SECONDS = 2.0
_SILENCE_SECONDS = 3.0
"""After this time without an event the connection is pinged, and closed if the ping is not answered in the same time."""
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


class _Unattached:
    """What supervises the reader task of a bus that no app uses."""

    def __init__(self) -> None:
        self.failed_tasks: dict[str, str] = {}
        self.metrics = Metrics()


class RedisBackend(BroadcastBackend):
    """One connection for all subscriptions of this process. One task owns the connection, reconnects when it is lost or
    silent, and subscribes to every wanted channel.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self.process: Supervising = _Unattached()
        self._client = client
        self._prefix = prefix
        self._wanted: set[str] = set()
        self._some_wanted = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._changing = asyncio.Lock()
        self._pubsub: Any = None
        self._queue: asyncio.Queue[Broadcasted] = asyncio.Queue(_WAITING_EVENTS)
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Start the reader task."""
        name = "events from Redis"
        self._task = asyncio.create_task(supervise(name, self._run, self.process), name=name)

    async def disconnect(self) -> None:
        """Stop the reader task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def subscribe(self, group: str) -> None:
        """Wait until Redis has acknowledged the subscription; if it does not, a `Gap` arrives once it has."""
        async with self._changing:
            acknowledged = self._waiting[group] = asyncio.get_running_loop().create_future()
            self._wanted.add(group)
            self._some_wanted.set()
            if self._pubsub is not None:
                # If this fails, the reader task reconnects and subscribes to everything.
                with contextlib.suppress(*ERRORS):
                    await self._pubsub.subscribe(self._prefix + group)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                await asyncio.shield(acknowledged)
        self._waiting.pop(group, None)

    async def unsubscribe(self, group: str) -> None:
        """Unsubscribe."""
        async with self._changing:
            self._wanted.discard(group)
            if not self._wanted:
                self._some_wanted.clear()
            if self._pubsub is not None:
                with contextlib.suppress(*ERRORS):
                    await self._pubsub.unsubscribe(self._prefix + group)

    async def publish(self, channel: str, message: Any) -> None:
        """Publish an envelope to every process. Errors: those of redis-py."""
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
                if self._wanted - asked:  # added while this was connecting
                    await pubsub.subscribe(*(self._prefix + channel for channel in self._wanted - asked))
                await self._read(pubsub)
                delay = low
                continue
            except ERRORS as error:
                if self._pubsub is not None:
                    delay = low
                logger.warning("the connection for events from Redis was lost (%s); reconnecting", type(error).__name__)
            finally:
                self._pubsub = None
                with contextlib.suppress(*ERRORS):
                    await pubsub.aclose()
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, high)

    async def _read(self, pubsub: Any) -> None:
        pinged = False
        while pubsub.subscribed:
            arrived = await pubsub.get_message(timeout=_SILENCE_SECONDS)
            if arrived is None:
                if pinged:
                    raise ConnectionError("silence")
                await pubsub.ping()
                pinged = True
                continue
            pinged = False
            if arrived["type"] == "message":
                channel = arrived["channel"].decode().removeprefix(self._prefix)
                message = _unpack(channel, arrived["data"])
                if message is not None:
                    await self._queue.put(Broadcasted(channel, message))  # type: ignore[arg-type]
            elif arrived["type"] == "subscribe":
                channel = arrived["channel"].decode().removeprefix(self._prefix)
                waiting = self._waiting.pop(channel, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
                else:
                    await self._queue.put(Broadcasted(channel, Gap()))  # type: ignore[arg-type]


class _Listening:
    """A Broadcaster that connects on first use."""

    def __init__(self, backend: BroadcastBackend) -> None:
        self._broadcast = Broadcast(backend=backend)
        self._connected: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[Message | Gap]]:
        """Everything that the backend receives for a channel from now on."""
        if self._connected is None:
            self._connected = asyncio.create_task(self._broadcast.connect())
        await asyncio.shield(self._connected)
        async with self._broadcast.subscribe(channel) as subscriber:
            yield _arrivals(subscriber)

    async def publish(self, channel: str, message: Any) -> None:
        """Publish a message with the backend."""
        await self._broadcast.publish(channel, message)

    async def aclose(self) -> None:
        """Disconnect."""
        if self._connected is not None:
            await self._connected
            await self._broadcast.disconnect()


async def _arrivals(subscriber: Any) -> AsyncIterator[Message | Gap]:
    while True:
        yield (await subscriber.get()).message


class RedisBus:
    """A bus between processes over one Redis."""

    def __init__(self, url: str, prefix: str) -> None:
        """``prefix`` starts every key and pub/sub channel."""
        self._client: Any = cancellable(
            redis.Redis.from_pool(
                async_pool(
                    url,
                    prefix,
                    socket_timeout=_ANSWER_SECONDS,
                    socket_connect_timeout=_ANSWER_SECONDS,
                    socket_keepalive=True,
                    retry=Retry(NoBackoff(), 0),
                )
            )
        )
        # Redis databases separate keys, but not pub/sub channels.
        database = self._client.connection_pool.connection_kwargs.get("db", 0)
        self._prefix = f"{prefix}events:{database}:"
        self._keys = f"{prefix}channel:"
        self._backend = RedisBackend(self._client, self._prefix)
        self._listening = _Listening(self._backend)
        self._publish = self._client.register_script(PUBLISH)
        self._recall = self._client.register_script(RECALL)

    def attach(self, process: Supervising) -> None:
        """Report failures of the reader task to this app."""
        self._backend.process = process

    async def check(self) -> None:
        """Check that Redis answers and takes writes, as for the history of a channel. Errors: those of redis-py."""
        await self._client.set(f"{self._keys}check", b"", ex=_CHECK_SECONDS)

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Everything published on a channel by any process from now on."""
        return self._listening.subscribe(channel)

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Return once Redis has accepted the message. Errors: Overloaded if it does not answer."""
        envelope = _pack(message)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if history:
                    await self._publish_with_history(message.channel, envelope, history)
                else:
                    await self._listening.publish(message.channel, b"::" + envelope)
        except ERRORS as error:
            raise _unreachable(error) from error

    async def _publish_with_history(self, channel: str, envelope: bytes, history: int) -> None:
        """Retry until the time is over; the id of an attempt prevents a second copy if only the answer was lost."""
        given = [secrets.token_hex(8), envelope, history, self._prefix + channel, secrets.token_hex(8)]
        is_retry = 0
        while True:
            try:
                await self._publish(keys=self._keys_of(channel), args=[*given, is_retry])
                return
            except (OSError, redis.ConnectionError, redis.BusyLoadingError):
                is_retry = 1
                await asyncio.sleep(_BACKOFF_SECONDS[0])

    async def recall(self, channel: str, after: Position | None) -> Past:
        """The messages after a position. Errors: Overloaded if Redis does not answer."""
        given = ["", 0] if after is None else [after.epoch, after.offset]
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await self._recall(keys=self._keys_of(channel), args=[secrets.token_hex(8), *given])
        except ERRORS as error:
            raise _unreachable(error) from error
        epoch, top, *entries = found
        newest = Position(epoch.decode(), int(top))
        if not entries:
            return Past(newest, None)
        messages = []
        for key, fields in entries[0]:
            message = _unpack(channel, b"%s:%s:%s" % (key.partition(b"-")[0], epoch, fields[1]))
            if message is None:
                return Past(newest, None)
            messages.append(message)
        return Past(newest, tuple(messages))

    def _keys_of(self, channel: str) -> list[str]:
        return [f"{self._keys}{channel}:history", f"{self._keys}{channel}:place"]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._listening.aclose()
        await self._client.aclose()


def _pack(message: Message) -> bytes:
    """The envelope of a message: its addressee as JSON, a newline, the event."""
    if message.subscriber_id is None and message.subject is None:
        return b"\n" + message.payload
    return to_json([message.subscriber_id, message.subject]) + b"\n" + message.payload


def _unpack(channel: str, data: bytes) -> Message | None:
    """The message of an envelope; None, with a line in the log, for anything else that was published to the channel."""
    try:
        return _parse(channel, data)
    except Exception as error:
        logger.warning("channel '%s': a message in Redis is not an event and is skipped (%s)", channel, _short(error))
        return None


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _parse(channel: str, data: bytes) -> Message:
    offset, epoch, envelope = data.split(b":", 2)
    addressee, separator, payload = envelope.partition(b"\n")
    subscriber_id, subject = from_json(addressee) if addressee else (None, None)
    if not separator or not all(each is None or isinstance(each, str) for each in (subscriber_id, subject)):
        raise ValueError("it has no addressee")
    from_json(payload)
    position = Position(epoch.decode(), int(offset)) if offset else None
    return Message(channel, payload, subscriber_id, subject, position)


def _unreachable(error: BaseException) -> Overloaded:
    logger.warning("Redis does not answer (%s)", type(error).__name__)
    return Overloaded("The event bus cannot be reached; try again shortly")
