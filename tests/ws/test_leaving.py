"""Clients that leave at once or do not read, at the level of ASGI: nothing is raised, and nothing is held for them."""

import asyncio
from typing import Any

import pytest

from servey import WEB_POST, Settings, action, create_app, websocket_event_channel
from servey.core.messages import Message
from servey.testing import client
from tests.serving import wait_until

pytestmark = pytest.mark.anyio

numbers = websocket_event_channel("numbers", int, history=5)
HEADERS = [(b"host", b"127.0.0.1")]


@pytest.fixture
def app() -> Any:
    return create_app(channels=[numbers], settings=Settings(env="dev"))


def scope(path: str = "/subscription") -> dict[str, Any]:
    return {"type": "websocket", "path": path, "query_string": b"", "headers": HEADERS, "subprotocols": []}


async def serve(app: Any, messages: list[dict[str, Any]], send: Any, path: str = "/subscription") -> None:
    """Serve one websocket whose client sends these messages and then nothing."""

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async with asyncio.timeout(5):
        await app(scope(path), receive, send)


@pytest.mark.parametrize("path", ["/subscription", "/subscription/numbers", "/subscription/nothing"])
async def test_a_client_that_leaves_during_the_handshake(app, path, caplog):
    async def send(message: dict[str, Any]) -> None:
        raise OSError("the client has left")

    async with app.router.lifespan_context(app):
        await serve(app, [{"type": "websocket.connect"}], send, path)
        await serve(app, [{"type": "websocket.disconnect", "code": 1006}], send, path)
    assert "Traceback" not in caplog.text


async def test_a_client_that_does_not_read_its_answers_is_disconnected(app, monkeypatch):
    monkeypatch.setattr("servey.ws.senders.STALLED_SECONDS", 0.05)
    monkeypatch.setattr("servey.ws.senders._CLOSE_SECONDS", 0.05)
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "websocket.send":
            await asyncio.Event().wait()

    async def send_without_close(message: dict[str, Any]) -> None:
        await send(message)
        if message["type"] == "websocket.close":
            await asyncio.Event().wait()

    async with app.router.lifespan_context(app):
        for each in (send, send_without_close):
            sent.clear()
            messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "not JSON"}]
            if each is send:
                messages.append({"type": "websocket.disconnect", "code": 4408})
            await serve(app, messages, each)
            assert sent == ["websocket.accept", "websocket.send", "websocket.close"]


@action(triggers=WEB_POST)
async def publish(number: int) -> None:
    await numbers.publish(number)


def test_a_graphql_subscription_skips_an_event_of_another_version(caplog):
    app = create_app(actions=[publish, publish_odd], channels=[numbers], settings=Settings(env="dev"))
    publish_odd.runtime = app.runtime
    with client(app) as http, http.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json()["type"] == "connection_ack"
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": "subscription { numbers }"}})
        wait_until(lambda: app.runtime._states.running.subscriptions.count == 1, "the subscription")
        http.post("/actions/publish-odd")
        http.post("/actions/publish", json={"number": 7})
        assert socket.receive_json()["payload"] == {"data": {"numbers": 7}}
    assert "channel 'numbers': an event does not fit its type and is skipped" in caplog.text
    assert "no number" not in caplog.text


@action(triggers=WEB_POST)
async def publish_odd() -> None:
    await publish_odd.runtime.publish(Message("numbers", b'"no number"'), history=5)
