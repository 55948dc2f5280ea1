"""Subscribing to channels, on each bus: what arrives, in which order, what is resumed, and why it ends."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from servey import Authorization, ScopeAccessControl, Settings, create_app, websocket_event_channel
from servey.core.errors import EventError, Forbidden, NotFound, Restarting, TooSlow, Unauthenticated
from servey.events.items import Event
from servey.events.subscriptions import open_subscription

pytestmark = pytest.mark.anyio

ADA = Authorization("ada", frozenset({"read"}))
BOB = Authorization("bob")


@pytest.fixture(params=["memory", "redis"])
def settings(request):
    url = request.getfixturevalue("redis").url if request.param == "redis" else None
    return Settings(env="dev", redis_url=url, channel_queue=50)


def a_channel(event_type=int, **options):
    return websocket_event_channel(f"channel-{uuid4().hex[:8]}", event_type, **options)


def running(settings, *channels):
    return create_app(channels=channels, settings=settings).runtime


async def take(subscription, count):
    """The next events, as values; fails when they do not come."""
    async with asyncio.timeout(5):
        return [(await anext(subscription)).value for _ in range(count)]


async def nothing_waits(channel, subscription):
    """Whether an event that is published now is the next one to arrive."""
    await channel.publish(-1, subscription.subscriber_id)
    return await take(subscription, 1) == [-1]


async def test_events_reach_every_subscriber_in_order(settings):
    channel = a_channel()
    runtime = running(settings, channel)
    async with runtime.lifespan():
        several = [await open_subscription(runtime, channel.name, None) for _ in range(3)]
        assert len({each.subscriber_id for each in several}) == 3
        for number in range(20):
            channel.publish(number)
        for subscription in several:
            assert await take(subscription, 20) == list(range(20))
            assert subscription.cursor is None and subscription.recovered is None


async def test_an_event_is_checked_before_it_goes_anywhere(settings):
    channel = a_channel(dict[str, int])
    runtime = running(settings, channel)
    async with runtime.lifespan():
        with pytest.raises(EventError, match="the event does not fit its type: a"):
            channel.publish({"a": "x"})


async def test_first_subscribers_at_once(settings):
    channel = a_channel()
    runtime = running(settings, channel)
    async with runtime.lifespan():
        several = await asyncio.gather(*(open_subscription(runtime, channel.name, None) for _ in range(50)))
        await channel.publish(1)
        assert [await take(each, 1) for each in several] == [[1]] * 50


async def test_the_last_one_leaves_and_another_comes(settings):
    channel = a_channel()
    runtime = running(settings, channel)
    async with runtime.lifespan():
        for number in range(20):
            subscription = await open_subscription(runtime, channel.name, None)
            await channel.publish(number)
            assert await take(subscription, 1) == [number]
            subscription.close()
            with pytest.raises(StopAsyncIteration):
                await anext(subscription)
        assert runtime.subscriptions.count == 0


async def test_whom_an_event_is_for(settings):
    channel = a_channel()
    runtime = running(settings, channel)
    async with runtime.lifespan():
        mine = await open_subscription(runtime, channel.name, ADA, subscriber_id="mine")
        other = await open_subscription(runtime, channel.name, ADA)
        bobs = await open_subscription(runtime, channel.name, BOB)
        anonymous = await open_subscription(runtime, channel.name, None)
        await channel.publish(1, "mine")
        await channel.publish(2, subject="ada")
        await channel.publish(3, other.subscriber_id, subject="bob")
        await channel.publish(4)
        assert await take(mine, 3) == [1, 2, 4]
        assert await take(other, 2) == [2, 4]
        assert await take(bobs, 1) == [4]
        assert await take(anonymous, 1) == [4]


async def test_filters(settings, caplog):
    def to_odd(event: int, authorization: Authorization | None) -> bool:
        if event == 5:
            raise ValueError("what")
        return event % 2 == 1 or (authorization is not None and authorization.has_scope("read"))

    channel = a_channel(event_filter=to_odd, history=10)
    runtime = running(settings, channel)
    async with runtime.lifespan():
        odd = await open_subscription(runtime, channel.name, None)
        everything = await open_subscription(runtime, channel.name, ADA)
        for number in range(8):
            await channel.publish(number)
        assert await take(odd, 3) == [1, 3, 7]
        assert await take(everything, 7) == [0, 1, 2, 3, 4, 6, 7]
        again = await open_subscription(runtime, channel.name, None, after=odd.cursor)
        assert await take(again, 3) == [1, 3, 7]
    assert "the filter of channel" in caplog.text


async def test_who_may_subscribe(settings):
    guarded = a_channel(access_control=ScopeAccessControl("read"))
    by_name = a_channel(access_control=lambda authorization, params: params["channel"] == by_name.name)
    runtime = running(settings, guarded, by_name)
    async with runtime.lifespan():
        with pytest.raises(Unauthenticated):
            await open_subscription(runtime, guarded.name, None)
        with pytest.raises(Forbidden):
            await open_subscription(runtime, guarded.name, BOB)
        with pytest.raises(Forbidden, match="does not accept a client's own subscriber_id"):
            await open_subscription(runtime, guarded.name, ADA, subscriber_id="mine")
        with pytest.raises(NotFound, match="There is no channel 'other'"):
            await open_subscription(runtime, "other", ADA)
        await open_subscription(runtime, guarded.name, ADA)
        await open_subscription(runtime, by_name.name, None)


async def test_it_ends_with_its_token(settings):
    channel = a_channel()
    runtime = running(settings, channel)
    async with runtime.lifespan():
        soon = Authorization("ada", expire_at=datetime.now(UTC) + timedelta(seconds=0.3))
        subscription = await open_subscription(runtime, channel.name, soon)
        renewed = await open_subscription(runtime, channel.name, soon)
        await renewed.reauthorize(Authorization("ada", expire_at=datetime.now(UTC) + timedelta(seconds=60)))
        with pytest.raises(Unauthenticated, match="expired"):
            await take(subscription, 1)
        await channel.publish(1)
        assert await take(renewed, 1) == [1]
        with pytest.raises(Unauthenticated):
            await open_subscription(runtime, channel.name, Authorization("ada", expire_at=datetime.now(UTC)))
        assert runtime.subscriptions.count == 1


async def test_a_slow_one_is_dropped_and_no_one_else_waits(settings):
    channel = a_channel(str)
    runtime = running(settings, channel)
    async with runtime.lifespan():
        slow = await open_subscription(runtime, channel.name, None)
        quick = await open_subscription(runtime, channel.name, None)
        for _ in range(51):
            await channel.publish("x")
            assert await take(quick, 1) == ["x"]
        with pytest.raises(TooSlow):
            await take(slow, 1)
        large = await open_subscription(runtime, channel.name, None)
        await channel.publish("x" * (1 << 20))
        with pytest.raises(TooSlow):
            await take(large, 1)


async def test_it_ends_with_the_process(settings):
    channel = a_channel()
    runtime = running(settings, channel)
    async with runtime.lifespan():
        subscription = await open_subscription(runtime, channel.name, None)
        waiting = asyncio.create_task(take(subscription, 1))
        await asyncio.sleep(0)
        runtime.stopping.set()
        with pytest.raises(Restarting):
            await waiting
        with pytest.raises(Restarting):
            await open_subscription(runtime, channel.name, None)


async def test_resuming_at_every_place(settings):
    channel = a_channel(history=20)
    runtime = running(settings, channel)
    async with runtime.lifespan():
        first = await open_subscription(runtime, channel.name, None)
        cursors = [first.cursor]
        for number in range(1, 31):
            await channel.publish(number)
            event = await anext(first)
            assert isinstance(event, Event) and event.value == number
            cursors.append(event.cursor)
        for number, cursor in enumerate(cursors):
            again = await open_subscription(runtime, channel.name, None, after=cursor)
            if number < 10:
                assert (again.recovered, again.cursor) == (False, cursors[-1])
                assert await take(again, 0) == [] and not again.replay
            else:
                assert (again.recovered, again.cursor) == (True, cursor)
                assert await take(again, 30 - number) == list(range(number + 1, 31))


@pytest.mark.parametrize(
    "cursor",
    ["", ":", "x", "x:", ":1", "x:-1", "x:1e3", "x:99999999999999999999", "x:1", "ü:1", "x y:1", "x" * 65 + ":1"],
)
async def test_a_cursor_of_no_place(settings, cursor):
    channel = a_channel(history=5)
    runtime = running(settings, channel)
    async with runtime.lifespan():
        await channel.publish(1)
        again = await open_subscription(runtime, channel.name, None, after=cursor)
        assert again.recovered is False
        assert await nothing_waits(channel, again)


async def test_a_cursor_ahead_of_its_channel(settings):
    channel = a_channel(history=5)
    runtime = running(settings, channel)
    async with runtime.lifespan():
        epoch = (await open_subscription(runtime, channel.name, None)).cursor.partition(":")[0]
        for cursor, recovered in ((f"{epoch}:0", True), (f"{epoch}:1", False)):
            again = await open_subscription(runtime, channel.name, None, after=cursor)
            assert again.recovered is recovered


async def test_no_event_is_lost_or_doubled_where_the_past_meets_the_present(settings):
    channel = a_channel(history=100)
    runtime = running(settings, channel)
    async with runtime.lifespan():
        cursor = (await open_subscription(runtime, channel.name, None)).cursor
        received: list[int] = []

        async def publish():
            for number in range(300):
                await channel.publish(number)
                if number % 7 == 0:
                    await asyncio.sleep(0.001)

        publishing = asyncio.create_task(publish())
        while len(received) < 300:
            subscription = await open_subscription(runtime, channel.name, None, after=cursor)
            assert subscription.recovered
            for _ in range(min(11, 300 - len(received))):
                event = await anext(subscription)
                received.append(event.value)
                cursor = event.cursor
            subscription.close()
        await publishing
        assert received == list(range(300))


async def test_a_host_s_own_code_publishes_while_one_app_runs(settings):
    channel = a_channel()
    runtime = running(settings, channel)
    async with runtime.lifespan():
        subscription = await open_subscription(runtime, channel.name, None)
        await asyncio.to_thread(channel.publish, 7)
        assert await take(subscription, 1) == [7]
