"""Publishing and enqueueing: nobody waits for somebody else's rule or channel, and a host's request never fails by it."""

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from servey import (
    WEB_POST,
    Context,
    Parts,
    Servey,
    Settings,
    action,
    background_action_channel,
    create_app,
    current_context,
    websocket_event_channel,
)
from servey.core.errors import Overloaded, ServeyError
from servey.core.messages import Message
from servey.events.subscriptions import open_subscription
from servey.runtime.lanes import Lanes
from servey.ws.memory_bus import MemoryBus
from tests.serving import redis_server

pytestmark = pytest.mark.anyio

seen = websocket_event_channel("seen", str)
news = websocket_event_channel("news", int)


async def test_a_rule_that_publishes_while_a_job_is_enqueued():
    async def rule(authorization: object, params: object) -> bool:
        await seen.publish("asked")
        return True

    @action(access_control=rule)
    async def later(n: int) -> int:
        return n

    @action(triggers=WEB_POST)
    async def start(context: Context) -> str:
        return await context.enqueue(later, {"n": 1})

    app = create_app(actions=[later, start], channels=[seen], settings=Settings(env="dev"))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
    ):
        async with asyncio.timeout(5):
            assert (await http.post("/actions/start")).status_code == 200


async def test_a_slow_rule_delays_no_event_and_no_other_job():
    free = asyncio.Event()

    async def rule(authorization: object, params: object) -> bool:
        await free.wait()
        return True

    @action(access_control=rule)
    async def guarded() -> None: ...

    @action()
    async def open_to_all() -> None: ...

    app = create_app(actions=[guarded, open_to_all], channels=[news], settings=Settings(env="dev"))
    async with app.runtime.lifespan(), app.runtime.context("test") as context, asyncio.timeout(5):
        waiting = asyncio.ensure_future(_id_of(context.enqueue(guarded)))
        await news.publish(1)
        assert await context.enqueue(open_to_all)
        assert not waiting.done()
        free.set()
        assert await waiting


async def _id_of(submitted):
    return await submitted


async def test_unawaited_events_keep_their_order():
    app = create_app(channels=[news], settings=Settings(env="dev"))
    async with app.runtime.lifespan(), asyncio.timeout(5):
        subscription = await open_subscription(app.runtime, "news", None)
        for number in range(100):
            news.publish(number)
        await asyncio.to_thread(news.publish, 100)
        assert [(await anext(subscription)).value for _ in range(101)] == list(range(101))


async def test_publishing_in_a_loop_lets_other_tasks_run():
    app = create_app(channels=[news], settings=Settings(env="dev"))
    async with app.runtime.lifespan(), asyncio.timeout(5):
        finished = asyncio.create_task(asyncio.sleep(0, "other"))
        for number in range(3):
            await news.publish(number)
        assert finished.done()


async def test_a_filter_that_publishes_does_not_change_the_order_for_others():
    def echo(event: int, authorization: object) -> bool:
        if event < 3 and event not in echoed:
            echoed.add(event)
            echoes.publish(event + 10)
        return True

    echoed: set[int] = set()
    echoes = websocket_event_channel("echoes", int, event_filter=echo, history=5)
    app = create_app(channels=[echoes], settings=Settings(env="dev"))
    async with app.runtime.lifespan(), asyncio.timeout(5):
        subscriptions = [await open_subscription(app.runtime, "echoes", None) for _ in range(3)]
        for number in range(3):
            echoes.publish(number)
        for subscription in subscriptions:
            items = [await anext(subscription) for _ in range(6)]
            assert [item.value for item in items] == [0, 10, 1, 2, 11, 12]
            assert [item.cursor.partition(":")[2] for item in items] == list("123456")


async def test_a_filter_does_not_see_the_call_that_published():
    def seen_in(event: int, authorization: object) -> bool:
        try:
            found.append(current_context().request_id)
        except ServeyError:
            found.append(None)
        return True

    found: list[str | None] = []
    filtered = websocket_event_channel("filtered", int, event_filter=seen_in)

    @action(triggers=WEB_POST)
    async def tell(n: int) -> None:
        await filtered.publish(n)

    app = create_app(actions=[tell], channels=[filtered], settings=Settings(env="dev"))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        asyncio.timeout(5),
    ):
        subscription = await open_subscription(app.runtime, "filtered", None)
        assert (await http.post("/actions/tell", json={"n": 1})).status_code == 200
        assert (await anext(subscription)).value == 1
    assert found == [None]


