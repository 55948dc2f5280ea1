"""Apps with many tools: two stand for all, so that a list does not fill an agent's context. Lists page."""

from contextlib import asynccontextmanager
from typing import Any

import pytest

from servey import (
    MCP_TOOL,
    Authorization,
    ConfigError,
    Context,
    McpTrigger,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
)
from servey.testing import token_for
from tests.mcp.agents import agent, code_of

pytestmark = pytest.mark.anyio


def numbered(count: int, kind: Any = "tool") -> list[Any]:
    def one(n: int) -> Any:
        @action(triggers=McpTrigger(kind, name=f"tool_{n:03}"), name=f"tool{n:03}")
        async def numbered() -> int:
            """One of many."""
            return n

        return numbered

    return [one(n) for n in range(count)]


@action(triggers=MCP_TOOL)
async def cancel_order(order_id: int, reason: str = "") -> str:
    """Cancel an order that was not sent yet.

    The customer gets a message.
    """
    return f"cancelled {order_id}"


@action(triggers=MCP_TOOL)
async def list_orders(context: Context) -> list[int]:
    """Every order of a customer."""
    context.progress(1)
    return [1]


@action(triggers=MCP_TOOL, access_control=ScopeAccessControl("admin"))
async def refund_order(order_id: int) -> None:
    """Refund an order."""


ORDERS = [cancel_order, list_orders, refund_order]


def app_of(*actions: Any, **settings: Any) -> Any:
    return create_app(actions=actions, settings=Settings(**{"env": "dev"} | settings))


@asynccontextmanager
async def agent_of(*actions: Any, **settings: Any):
    app = app_of(*actions, **settings)
    async with app.running(), agent(app) as client:
        yield client


async def listed(client: Any) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


async def found(client: Any, **arguments: Any) -> list[str]:
    result = await client.call_tool("search_tools", arguments)
    return [tool["name"] for tool in result.structured_content["tools"]]


async def test_many_tools_are_searched_and_called():
    async with agent_of(*numbered(50), *ORDERS) as client:
        assert await listed(client) == ["search_tools", "call_tool"]
        assert (await found(client, query="cancel the order"))[:2] == ["cancel_order", "list_orders"]
        assert await found(client, query="ORDER_ID") == ["cancel_order", "list_orders"]
        assert await found(client, query="Tool_007") == ["tool_007", *(f"tool_{n:03}" for n in range(4))]
        assert await found(client, query="many", limit=2) == ["tool_000", "tool_001"]
        assert await found(client, query="xyz") == []
        result = (await client.call_tool("search_tools", {"query": "cancel_order", "limit": 1})).structured_content
        assert result["tools"][0]["inputSchema"]["required"] == ["order_id"]
        everything = (await client.call_tool("search_tools")).structured_content
        assert everything["total"] == 52
        assert everything["tools"][0] == {
            "name": "cancel_order",
            "description": "Cancel an order that was not sent yet.",
        }

        called = await client.call_tool("call_tool", {"name": "cancel_order", "arguments": {"order_id": 3}})
        assert called.structured_content == {"result": "cancelled 3"}
        assert (await client.call_tool("tool_004")).structured_content == {"result": 4}
        told = []

        async def tell(*values: Any) -> None:
            told.append(values)

        await client.call_tool("call_tool", {"name": "list_orders"}, progress_callback=tell)
        assert told == [(1, None, None)]


async def test_what_does_not_fit_is_an_error_for_the_agent():
    async with agent_of(*numbered(2), *ORDERS, mcp_max_listed=3) as client:
        for name, arguments, code in (
            ("search_tools", {"query": 3}, "invalid_params"),
            ("search_tools", {"query": "tool " * 41}, "invalid_params"),
            ("search_tools", {"query": "x" * 501}, "invalid_params"),
            ("search_tools", {"limit": 0}, "invalid_params"),
            ("search_tools", {"limit": True}, "invalid_params"),
            ("search_tools", {"limit": 21}, "invalid_params"),
            ("call_tool", {"name": "nothing"}, "not_found"),
            ("call_tool", {"name": "call_tool", "arguments": {"name": "tool_001"}}, "not_found"),
            ("call_tool", {"name": ["x"]}, "invalid_params"),
            ("call_tool", {}, "invalid_params"),
            ("call_tool", {"name": "tool_001", "arguments": [1]}, "invalid_params"),
            ("call_tool", {"name": "cancel_order", "arguments": {"order_id": "x"}}, "invalid_params"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert code_of(result) == code


async def test_a_search_finds_what_the_caller_may_call():
    app = app_of(*ORDERS, mcp_max_listed=2)
    async with app.running():
        async with agent(app) as client:
            assert await listed(client) == ["cancel_order", "list_orders"]
            assert "refund_order" not in await found(client, query="order")
        async with agent(app, token=token_for(app, Authorization("ada", frozenset({"admin"})))) as client:
            assert await listed(client) == ["search_tools", "call_tool"]
            assert "refund_order" in await found(client, query="order")
            assert not (
                await client.call_tool("call_tool", {"name": "refund_order", "arguments": {"order_id": 1}})
            ).is_error
        async with agent(app, token=token_for(app, Authorization("bob"))) as client:
            with pytest.raises(Exception) as refused:
                await client.call_tool("call_tool", {"name": "refund_order", "arguments": {"order_id": 1}})
            assert code_of(refused.value) == "forbidden"


async def test_few_tools_have_no_search_and_may_have_its_name():
    @action(triggers=MCP_TOOL)
    async def search_tools() -> str:
        return "mine"

    async with agent_of(search_tools) as client:
        assert (await client.call_tool("search_tools")).structured_content == {"result": "mine"}
    with pytest.raises(
        ConfigError, match="the MCP tool 'search_tools' is Servey's own where there are more than 2 tools"
    ):
        app_of(search_tools, *ORDERS, mcp_max_listed=2)


@pytest.mark.parametrize(("kind", "mode"), [("tool", "auto"), ("prompt", "legacy"), ("resource", "auto")])
async def test_lists_page(kind, mode):
    app = app_of(*numbered(205, kind), mcp_max_listed=300)
    async with app.running(), agent(app, mode=mode) as client:
        names, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = await getattr(client, f"list_{kind}s")(cursor=cursor)
            names += [each.name for each in getattr(page, f"{kind}s")]
            cursor, pages = page.next_cursor, pages + 1
    assert names == [f"tool_{n:03}" for n in range(205)]
    assert pages == 3
