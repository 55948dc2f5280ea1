"""A Redis that others use too: two apps, a user restricted to one prefix, and messages that are no events."""

import asyncio
import logging
from uuid import uuid4

import pytest
from redis import asyncio as redis_client

from servey import (
    WEB_GET,
    ConfigError,
    Settings,
    TtlCacheControl,
    action,
    create_app,
    invalidate,
    websocket_event_channel,
)
from servey.calls.invoke import invoke
from servey.core.messages import Past
from servey.events.subscriptions import open_subscription
from servey.runtime.health import Readiness
from servey.ws.redis_bus import RedisBus
from tests.serving import redis_server

pytestmark = pytest.mark.anyio


def a_namespace() -> str:
    return f"app-{uuid4().hex[:8]}"


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False))
async def kept(n: int) -> str:
    return uuid4().hex


async def call(app, n=1):
    async with app.runtime.context("test") as context:
        return await invoke(kept.servey_action, {"n": n}, context)


async def test_apps_with_one_redis_never_meet(redis):
    channels = [websocket_event_channel("shared", str, history=5) for _ in range(2)]
    apps = [
        create_app(
            actions=[kept],
            channels=[channel],
            settings=Settings(env="dev", redis_url=redis.url, namespace=a_namespace()),
        )
        for channel in channels
    ]
    async with apps[0].runtime.lifespan(), apps[1].runtime.lifespan(), asyncio.timeout(10):
        listening = [await open_subscription(app.runtime, "shared", None) for app in apps]
        await channels[0].publish("for the first")
        await channels[1].publish("for the second")
        assert [(await anext(each)).value for each in listening] == ["for the first", "for the second"]
        again = await open_subscription(apps[1].runtime, "shared", None, after=listening[1].cursor)
        assert [each.value for each in again.replay] == ["for the second"]
        results = [await call(app) for app in apps]
        assert results[0] != results[1]
        assert [await call(app) for app in apps] == results


async def test_a_user_that_may_only_use_one_prefix():
    namespace = a_namespace()
    with redis_server() as redis:
        rules = f"ACL SETUSER app on >secret ~{{{namespace}}}:* &{{{namespace}}}:* +@all -@admin -@dangerous +info"
        assert redis.command(*rules.split()) == b"+OK\r\n"
        url = redis.url.replace("redis://", "redis://app:secret@")
        channel = websocket_event_channel("news", int, history=5)
        plain = websocket_event_channel("plain", int)
        app = create_app(
            actions=[kept], channels=[channel, plain], settings=Settings(env="dev", redis_url=url, namespace=namespace)
        )
        async with app.runtime.lifespan(), asyncio.timeout(10):
            for each in (channel, plain):
                subscription = await open_subscription(app.runtime, each.name, None)
                await each.publish(1)
                assert (await anext(subscription)).value == 1
            first = await call(app)
            assert await call(app) == first
            async with app.runtime.context("test"):
                await invalidate(kept)
            assert await call(app) != first
            assert await Readiness(app.runtime).failing_parts() == []
        async with redis_client.Redis.from_url(redis.url) as everything:
            keys = [key.decode() async for key in everything.scan_iter()]
        assert keys and all(key.startswith(f"{{{namespace}}}:") for key in keys)


ODD = [
    b"hello from redis-cli",
    b"",
    b"::",
    b"a:b:c\nd",
    b"::\nno json",
    b'::["a"]\n1',
    b"::[1,2]\n1",
    b"\xff\xfe::\n1",
    b"1:e:{}\n1",
]


@pytest.mark.parametrize("history", [0, 5])
async def test_a_message_that_is_no_event_is_skipped(redis, history, caplog):
    namespace = a_namespace()
    channel = websocket_event_channel("odd", int, history=history)
    app = create_app(channels=[channel], settings=Settings(env="dev", redis_url=redis.url, namespace=namespace))
    async with app.runtime.lifespan(), asyncio.timeout(10), redis_client.Redis.from_url(redis.url) as other:
        subscription = await open_subscription(app.runtime, "odd", None)
        for odd in ODD:
            assert await other.publish(f"{{{namespace}}}:events:0:odd", odd) == 1
            await channel.publish(7)
            assert (await anext(subscription)).value == 7
        assert await Readiness(app.runtime).failing_parts() == []
    assert sum("is not an event and is skipped" in each.getMessage() for each in caplog.records) == len(ODD)


async def test_a_stored_message_that_is_no_event_makes_the_history_incomplete(redis):
    namespace = a_namespace()
    channel = websocket_event_channel("odd", int, history=5)
    app = create_app(channels=[channel], settings=Settings(env="dev", redis_url=redis.url, namespace=namespace))
    async with app.runtime.lifespan(), asyncio.timeout(10), redis_client.Redis.from_url(redis.url) as other:
        begun = await open_subscription(app.runtime, "odd", None)
        await channel.publish(1)
        assert (await anext(begun)).value == 1
        await other.xtrim(f"{{{namespace}}}:channel:odd:history", maxlen=0)
        await other.xadd(f"{{{namespace}}}:channel:odd:history", {"m": "odd", "i": "odd"}, id="1-1")
        resumed = await open_subscription(app.runtime, "odd", None, after=begun.cursor)
        assert resumed.recovered is False and resumed.replay == []
        await channel.publish(2)
        assert (await anext(resumed)).value == 2