async def test_a_bus_with_a_publish_of_its_own_is_asked():
    class Slow(MemoryBus):
        async def publish(self, message: Message, *, history: int = 0) -> None:
            await asyncio.sleep(0.01)
            sent.append(int(message.payload))
            await super().publish(message, history=history)

    sent: list[int] = []
    app = create_app(channels=[news], settings=Settings(env="dev"), parts=Parts(bus=lambda settings: Slow()))
    async with app.runtime.lifespan(), asyncio.timeout(5):
        subscription = await open_subscription(app.runtime, "news", None)
        for number in range(3):
            news.publish(number)
        assert sent == []
        await news.publish(3)
        assert sent == [0, 1, 2, 3]
        assert [(await anext(subscription)).value for _ in range(4)] == sent


async def test_work_that_waits_after_its_first_step_holds_its_lane():
    lanes, order, gate = Lanes(), [], asyncio.Event()

    async def work(name: str, wait: bool = False) -> str:
        if wait:
            await gate.wait()
        order.append(name)
        return name

    async def fails() -> None:
        raise Overloaded("down")

    async with asyncio.timeout(5):
        assert await lanes.begin("a", lambda: work("a0")) == "a0"
        waiting = [lanes.begin("a", partial(work, "a1", wait=True)), lanes.begin("a", partial(work, "a2"))]
        assert await lanes.begin("b", lambda: work("b1")) == "b1"
        tasks = [asyncio.create_task(rest, context=context) for rest, context in reversed(waiting)]
        await asyncio.sleep(0)
        assert order == ["a0", "b1"]
        gate.set()
        assert await asyncio.gather(*tasks) == ["a2", "a1"]
        assert order == ["a0", "b1", "a1", "a2"]
        failing, context = lanes.begin("a", fails)
        with pytest.raises(Overloaded):
            await asyncio.create_task(failing, context=context)
    assert lanes._lanes == {}


async def test_lanes():
    lanes, order, gate = Lanes(), [], asyncio.Event()

    async def work(name: str, wait: bool = False) -> None:
        if wait:
            await gate.wait()
        order.append(name)

    async def nested() -> None:
        await lanes.run("b", lambda: lanes.run("a", lambda: work("inside")))
        order.append("outside")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(lanes.run("a", lambda: work("a1", wait=True)))
        group.create_task(lanes.run("a", lambda: work("a2")))
        group.create_task(lanes.run("b", lambda: work("b1")))
        group.create_task(lanes.run(None, lambda: work("none")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == ["b1", "none"]
        gate.set()
    assert order == ["b1", "none", "a1", "a2"]
    async with asyncio.timeout(5):
        await lanes.run("a", nested)
    assert order[4:] == ["inside", "outside"]
    assert lanes._lanes == {}


async def test_what_waits_behind_an_outage_fails_with_it(monkeypatch):
    monkeypatch.setattr("servey.runtime.lanes.OUTAGE_SECONDS", 0)
    lanes, began = Lanes(), 0

    async def fails() -> None:
        nonlocal began
        began += 1
        await asyncio.sleep(0.01)
        raise Overloaded("down")

    several = [lanes.run("a", fails) for _ in range(5)]
    assert all(isinstance(each, Overloaded) for each in await asyncio.gather(*several, return_exceptions=True))
    assert began == 1
    assert await lanes.run("a", lambda: asyncio.sleep(0, "up again")) == "up again"


async def test_a_redis_that_hangs_is_503_for_everyone_within_two_seconds():
    @action(triggers=WEB_POST)
    async def tell(n: int) -> None:
        await news.publish(n)

    with redis_server() as redis:
        app = create_app(actions=[tell], channels=[news], settings=Settings(env="dev", redis_url=redis.url))
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        ):
            assert (await http.post("/actions/tell", json={"n": 1})).status_code == 200
            redis.freeze()
            began = time.monotonic()
            answers = await asyncio.gather(*(http.post("/actions/tell", json={"n": n}) for n in range(8)))
            took = time.monotonic() - began
            redis.thaw()
        assert [(each.status_code, each.json()["code"]) for each in answers] == [(503, "overloaded")] * 8
        assert all("retry-after" in each.headers for each in answers)
        assert took < 3, took


@pytest.mark.parametrize(
    "commands",
    [["CONFIG SET maxmemory 1"], ["CONFIG SET min-replicas-to-write 1"], ["REPLICAOF 127.0.0.1 1"]],
    ids=["full", "not enough replicas", "read-only"],
)
@pytest.mark.parametrize("history", [0, 5])
async def test_a_redis_that_refuses_is_503(commands, history):
    channel = websocket_event_channel("refused", int, history=history)

    @action(triggers=WEB_POST)
    async def tell(n: int) -> None:
        await channel.publish(n)

    with redis_server() as redis:
        app = create_app(actions=[tell], channels=[channel], settings=Settings(env="dev", redis_url=redis.url))
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        ):
            assert (await http.post("/actions/tell", json={"n": 1})).status_code == 200
            for command in commands:
                assert redis.command(*command.split()) == b"+OK\r\n"
            # Redis accepts a plain PUBLISH in each of these states, because it stores nothing.
            expected = 503 if history else 200
            assert (await http.post("/actions/tell", json={"n": 2})).status_code == expected


