"""Clients that leave, stop reading, or never initialize: nothing stays open, nothing is logged as a failure."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends

from servey import WEB_GET, action, websocket_event_channel
from servey.http import sending
from tests.graphql.graphql_client import app_of

pytestmark = pytest.mark.anyio

EVENTS: list[str] = []
news = websocket_event_channel("news", str)


async def resource() -> AsyncIterator[str]:
    EVENTS.append("opened")
    try:
        yield "r"
    finally:
        EVENTS.append("closed")


@action(triggers=WEB_GET)
async def count(upto: int = 10**9, held: Annotated[str, Depends(resource)] = "") -> AsyncIterator[int]:
    try:
        for number in range(upto):
            yield number
    finally:
        EVENTS.append("ended")


@action(triggers=WEB_GET)
async def pending() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


class Client:
    """A bare ASGI client: it stops reading after ``reads`` messages; a send after `leave` fails."""

    def __init__(self, app: Any, scope: dict, messages: list[dict], reads: int = 10**9) -> None:
        self.app, self.scope, self.reads = app, scope, reads
        self.inbox: asyncio.Queue[dict] = asyncio.Queue()
        for message in messages:
            self.inbox.put_nowait(message)
        self.sent: list[dict] = []
        self.received = asyncio.Event()
        self.left = asyncio.Event()

    async def send(self, message: dict) -> None:
        if self.left.is_set():
            raise OSError("the connection is closed")
        self.sent.append(message)
        self.received.set()
        if len(self.sent) > self.reads:
            await self.left.wait()
            raise OSError("the connection is closed")

    async def until(self, count: int) -> None:
        while len(self.sent) < count:
            self.received.clear()
            await self.received.wait()

    def texts(self) -> list[dict]:
        return [json.loads(each["text"]) for each in self.sent if each.get("text")]

    def close_code(self) -> int | None:
        return next((each["code"] for each in self.sent if each["type"] == "websocket.close"), None)

    def start(self) -> asyncio.Task:
        return asyncio.create_task(self.app(self.scope, self.inbox.get, self.send))


BASE = {
    "path": "/graphql", "raw_path": b"/graphql", "query_string": b"", "server": ("x", 80), "client": ("1", 1),
    "root_path": "", "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.4"}, "extensions": {},
}  # fmt: skip


def sse(app: Any, query: str, **options: Any) -> Client:
    body = json.dumps({"query": query}).encode()
    headers = [(b"host", b"localhost"), (b"accept", b"text/event-stream"), (b"content-type", b"application/json")]
    scope = {**BASE, "type": "http", "method": "POST", "scheme": "http", "headers": headers, "state": {}}
    return Client(app, scope, [{"type": "http.request", "body": body, "more_body": False}], **options)


def websocket(app: Any, *messages: dict, **options: Any) -> Client:
    scope = {**BASE, "type": "websocket", "scheme": "ws", "headers": [(b"host", b"localhost")], "state": {}}
    scope["subprotocols"] = ["graphql-transport-ws"]
    frames = [{"type": "websocket.receive", "text": json.dumps(each)} for each in messages]
    return Client(app, scope, [{"type": "websocket.connect"}, *frames], **options)


INIT = {"type": "connection_init"}


def subscribe(query: str, number: str = "1") -> dict:
    return {"type": "subscribe", "id": number, "payload": {"query": query}}


@pytest.fixture(autouse=True)
def forget():
    EVENTS.clear()


@pytest.fixture
def stalled(monkeypatch):
    monkeypatch.setattr(sending, "STALLED_SECONDS", 0.2)


@pytest.mark.parametrize("kind", ["sse", "websocket"])
async def test_a_client_that_stops_reading_is_given_up(stalled, kind):
    app = app_of(count)
    query = "subscription { count }"
    client = sse(app, query, reads=5) if kind == "sse" else websocket(app, INIT, subscribe(query), reads=5)
    async with app.runtime.lifespan(), asyncio.timeout(10):
        await client.start()
    assert EVENTS == ["opened", "ended", "closed"]


async def test_one_stalled_operation_closes_the_socket_with_all_of_its_operations(stalled):
    app = app_of(count)
    operations = [subscribe("subscription { count }", str(number)) for number in range(3)]
    client = websocket(app, INIT, *operations, reads=8)
    async with app.runtime.lifespan(), asyncio.timeout(10):
        await client.start()
    assert sorted(EVENTS) == ["closed"] * 3 + ["ended"] * 3 + ["opened"] * 3


@pytest.mark.parametrize("kind", ["sse", "websocket"])
@pytest.mark.parametrize("how", ["message", "send"])
async def test_a_client_that_leaves_is_no_failure(kind, how, caplog):
    """The server learns of it by a disconnect message, or because sending fails."""
    app = app_of(count)
    query = "subscription { count }"
    client = sse(app, query) if kind == "sse" else websocket(app, INIT, subscribe(query))
    with caplog.at_level(logging.DEBUG):
        async with app.runtime.lifespan(), asyncio.timeout(10):
            task = client.start()
            await client.until(5)
            if how == "send":
                client.left.set()
            client.inbox.put_nowait(
                {"type": "http.disconnect" if kind == "sse" else "websocket.disconnect", "code": 1006}
            )
            await task
    assert EVENTS == ["opened", "ended", "closed"]
    assert [each for each in caplog.records if each.exc_info or each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("messages", [[], [{"type": "ping"}], [{"type": "ping"}, {"type": "pong"}] * 3])
async def test_a_socket_that_never_initializes_is_closed(messages, monkeypatch):
    monkeypatch.setattr("servey.graphql.sockets._INIT_SECONDS", 0.1)
    app = app_of(count)
    client = websocket(app, *messages)
    async with app.runtime.lifespan(), asyncio.timeout(10):
        await client.start()
    assert client.close_code() == 4408


async def test_an_initialized_socket_stays_open(monkeypatch):
    monkeypatch.setattr("servey.graphql.sockets._INIT_SECONDS", 0.05)
    app = app_of(count)
    client = websocket(app, {"type": "ping"}, INIT)
    async with app.runtime.lifespan(), asyncio.timeout(10):
        task = client.start()
        done, _ = await asyncio.wait({task}, timeout=0.3)
        assert not done
        client.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await task
    assert [each["type"] for each in client.texts()] == ["pong", "connection_ack"]


async def test_over_the_limit_the_oldest_idle_socket_is_closed():
    app = app_of(count, channels=[news], channel_connections=2)
    busy = websocket(app, INIT, subscribe("subscription { news }"))
    idle, silent, newest = websocket(app, INIT), websocket(app, {"type": "ping"}), websocket(app, INIT)
    async with app.runtime.lifespan(), asyncio.timeout(10):
        tasks = []
        for client, messages in ((busy, 2), (idle, 2), (silent, 2), (newest, 2)):
            tasks.append(client.start())
            await client.until(messages)
        await asyncio.wait(tasks[1:3])
        assert (idle.close_code(), silent.close_code()) == (4429, 4429)
        assert not tasks[0].done()
        assert not tasks[3].done()
        for client in (busy, newest):
            client.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.gather(*tasks)


async def test_subscriptions_are_counted_on_every_transport():
    app = app_of(count, channels=[news], channel_connections=2)
    streams = [subscribe("subscription { news }", str(number)) for number in range(5)]
    client = websocket(app, INIT, *streams)
    async with app.runtime.lifespan(), asyncio.timeout(10):
        task = client.start()
        await client.until(2 + 3)
        refused = [each for each in client.texts() if each["type"] == "error"]
        assert [each["payload"][0]["extensions"]["code"] for each in refused] == ["overloaded"] * 3
        while app.runtime.subscriptions.count < 2:
            await asyncio.sleep(0.01)
        assert app.runtime.subscriptions.count == 2
        other = sse(app, "subscription { news }")
        await other.start()
        assert other.sent[0]["status"] == 503
        client.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await task
        again = sse(app, "subscription { count(upto: 1) }")
        await again.start()
        assert again.sent[0]["status"] == 200


async def test_a_silent_stream_is_pinged_as_often_as_the_setting_says():
    app = app_of(pending, channel_ping=0.01)
    client = sse(app, "subscription { pending }")
    async with app.runtime.lifespan(), asyncio.timeout(10):
        task = client.start()
        await client.until(5)
        client.inbox.put_nowait({"type": "http.disconnect"})
        await task
    assert [each["body"] for each in client.sent[2:5]] == [b": ping\n\n"] * 3
