"""What agents see of actions: tools with schemas and annotations, results as content, errors that they can act on."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from fastapi import Header, UploadFile
from pydantic import BaseModel
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from servey import (
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    ActionError,
    ConfigError,
    Context,
    Example,
    McpTrigger,
    NotFound,
    ScopeAccessControl,
    Settings,
    TtlCacheControl,
    WebTrigger,
    action,
    create_app,
)
from tests.mcp.agents import agent

pytestmark = pytest.mark.anyio
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


@dataclass
class Part:
    name: str
    parts: list["Part"]


class Order(BaseModel):
    id: int
    due: date | None = None
    parts: list[Part] = []


@asynccontextmanager
async def agent_of(*actions: Any, mode: str = "auto", **settings: Any) -> AsyncIterator[Any]:
    app = create_app(actions=actions, settings=Settings(**{"env": "dev"} | settings))
    async with app.running(), agent(app, mode=mode) as client:
        yield client


async def only_tool(*actions: Any, **settings: Any) -> Any:
    async with agent_of(*actions, **settings) as client:
        (tool,) = (await client.list_tools()).tools
        return tool


def text_of(result: Any) -> str:
    (content,) = result.content
    return content.text


@MODES
async def test_a_tool_has_a_name_a_description_schemas_and_examples(mode):
    @action(triggers=McpTrigger(title="Find an order"), examples=[Example("first", {"id": 1}, Order(id=1))])
    async def find_order(id: int, deep: bool = False) -> Order:
        """Return an order with all of its parts."""
        return Order(id=id, parts=[Part("box", [Part("lid", [])])])

    async with agent_of(find_order, mode=mode) as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool("find_order", {"id": 7})
    assert (tool.name, tool.title) == ("find_order", "Find an order")
    assert tool.description == "Return an order with all of its parts."
    assert tool.input_schema["required"] == ["id"]
    assert tool.input_schema["properties"]["deep"] == {"default": False, "title": "Deep", "type": "boolean"}
    assert tool.input_schema["examples"] == [{"id": 1}]
    assert "$defs" not in tool.input_schema
    assert set(tool.output_schema["$defs"]) == {"Part"}
    assert tool.output_schema["properties"].keys() == {"id", "due", "parts"}
    expected = {"id": 7, "due": None, "parts": [{"name": "box", "parts": [{"name": "lid", "parts": []}]}]}
    assert result.structured_content == expected
    assert '"box"' in text_of(result)


async def test_a_result_that_is_no_object_is_wrapped():
    @action(triggers=MCP_TOOL)
    async def names() -> list[Part]:
        return [Part("a", [])]

    @action(triggers=MCP_TOOL)
    def hello(name: str) -> str:
        return f'Hello "{name}"'

    async with agent_of(names, hello) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert listed["names"].output_schema["properties"]["result"]["type"] == "array"
        assert (await client.call_tool("names")).structured_content == {"result": [{"name": "a", "parts": []}]}
        result = await client.call_tool("hello", {"name": "Ö\n"})
    assert (text_of(result), result.structured_content) == ('Hello "Ö\n"', {"result": 'Hello "Ö\n"'})


@pytest.mark.parametrize(
    ("triggers", "hints"),
    [
        ([MCP_TOOL], None),
        ([MCP_TOOL, WEB_GET], {"readOnlyHint": True}),
        ([MCP_TOOL, WEB_POST], {"readOnlyHint": False}),
        ([MCP_TOOL, WEB_GET, WEB_POST], {"readOnlyHint": False}),
        ([MCP_TOOL, WebTrigger("PUT")], {"readOnlyHint": False, "idempotentHint": True}),
        ([MCP_TOOL, WebTrigger("DELETE")], {"readOnlyHint": False, "idempotentHint": True, "destructiveHint": True}),
        ([McpTrigger(read_only=True), WEB_POST], {"readOnlyHint": True}),
        (
            [McpTrigger(read_only=False, idempotent=False, destructive=False)],
            {"readOnlyHint": False, "idempotentHint": False, "destructiveHint": False},
        ),
    ],
)
async def test_hints_come_from_the_methods_or_the_trigger(triggers, hints):
    @action(triggers=triggers)
    async def tool() -> None: ...

    shown = (await only_tool(tool)).annotations
    assert (shown and shown.model_dump(by_alias=True, exclude_none=True)) == hints


@MODES
async def test_an_error_is_a_text_that_says_what_to_do(mode):
    @action(triggers=MCP_TOOL)
    async def order(count: int, of: Order) -> None:
        raise {
            1: NotFound("There is no such tea"),
            2: ActionError(503, "overloaded", "The shop is full", headers={"Retry-After": "3"}),
            3: ActionError(409, "conflict", {"by": "bob"}),
            4: RuntimeError("a secret"),
        }[count]

    async def failure(**arguments: Any) -> str:
        result = await client.call_tool("order", arguments)
        assert result.is_error and result.structured_content is None
        return text_of(result)

    good = {"id": 1}
    async with agent_of(order, mode=mode) as client:
        assert await failure(count="x", of={"parts": [{"name": 3}]}) == (
            "Invalid arguments: count: Input should be a valid integer, unable to parse string as an integer; "
            "of.id: Field required; of.parts.0.name: Input should be a valid string; of.parts.0.parts: Field required. "
            "Correct them and call again (invalid_params)"
        )
        assert await failure(count=1, of=good) == "There is no such tea (not_found)"
        assert await failure(count=2, of=good) == "The shop is full; call again in 3 s (overloaded)"
        assert await failure(count=3, of=good) == '{"by":"bob"} (conflict)'
        unexpected = await failure(count=4, of=good)
    assert unexpected.startswith("Internal Server Error; the log has it under request id ")
    assert "secret" not in unexpected


async def test_the_apps_own_errors_are_the_text():
    @action(triggers=MCP_TOOL)
    async def fail() -> None:
        raise NotFound("gone")

    app = create_app(
        actions=[fail],
        settings=Settings(env="dev"),
        errors=lambda facts: {"wrong": facts.detail, "on": facts.transport},
    )
    async with app.running(), agent(app) as client:
        assert text_of(await client.call_tool("fail")) == '{"wrong":"gone","on":"mcp"} (not_found)'


async def test_images_sounds_texts_and_files_are_content(tmp_path):
    kinds = {"image/png": b"\x89PNG", "audio/wav": b"RIFF", "text/plain": "ä".encode(), "application/pdf": b"%PDF"}

    @action(triggers=MCP_TOOL)
    async def file(kind: str) -> Response:
        return Response(kinds[kind], media_type=kind)

    @action(triggers=MCP_TOOL)
    async def typed(good: bool, body: str = "") -> Order:
        return JSONResponse({"id": 1}) if good else Response(body, media_type="application/json")  # type: ignore[return-value]

    @action(triggers=MCP_TOOL)
    async def streamed() -> Response:
        return FileResponse(tmp_path)

    @action(triggers=MCP_TOOL)
    async def refused() -> Response:
        return Response("not today", 403)

    @action(triggers=MCP_TOOL)
    async def moved() -> Response:
        return RedirectResponse("/elsewhere")

    async with agent_of(file, typed, streamed, refused, moved) as client:
        shown = [(await client.call_tool("file", {"kind": kind})).content[0] for kind in kinds]
        assert (shown[0].type, shown[0].mime_type, base64.b64decode(shown[0].data)) == (
            "image",
            "image/png",
            b"\x89PNG",
        )
        assert (shown[1].type, shown[1].mime_type) == ("audio", "audio/wav")
        assert shown[2].text == "ä"
        assert (shown[3].resource.mime_type, base64.b64decode(shown[3].resource.blob)) == ("application/pdf", b"%PDF")
        # The client requires structured content of every tool that declares an output schema.
        assert (await client.call_tool("typed", {"good": True})).structured_content == {"id": 1}
        for body in ("%PDF", "[1]", "null"):
            wrong = await client.call_tool("typed", {"good": False, "body": body})
            assert "internal" in text_of(wrong)
        assert "internal" in text_of(await client.call_tool("streamed"))
        assert text_of(await client.call_tool("refused")) == "not today (http_403)"
        assert text_of(await client.call_tool("moved")) == "The response has the status 307; see /elsewhere (http_307)"


async def test_a_stream_is_collected_within_the_actions_timeout():
    closed = []

    @action(triggers=MCP_TOOL, timeout=0.3)
    async def count(upto: int, size: int = 1) -> AsyncIterator[str]:
        try:
            for _ in range(upto):
                yield "x" * size
            if upto == 3:
                import anyio

                await anyio.sleep(20)
        finally:
            closed.append(upto)

    async with agent_of(count) as client:
        assert (await only_tool(count)).output_schema["properties"]["result"]["type"] == "array"
        assert (await client.call_tool("count", {"upto": 2})).structured_content == {"result": ["x", "x"]}
        assert text_of(await client.call_tool("count", {"upto": 3})).endswith("(timeout)")
        assert text_of(await client.call_tool("count", {"upto": 50, "size": 100_000})).endswith("(too_large)")
    assert closed == [2, 3, 50]


async def test_a_call_runs_like_any_other():
    calls = []

    @action(triggers=MCP_TOOL, cache_control=TtlCacheControl(60))
    async def slow(n: int) -> int:
        calls.append(n)
        return n

    @action(triggers=MCP_TOOL)
    async def about(context: Context, response: Response, user_agent: str = Header()) -> list[str]:
        response.headers["x-from"] = "action"
        return [context.via, user_agent]

    async with agent_of(slow, about) as client:
        assert (await client.call_tool("slow", {"n": 1})).structured_content == {"result": 1}
        assert (await client.call_tool("slow", {"n": 1})).structured_content == {"result": 1}
        found = (await client.call_tool("about")).structured_content
    assert calls == [1]
    assert found["result"][0] == "mcp"
    assert "httpx" in found["result"][1]


async def test_what_is_offered_is_declared():
    @action(triggers=WEB_GET)
    async def plain() -> None: ...

    @action
    async def internal() -> None: ...

    @action(triggers=WEB_GET, hidden=["mcp"])
    async def hidden() -> None: ...

    @action(triggers=[MCP_TOOL, McpTrigger(name="other.name")])
    async def told() -> None: ...

    async def names(mode: str) -> set[str]:
        async with agent_of(plain, internal, hidden, told, mcp=mode) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert await names("declared") == {"told", "other.name"}
    assert await names("web") == {"told", "other.name", "plain"}
    app = create_app(actions=[told], settings=Settings(env="dev", mcp="off"))
    assert "/mcp" not in {getattr(route, "path", None) for route in app.routes}
    assert app.exposures()[0].places == ()


def test_an_app_without_tools_has_no_endpoint():
    @action(triggers=WEB_GET)
    async def plain() -> None: ...

    app = create_app(actions=[plain], settings=Settings(env="dev"))
    assert "/mcp" not in {getattr(route, "path", None) for route in app.routes}


def test_exposures_name_tools_and_say_why_not():
    @action(triggers=McpTrigger(name="greet"))
    async def hello() -> None: ...

    @action(triggers=MCP_TOOL)
    async def upload(file: UploadFile) -> None: ...

    greet, refused = create_app(actions=[hello, upload], settings=Settings(env="dev")).exposures()
    assert greet.places == ("MCP tool greet",)
    assert refused.places == ()
    assert any(absence.startswith("not over MCP: it needs ") for absence in refused.absences)


def test_bad_names_and_two_tools_of_one_name_stop_the_start():
    @action(triggers=McpTrigger(name="same"))
    async def one() -> None: ...

    @action(triggers=McpTrigger(name="same"))
    async def two() -> None: ...

    @action(triggers=McpTrigger(name="not a name"))
    async def three() -> None: ...

    with pytest.raises(ConfigError) as found:
        create_app(actions=[one, two, three], settings=Settings(env="dev"))
    same, bad = found.value.problems
    assert "'one'" in same and "'two'" in same and "are both the MCP tool 'same'" in same
    assert "'not a name'" in bad and "McpTrigger(name=...)" in bad


async def test_a_method_is_a_tool_without_a_dot_in_its_name():
    tool = await only_tool(Shelf.total)
    assert tool.name == "Shelf_total"
    assert "self" in tool.input_schema["properties"]


@dataclass
class Shelf:
    books: int

    @action(triggers=MCP_TOOL)
    async def total(self, plus: int = 0) -> int:
        return self.books + plus


@MODES
async def test_guarded_tools_are_listed_to_those_who_may_call_them(mode):
    from servey import Authorization
    from servey.testing import token_for

    @action(triggers=MCP_TOOL)
    async def public() -> None: ...

    @action(triggers=MCP_TOOL, access_control=ScopeAccessControl("admin"))
    async def admin() -> None: ...

    @action(triggers=MCP_TOOL)
    async def own(authorization: Authorization) -> None: ...

    async def names(app: Any, caller: Authorization | None) -> set[str]:
        token = None if caller is None else token_for(app, caller)
        async with agent(app, mode=mode, token=token) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    app = create_app(actions=[public, admin, own], settings=Settings(env="dev"))
    async with app.running():
        assert await names(app, None) == {"public"}
        assert await names(app, Authorization("ada")) == {"public", "own"}
        assert await names(app, Authorization("ada", frozenset({"admin"}))) == {"public", "own", "admin"}
    everything = create_app(actions=[public, admin, own], settings=Settings(env="dev", mcp_lists="all"))
    async with everything.running():
        assert await names(everything, None) == {"public", "own", "admin"}
