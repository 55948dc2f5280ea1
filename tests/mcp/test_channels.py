"""Event channels as resources: their last events, and notices of new ones."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import pytest

from servey import (
    MCP_TOOL,
    WEB_GET,
    Authorization,
    ConfigError,
    McpTrigger,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
    websocket_event_channel,
)
from servey.testing import token_for
from tests.mcp.agents import Call, agent, code_of

pytestmark = pytest.mark.anyio

news = websocket_event_channel("news", str, history=3, mcp=True, description="What is new.")
prices = websocket_event_channel("prices", int, history=10, mcp=True, event_filter=lambda price, caller: price < 100)
orders = websocket_event_channel("orders", int, history=10, mcp=True, access_control=ScopeAccessControl("orders"))
plain = websocket_event_channel("plain", int, history=10)
forgetful = websocket_event_channel("forgetful", int)
CHANNELS = [news, prices, orders, plain, forgetful]


@action(triggers=MCP_TOOL)
async def tell(text: str) -> None:
    await news.publish(text)


def app_of(*actions: Any, channels: Any = CHANNELS, **settings: Any) -> Any:
    return create_app(actions=actions, channels=channels, settings=Settings(**{"env": "dev"} | settings))


@asynccontextmanager
async def agent_of(app: Any, caller: Authorization | None = None, mode: str = "auto"):
    async with agent(app, mode=mode, token=None if caller is None else token_for(app, caller)) as client:
        yield client


async def read(client: Any, name: str) -> Any:
    (content,) = (await client.read_resource(f"events:///{name}")).contents
    assert content.mime_type == "application/json"
    return json.loads(content.text)


async def uris(client: Any) -> list[str]:
    return [str(each.uri) for each in (await client.list_resources()).resources]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_last_events_are_a_resource(mode):
    app = app_of(tell)
    async with app.running():
        async with agent_of(app, mode=mode) as client:
            assert await uris(client) == ["events:///news", "events:///prices"]
            assert (await client.list_resources()).resources[0].description == "What is new."
            assert await read(client, "news") == []
            for n in range(5):
                await client.call_tool("tell", {"text": f"news {n}"})
            assert await read(client, "news") == ["news 2", "news 3", "news 4"]
            for price in (1, 500, 2):
                await prices.publish(price)
            await prices.publish(3, "somebody")
            await prices.publish(4, subject="ada")
            assert await read(client, "prices") == [1, 2]
        async with agent_of(app, Authorization("ada"), mode) as client:
            assert await read(client, "prices") == [1, 2, 4]


async def test_the_access_rule_of_the_channel_applies():
    app = app_of()
    async with app.running():
        await orders.publish(7)
        async with agent_of(app, Authorization("ada", frozenset({"orders"}))) as client:
            assert "events:///orders" in await uris(client)
            assert await read(client, "orders") == [7]
        for caller in (None, Authorization("bob")):
            async with agent_of(app, caller) as client:
                with pytest.raises(Exception) as refused:
                    await read(client, "orders")
                assert code_of(refused.value) == ("unauthenticated" if caller is None else "forbidden")
    guarded = app_of(channels=[orders])
    async with guarded.running():
        with pytest.raises(Exception) as refused:
            async with agent_of(guarded, mode="legacy"):
                pass
        assert code_of(refused.value) == "unauthenticated"


async def test_what_is_offered_is_declared():
    @action(triggers=WEB_GET)
    async def hello() -> None: ...

    everything = app_of(hello, mcp="web")
    async with everything.running(), agent_of(everything) as client:
        assert await uris(client) == ["events:///news", "events:///prices", "events:///plain"]
    with pytest.raises(ConfigError, match="channel 'x': mcp=True offers the last events to agents; set history"):
        websocket_event_channel("x", int, mcp=True)

    @action(triggers=McpTrigger("resource", uri="events:///news"))
    async def same() -> None: ...

    with pytest.raises(ConfigError, match="the MCP address 'events:///news' is that of the channel 'news'"):
        app_of(same)


LISTEN = "subscriptions/listen"


def listening(app: Any, *uris: str, **more: Any) -> Call:
    return Call(app, LISTEN, {"notifications": {"toolsListChanged": True, "resourceSubscriptions": list(uris)}}, **more)


META = {"io.modelcontextprotocol/subscriptionId": 1}


async def test_a_client_is_told_about_new_events():
    app = app_of(tell)
    async with app.running(), agent_of(app) as client:
        assert client.server_capabilities.resources.subscribe
        names = ("news", "prices", "orders", "plain", "x")
        call = listening(app, *(f"events:///{name}" for name in names), token=token_for(app, Authorization("bob")))
        assert await call.message() == {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            # Lists do not change, and the other resources are not the caller's.
            "params": {
                "notifications": {"resourceSubscriptions": ["events:///news", "events:///prices"]},
                "_meta": META,
            },
        }
        await prices.publish(500)
        for n in range(3):
            await news.publish(f"news {n}")
        told = {"uri": "events:///news", "_meta": META}
        assert await call.message() == {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": told}
        assert await read(client, "news") == ["news 0", "news 1", "news 2"]
        await prices.publish(5)
        told = await call.message()
        if told["params"]["uri"] == "events:///news":  # of those that came after the first notice
            told = await call.message()
        assert told["params"]["uri"] == "events:///prices"
        assert app.runtime.subscriptions.count == 2
        assert app.runtime.in_flight.count == 0
        call.gone.set()
        await asyncio.wait_for(call.task, 5)
        assert app.runtime.subscriptions.count == 0
        refused = listening(app, "events:///news", "events:///orders")
        await asyncio.wait_for(refused.task, 5)
        assert (refused.status, refused.headers[b"www-authenticate"]) == (401, b"Bearer")
        # The server says when it stops.
        last = listening(app, "events:///news")
        await last.message()
        app.runtime.stopping.set()
        ended = await last.message()
        assert (ended["id"], ended["result"]["resultType"]) == (1, "complete")
        assert ended["result"]["_meta"] | META == ended["result"]["_meta"]
        await last.task


@pytest.mark.parametrize("names", [[], ["events:///orders", "events:///plain"]])
async def test_a_subscription_to_nothing_ends(names):
    app = app_of()
    async with app.running():
        call = listening(app, *names, token=token_for(app, Authorization("bob")))
        assert (await call.message())["params"]["notifications"] == {}
        assert (await call.message())["result"]["resultType"] == "complete"
        await asyncio.wait_for(call.task, 5)


@pytest.mark.parametrize(
    ("notifications", "accept", "code"),
    [
        ({}, "application/json", -32600),
        ([], "text/event-stream", -32602),
        (None, "text/event-stream", -32602),
        ({"resourceSubscriptions": "x"}, "text/event-stream", -32602),
    ],
)
async def test_what_is_no_subscription_is_refused(notifications, accept, code):
    app = app_of()
    async with app.running():
        call = Call(app, LISTEN, {"notifications": notifications}, accept=accept)
        await asyncio.wait_for(call.task, 5)
        assert (call.status, json.loads(await call.body())["error"]["code"]) == (400, code)


async def test_clients_that_listen_are_limited_and_end_with_the_process():
    app = app_of(channel_connections=1)
    async with app.running():
        call = listening(app, "events:///news")
        assert (await call.message())["params"]["notifications"] == {"resourceSubscriptions": ["events:///news"]}
        refused = listening(app, "events:///news")
        await asyncio.wait_for(refused.task, 5)
        assert refused.status == 503
        app.runtime.stopping.set()
        assert (await call.message())["result"]["resultType"] == "complete"
        await asyncio.wait_for(call.task, 5)