async def test_a_reader_that_fails_is_restarted_and_reported(redis, monkeypatch, caplog):
    channel = websocket_event_channel("fragile", int)
    app = create_app(channels=[channel], settings=Settings(env="dev", redis_url=redis.url, namespace=a_namespace()))
    failures, seen = 0, []

    async def fail_once(pubsub):
        nonlocal failures
        failures += 1
        if failures == 1:
            raise KeyError("a bug")
        seen.append(await Readiness(app.runtime).failing_parts())
        await read(pubsub)

    async with app.runtime.lifespan(), asyncio.timeout(10):
        read = app.runtime.bus._backend._read
        monkeypatch.setattr(app.runtime.bus._backend, "_read", fail_once)
        subscription = await open_subscription(app.runtime, "fragile", None)
        while not seen:
            await asyncio.sleep(0.01)
        await channel.publish(1)
        item = await anext(subscription)
        while not hasattr(item, "value"):
            item = await anext(subscription)
        assert item.value == 1
    assert seen == [["events from Redis"]]
    assert any("task 'events from Redis' failed" in each.getMessage() for each in caplog.records)


async def test_readiness_says_that_the_bus_does_not_answer():
    channel = websocket_event_channel("news", int)
    with redis_server() as redis:
        app = create_app(channels=[channel], settings=Settings(env="dev", redis_url=redis.url, namespace=a_namespace()))
        async with app.runtime.lifespan():
            assert await Readiness(app.runtime).failing_parts() == []
            redis.freeze()
            assert await Readiness(app.runtime).failing_parts() == ["bus"]
            redis.thaw()


async def test_events_of_another_version_are_skipped(redis, caplog):
    namespace = a_namespace()
    channel = websocket_event_channel("typed", int, event_filter=lambda event, authorization: event > 0)
    app = create_app(channels=[channel], settings=Settings(env="dev", redis_url=redis.url, namespace=namespace))
    older = RedisBus(redis.url, f"{{{namespace}}}:")
    async with app.runtime.lifespan(), asyncio.timeout(10):
        subscription = await open_subscription(app.runtime, "typed", None)
        async with redis_client.Redis.from_url(redis.url) as other:
            await other.publish(f"{{{namespace}}}:events:0:typed", b'::\n{"not": "an int"}')
        await channel.publish(3)
        assert (await anext(subscription)).value == 3
        assert isinstance(await older.recall("typed", None), Past)
    await older.aclose()


@pytest.mark.parametrize("failure", [RuntimeError("no"), SystemExit(1), asyncio.CancelledError()], ids=repr)
async def test_whatever_a_filter_raises_ends_nothing(failure, caplog):
    def decide(event, authorization):
        if event == 1:
            raise failure
        return True

    channel = websocket_event_channel("filtered", int, event_filter=decide)
    app = create_app(channels=[channel], settings=Settings(env="dev"))
    async with app.runtime.lifespan(), asyncio.timeout(10):
        subscription = await open_subscription(app.runtime, "filtered", None)
        await channel.publish(1)
        await channel.publish(2)
        assert (await anext(subscription)).value == 2


async def test_a_filter_is_no_async_function(caplog):
    async def decide(event, authorization):
        return False

    with pytest.raises(ConfigError, match=r"channel 'slow': its event_filter is an async def"):
        websocket_event_channel("slow", int, event_filter=decide)
    channel = websocket_event_channel(
        "hidden", int, event_filter=lambda event, authorization: decide(event, authorization)
    )
    app = create_app(channels=[channel], settings=Settings(env="dev"))
    caplog.set_level(logging.CRITICAL)
    async with app.runtime.lifespan(), asyncio.timeout(10):
        subscription = await open_subscription(app.runtime, "hidden", None)
        await channel.publish(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(subscription)


async def test_a_subscriber_that_cannot_be_sent_to_ends_nobody_else(caplog):
    channel = websocket_event_channel("several", int)
    app = create_app(channels=[channel], settings=Settings(env="dev"))

    def fails(item):
        raise OSError("gone")

    async with app.runtime.lifespan(), asyncio.timeout(10):
        broken = await open_subscription(app.runtime, "several", None)
        ended: list[Exception] = []
        broken.attach(fails, ended.append)
        healthy = await open_subscription(app.runtime, "several", None)
        await channel.publish(1)
        await channel.publish(2)
        assert [(await anext(healthy)).value for _ in range(2)] == [1, 2]
        assert [each.code for each in ended] == ["restarting"]