# ------------------------------------------------------------------------------------------------ without a lifespan


def a_host(*channels, **servey):
    """A host's app with routes of its own that publish."""
    api = FastAPI()

    @api.post("/awaited")
    async def awaited() -> str:
        for channel in channels:
            await channel.publish(1)
        return "done"

    @api.post("/plain")
    def plain() -> str:
        for channel in channels:
            channel.publish(1)
        return "done"

    Servey(channels=channels, settings=Settings(env="dev"), **servey).install(api, prefix="/servey")
    return api


@action()
async def note(n: int) -> None: ...


def test_a_host_publishes_in_a_test_without_lifespan(caplog):
    host = a_host(websocket_event_channel("made", int, history=3), background_action_channel(note), actions=[note])
    plain_client = TestClient(host)
    for path in ("/awaited", "/plain", "/awaited"):
        assert plain_client.post(path).json() == "done"
    assert (
        caplog.text.count("the app's lifespan is not running") == caplog.text.count("use `with TestClient(app)`") == 1
    )


def test_a_host_publishes_in_an_async_test_without_lifespan():
    host = a_host(websocket_event_channel("made", int))

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=host), base_url="http://127.0.0.1") as http:
            for path in ("/awaited", "/plain"):
                assert (await http.post(path)).json() == "done"

    asyncio.run(main())


def test_each_of_two_running_apps_gets_the_events_of_its_own_channels():
    one, other = websocket_event_channel("one", int), websocket_event_channel("other", int)
    with TestClient(a_host(one)) as first, TestClient(a_host(other)) as second:
        assert [each.post(path).json() for each in (first, second) for path in ("/awaited", "/plain")] == ["done"] * 4


class Wrapper:
    """A bus around another one, which passes on everything but what it does itself."""

    def __init__(self, inner):
        self.inner = inner
        self.arrived = []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    @asynccontextmanager
    async def subscribe(self, channel):
        async with self.inner.subscribe(channel) as arrivals:
            yield self.noted(arrivals)

    async def noted(self, arrivals):
        async for arrival in arrivals:
            self.arrived.append(arrival.payload)
            yield arrival


async def test_a_bus_around_the_bus_in_memory_is_not_passed_by():
    bus = Wrapper(MemoryBus())
    app = create_app(channels=[news], settings=Settings(env="dev"), parts=Parts(bus=lambda settings: bus))
    async with app.runtime.lifespan(), asyncio.timeout(5):
        subscription = await open_subscription(app.runtime, "news", None)
        await news.publish(1)
        assert (await anext(subscription)).value == 1
    assert bus.arrived == [b"1"]
