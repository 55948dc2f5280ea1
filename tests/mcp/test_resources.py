"""Resources that agents read by address, prompts that people choose, completion of arguments, pages of lists."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from fastapi import Header
from mcp import MCPError
from mcp_types import PromptReference, ResourceTemplateReference
from pydantic import BaseModel, Field
from starlette.responses import Response

from servey import (
    MCP_PROMPT,
    MCP_RESOURCE,
    Authorization,
    ConfigError,
    McpTrigger,
    NotFound,
    ScopeAccessControl,
    Settings,
    TtlCacheControl,
    action,
    create_app,
)
from servey.testing import token_for
from tests.mcp.agents import agent

pytestmark = pytest.mark.anyio
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


class Tea(Enum):
    green = "green"
    black = "black"


class Message(BaseModel):
    role: Literal["user", "assistant"]
    content: Any


@action(triggers=McpTrigger("resource", title="Opening hours"), cache_control=TtlCacheControl(60, private=False))
async def opening_hours() -> dict[str, str]:
    """When the shop is open."""
    return {"monday": "9-17"}


@action(triggers=McpTrigger("resource", uri="shop://teas/{tea}/{grams}"))
async def tea(tea: Tea, grams: int, note: str = "") -> str:
    if grams > 100:
        raise NotFound("So much tea does not exist")
    return f"{grams} g of {tea.value}"


@action(triggers=MCP_RESOURCE)
async def logo() -> Response:
    return Response(b"\x89PNG", media_type="image/png")


@action(triggers=MCP_RESOURCE)
async def by_name(name: str) -> str:
    return name


@action(triggers=McpTrigger("prompt", title="Recommend a tea"))
async def recommend(
    mood: Annotated[Literal["calm", "cheerful"], Field(description="how you feel")], strong: bool = False
) -> str:
    """Ask for a recommendation."""
    return f"Which tea fits a {mood} day?"


@action(triggers=MCP_PROMPT)
async def talk(turns: int) -> list[Message | str]:
    picture = {"type": "image", "data": "AA==", "mimeType": "image/png"}
    return ["Hello", Message(role="assistant", content="Good day"), Message(role="user", content=picture)][:turns]


@action(triggers=MCP_RESOURCE, cache_control=TtlCacheControl(60, private=False))
async def tenant_offers(x_tenant: Annotated[str, Header()] = "") -> str:
    return f"offers for {x_tenant}"


ALL = (opening_hours, tea, logo, by_name, recommend, talk)


@asynccontextmanager
async def agent_of(*actions: Any, mode: str = "auto", caller: Authorization | None = None) -> AsyncIterator[Any]:
    app = create_app(actions=actions, settings=Settings(env="dev"))
    async with app.running(), agent(app, mode=mode, token=caller and token_for(app, caller)) as client:
        yield client


async def error_of(call: Any) -> tuple[int, str]:
    with pytest.raises(MCPError) as found:
        await call
    return found.value.error.code, found.value.error.message


@MODES
async def test_resources_and_templates_are_listed(mode):
    async with agent_of(*ALL, mode=mode) as client:
        resources = {each.uri: each for each in (await client.list_resources()).resources}
        templates = {each.uri_template: each for each in (await client.list_resource_templates()).resource_templates}
        assert client.server_capabilities.tools is None
        assert client.server_capabilities.resources.subscribe is None
    assert resources.keys() == {"actions:///opening-hours", "actions:///logo"}
    assert templates.keys() == {"shop://teas/{tea}/{grams}", "actions:///by-name/{name}"}
    hours = resources["actions:///opening-hours"]
    assert (hours.name, hours.title, hours.description) == ("opening_hours", "Opening hours", "When the shop is open.")
    assert (hours.mime_type, resources["actions:///logo"].mime_type) == ("application/json", None)
    assert templates["actions:///by-name/{name}"].mime_type == "text/plain"


@MODES
async def test_a_resource_is_read(mode):
    async with agent_of(*ALL, mode=mode) as client:

        async def read(uri: str) -> tuple[str, str]:
            (found,) = (await client.read_resource(uri)).contents
            assert found.uri == uri
            return found.mime_type, getattr(found, "text", None) or found.blob

        assert await read("actions:///opening-hours") == ("application/json", '{"monday":"9-17"}')
        assert await read("shop://teas/green/50") == ("text/plain", "50 g of green")
        assert await read("actions:///by-name/a%2Fb%20%C3%A4") == ("text/plain", "a/b ä")
        assert await read("actions:///logo") == ("image/png", "iVBORw==")
        missing = -32602 if mode == "auto" else -32002
        assert (await error_of(client.read_resource("shop://teas")))[0] == missing
        assert await error_of(client.read_resource("shop://teas/green/500")) == (
            missing,
            "So much tea does not exist (not_found)",
        )
        code, text = await error_of(client.read_resource("shop://teas/white/x"))
        assert code == -32602
        assert "tea: Input should be 'green' or 'black'; grams: Input should be a valid integer" in text


async def test_cache_control_is_the_hint_of_a_resource():
    app = create_app(actions=[*ALL, tenant_offers], settings=Settings(env="dev"))
    async with app.running(), agent(app) as client, agent(app) as another:
        hours = await client.read_resource("actions:///opening-hours")
        with pytest.MonkeyPatch.context() as patch:
            later = time.time() + 20
            patch.setattr(time, "time", lambda: later)
            kept = await another.read_resource("actions:///opening-hours")
        logo = await client.read_resource("actions:///logo")
        offers = await client.read_resource("actions:///tenant-offers")
    assert (hours.ttl_ms, hours.cache_scope) == (60_000, "public")
    assert 39_000 <= kept.ttl_ms <= 40_500
    assert (logo.ttl_ms, logo.cache_scope) == (0, "private")
    assert (offers.ttl_ms, offers.cache_scope) == (0, "private"), "it depends on a header, and there is no Vary"


@MODES
async def test_prompts_are_listed_and_gotten(mode):
    async with agent_of(*ALL, mode=mode) as client:
        prompts = {each.name: each for each in (await client.list_prompts()).prompts}
        first, second = prompts["recommend"].arguments
        simple = await client.get_prompt("recommend", {"mood": "calm"})
        (one, two, three) = (await client.get_prompt("talk", {"turns": "3"})).messages
        code, text = await error_of(client.get_prompt("recommend", {"mood": "x"}))
        assert (await error_of(client.get_prompt("unknown")))[0] == -32602
    assert (prompts["recommend"].title, prompts["recommend"].description) == (
        "Recommend a tea",
        "Ask for a recommendation.",
    )
    assert (first.name, first.description, first.required) == ("mood", "how you feel", True)
    assert (second.name, second.required) == ("strong", False)
    (message,) = simple.messages
    assert (message.role, message.content.text) == ("user", "Which tea fits a calm day?")
    assert (one.role, one.content.text) == ("user", "Hello")
    assert (two.role, two.content.text) == ("assistant", "Good day")
    assert (three.content.type, three.content.mime_type) == ("image", "image/png")
    assert code == -32602 and "mood: Input should be 'calm' or 'cheerful'" in text


@MODES
async def test_arguments_are_completed(mode):
    async with agent_of(*ALL, mode=mode) as client:

        async def complete(ref: Any, name: str, value: str) -> list[str]:
            return (await client.complete(ref, {"name": name, "value": value})).completion.values

        prompt = PromptReference(type="ref/prompt", name="recommend")
        template = ResourceTemplateReference(type="ref/resource", uri="shop://teas/{tea}/{grams}")
        assert await complete(prompt, "mood", "C") == ["calm", "cheerful"]
        assert await complete(prompt, "mood", "ch") == ["cheerful"]
        assert await complete(prompt, "strong", "") == ["true", "false"]
        assert await complete(template, "tea", "b") == ["black"]
        assert await complete(template, "grams", "1") == []
        unknown = PromptReference(type="ref/prompt", name="unknown")
        assert (await error_of(complete(unknown, "mood", "")))[0] == -32602


@MODES
async def test_guarded_ones_are_for_those_who_may_use_them(mode):
    admin = ScopeAccessControl("admin")

    @action(triggers=MCP_RESOURCE, access_control=admin)
    async def secret() -> str:
        return "in"

    @action(triggers=MCP_PROMPT, access_control=admin)
    async def ask(kind: Literal["a", "b"]) -> str:
        return "in"

    ref = PromptReference(type="ref/prompt", name="ask")
    async with agent_of(*ALL, secret, ask, mode=mode) as client:
        assert "actions:///secret" not in {each.uri for each in (await client.list_resources()).resources}
        assert "ask" not in {each.name for each in (await client.list_prompts()).prompts}
        assert (await error_of(client.read_resource("actions:///secret")))[0] == 401
        assert (await error_of(client.get_prompt("ask", {"kind": "a"})))[0] == 401
        assert (await error_of(client.complete(ref, {"name": "kind", "value": ""})))[0] == -32602
    async with agent_of(*ALL, secret, ask, mode=mode, caller=Authorization("ada", frozenset({"admin"}))) as client:
        assert "actions:///secret" in {each.uri for each in (await client.list_resources()).resources}
        assert (await client.read_resource("actions:///secret")).contents[0].text == "in"
        assert (await client.get_prompt("ask", {"kind": "a"})).messages[0].content.text == "in"


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("no address", "must be a URI with parameters in braces"),
        ("shop://{a}/{+b}", "must be a URI with parameters in braces"),
        ("shop://{c}", "names 'c', which is not a parameter"),
        ("shop://{a}/{a}", "names 'a' twice"),
        ("shop://{b}", "must name the required parameter 'a'"),
    ],
)
def test_a_bad_address_stops_the_start(uri, text):
    @action(triggers=McpTrigger("resource", uri=uri))
    async def read(a: int, b: int = 1) -> None: ...

    with pytest.raises(ConfigError, match=text):
        create_app(actions=[read], settings=Settings(env="dev"))


def test_two_resources_of_one_address_stop_the_start():
    @action(triggers=McpTrigger("resource", uri="shop://a"))
    async def one() -> None: ...

    @action(triggers=McpTrigger("resource", uri="shop://a"))
    async def two() -> None: ...

    with pytest.raises(ConfigError, match="are both the MCP resource 'shop://a'"):
        create_app(actions=[one, two], settings=Settings(env="dev"))


@pytest.mark.parametrize("given", [{"kind": "took"}, {"uri": "a://b"}, {"kind": "prompt", "read_only": True}])
def test_a_trigger_that_says_nonsense_is_refused(given):
    with pytest.raises(ConfigError, match="McpTrigger"):
        McpTrigger(**given)
