"""Examples run as tool calls by the official client; the tour has three tools."""

from dataclasses import dataclass

import anyio
import pytest
from mcp import Client
from starlette.responses import Response

from servey import MCP_TOOL, Example, McpTrigger, NotFound, ScopeAccessControl, Settings, action, create_app
from servey.testing.examples import example_cases


@dataclass
class Pot:
    cups: int


@action(
    triggers=(MCP_TOOL, McpTrigger(name="brew_again")),
    access_control=ScopeAccessControl("brew"),
    examples=[
        Example("small", {"cups": 1}, Pot(1)),
        Example("none", {"cups": 0}, error="not_found"),
        Example("text", {"cups": "x"}, error="invalid_params"),
    ],
)
async def brew(cups: int) -> Pot:
    if not cups:
        raise NotFound("no tea")
    return Pot(cups)


@action(triggers=MCP_TOOL, examples=[Example("all", result=["a", "b"])])
async def names() -> list[str]:
    return ["a", "b"]


@action(triggers=MCP_TOOL, examples=[Example("file", result="plain")])
async def file() -> Response:
    return Response("plain", media_type="text/plain")


def cases_of(*actions):
    app = create_app(actions=actions, settings=Settings(env="dev"))
    return app, [case for case in example_cases(app) if case.transport.startswith("MCP")]


def test_examples_run_as_tool_calls():
    app, cases = cases_of(brew, names, file)
    assert {case.transport for case in cases} == {
        "MCP tool brew",
        "MCP tool brew_again",
        "MCP tool names",
        "MCP tool file",
    }
    assert len(cases) == 2 * 3 + 2
    for case in cases:
        case.check(app)


def test_a_wrong_example_fails():
    @action(triggers=MCP_TOOL, examples=[Example("wrong", result=2), Example("refused", error="forbidden")])
    async def one() -> int:
        return 1

    app, cases = cases_of(one)
    assert len(cases) == 2
    for case in cases:
        with pytest.raises(AssertionError, match="through MCP tool one: expected"):
            case.check(app)


def test_a_refused_caller_is_an_error():
    @action(triggers=MCP_TOOL, access_control=lambda authorization: False, examples=[Example("no", error="forbidden")])
    async def nobody() -> None: ...

    app, (case,) = cases_of(nobody)
    case.check(app)


def test_the_tour_has_three_tools(tour):
    async def main() -> None:
        async with Client(f"{tour.url}/mcp") as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"say_hello", "search_products", "get_product"}
            hello = await client.call_tool("say_hello", {"name": "agent"})
            assert hello.structured_content == {"result": "Hello agent!"}
            found = await client.call_tool("search_products", {"text": "knife", "price": {"most": 100}})
            assert found.structured_content["result"]
            product = await client.call_tool("get_product", {"product_id": "x"})
            assert product.is_error

    anyio.run(main)
