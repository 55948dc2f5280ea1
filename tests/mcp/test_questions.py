"""Questions that actions ask the person behind an agent."""

import enum
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from fastapi import Depends
from mcp import MCPError
from mcp.types import ElicitResult
from pydantic import BaseModel, Field, field_validator

from servey import MCP_TOOL, WEB_POST, Context, McpTrigger, Settings, TtlCacheControl, action, create_app
from servey.core.errors import CannotAsk
from servey.testing import client
from tests.mcp.agents import META, MODERN, agent, code_of

pytestmark = pytest.mark.anyio


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Wishes(BaseModel):
    size: Size = Field(description="How much")
    sugar: int = Field(0, ge=0, le=3)
    extras: list[Literal["milk", "lemon"]] = []
    on: date | None = None
    name: str | None = Field(None, max_length=20)

    @field_validator("name")
    @classmethod
    def no_bob(cls, name: str | None) -> str | None:
        if name == "bob":
            raise ValueError("not for bob")
        return name


@dataclass
class Sure:
    sure: bool


ran: list[str] = []


def session() -> Any:
    ran.append("begin")
    try:
        yield "session"
    except Exception as error:
        ran.append(f"rollback {type(error).__name__}")
        raise
    else:
        ran.append("commit")


@action(triggers=[WEB_POST, McpTrigger(asks=True)])
async def order_tea(kind: str, context: Context, session: Annotated[str, Depends(session)]) -> str:
    wishes = context.ask(Wishes, f"How do you like your {kind}?")
    if wishes is None:
        return "nothing"
    sure = context.ask(Sure, f"A {wishes.size.value} {kind} with {wishes.sugar} sugar?")
    return f"{wishes.size.value} {kind} {wishes.on} {wishes.extras}" if sure and sure.sure else "not sure"


@action(triggers=MCP_TOOL)
def plain_def(context: Context) -> list[bool]:
    """Ask the same twice, in a worker thread."""
    return [context.ask(Sure, "Sure?") is not None for _ in range(2)]


@action(triggers=MCP_TOOL)
async def ask_if_possible(context: Context) -> str:
    try:
        sure = context.ask(Sure, "Sure?")
    except CannotAsk:
        return "nobody to ask"
    return "yes" if sure and sure.sure else "no"


def app_of(*actions: Any, **settings: Any) -> Any:
    return create_app(actions=actions, settings=Settings(**{"env": "dev"} | settings))


@asynccontextmanager
async def agent_of(*actions: Any, answer: Any = None, mode: str = "auto"):
    app = app_of(*actions)
    async with app.running(), agent(app, answer=answer, mode=mode) as client:
        yield client


class Person:
    """Somebody who gives these answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        self.asked.append(params)
        answer = self.answers.pop(0)
        return (
            ElicitResult(action="accept", content=answer) if isinstance(answer, dict) else ElicitResult(action=answer)
        )


async def test_an_action_starts_again_with_each_answer():
    person = Person({"size": "large", "sugar": 1, "on": "2030-01-02", "extras": ["milk"]}, {"sure": True})
    ran.clear()
    async with agent_of(order_tea, answer=person) as client:
        result = await client.call_tool("order_tea", {"kind": "assam"})
    assert result.structured_content == {"result": "large assam 2030-01-02 ['milk']"}
    first, second = person.asked
    assert (first.message, second.message) == ("How do you like your assam?", "A large assam with 1 sugar?")
    assert first.requested_schema == {
        "type": "object",
        "properties": {
            "size": {"description": "How much", "type": "string", "enum": ["small", "large"]},
            "sugar": {"title": "Sugar", "default": 0, "type": "integer", "minimum": 0, "maximum": 3},
            "extras": {
                "title": "Extras",
                "default": [],
                "type": "array",
                "items": {"type": "string", "enum": ["milk", "lemon"]},
            },
            "on": {"title": "On", "type": "string", "format": "date"},
            "name": {"title": "Name", "type": "string", "maxLength": 20},
        },
        "required": ["size"],
    }
    # A try that asks is a failed call for its dependencies.
    assert ran == ["begin", "rollback InputRequired"] * 2 + ["begin", "commit"]


@pytest.mark.parametrize("answer", ["decline", "cancel"])
async def test_who_declines_gives_no_answer(answer):
    async with agent_of(order_tea, plain_def, answer=Person(answer, {"sure": False}, answer)) as client:
        assert (await client.call_tool("order_tea", {"kind": "assam"})).structured_content == {"result": "nothing"}
        assert (await client.call_tool("plain_def")).structured_content == {"result": [True, False]}


async def test_an_answer_is_validated():
    person = Person({"size": "huge", "sugar": 7}, {"size": "small", "name": "bob"})
    async with agent_of(order_tea, answer=person) as client:
        result = await client.call_tool("order_tea", {"kind": "assam"})
        assert result.content[0].text == (
            "Invalid arguments: answer.size: Input should be 'small' or 'large'; "
            "answer.sugar: Input should be less than or equal to 3. Correct them and call again (invalid_params)"
        )
        assert (
            "answer.name: Value error, not for bob"
            in (await client.call_tool("order_tea", {"kind": "assam"})).content[0].text
        )


async def test_who_cannot_be_asked_is_not_offered_the_tool():
    async with agent_of(order_tea, plain_def) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["plain_def"]
        for name, arguments in (("plain_def", {}), ("order_tea", {"kind": "x"})):
            with pytest.raises(MCPError) as refused:
                await client.call_tool(name, arguments)
            assert refused.value.error.code == -32021
            assert refused.value.error.data == {"requiredCapabilities": {"elicitation": {}}}
    # Before 2026-07-28 a request over HTTP does not say what its client can.
    async with agent_of(order_tea, plain_def, answer=Person(), mode="legacy") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["plain_def"]
        refused = await client.call_tool("plain_def")
        assert (refused.is_error, code_of(refused)) == (True, "cannot_ask")
    async with agent_of(order_tea, plain_def, answer=Person()) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"plain_def", "order_tea"}


def test_other_transports_cannot_ask():
    with client(app_of(order_tea)) as http:
        refused = http.post("/actions/order-tea", json={"kind": "assam"})
    assert refused.status_code == 501
    assert refused.json() == {
        "code": "cannot_ask",
        "detail": "This action asks a question; call it over MCP with a client that can show it (elicitation)",
    }


async def test_an_action_can_do_without_an_answer():
    async with agent_of(ask_if_possible, answer=Person({"sure": True})) as client:
        assert (await client.call_tool("ask_if_possible")).structured_content == {"result": "yes"}
    async with agent_of(ask_if_possible) as client:
        assert (await client.call_tool("ask_if_possible")).structured_content == {"result": "nobody to ask"}


async def test_prompts_and_resources_ask_too():
    @action(triggers=[McpTrigger("prompt"), McpTrigger("resource", uri="shop://tea")])
    async def advise(context: Context) -> str:
        return "yes" if context.ask(Sure, "Sure?") else "no"

    async with agent_of(advise, answer=Person({"sure": True}, "decline")) as client:
        assert (await client.get_prompt("advise")).messages[0].content.text == "yes"
        assert (await client.read_resource("shop://tea")).contents[0].text == "no"


class Nested(BaseModel):
    wishes: Wishes


class Numbers(BaseModel):
    one_of: Literal[1, 2]


class Empty(BaseModel): ...


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Nested, "'Nested' cannot be asked for, because of its field 'wishes': a form has"),
        (Numbers, "'Numbers' cannot be asked for, because of its field 'one_of'"),
        (Empty, "'Empty' cannot be asked for: use a Pydantic model"),
        (int, "'int' cannot be asked for: use a Pydantic model"),
    ],
)
async def test_what_is_no_form_is_a_mistake_in_the_log(model, text, caplog):
    @action(triggers=MCP_TOOL)
    async def ask(context: Context) -> None:
        context.ask(model, "?")

    async with agent_of(ask, answer=Person()) as client:
        assert code_of(await client.call_tool("ask")) == "internal"
    assert text in caplog.text


async def test_results_that_depend_on_answers_are_not_cached(caplog):
    @action(triggers=MCP_TOOL, cache_control=TtlCacheControl(60))
    async def cached(context: Context) -> bool:
        return context.ask(Sure, "Sure?") is not None

    @action(triggers=MCP_TOOL, cache_control=TtlCacheControl(60, server=False))
    async def uncached(context: Context) -> bool:
        return context.ask(Sure, "Sure?") is not None

    async with agent_of(cached, uncached, answer=Person({"sure": True}, "decline")) as client:
        assert code_of(await client.call_tool("cached")) == "internal"
        assert "use TtlCacheControl(..., server=False)" in caplog.text
        for expected in (True, False):
            assert (await client.call_tool("uncached")).structured_content == {"result": expected}


def test_answers_are_not_trusted():
    """A client may send what it wants as the state of a call, so the state says nothing else than its answers do."""
    meta = META | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "plain_def"}
    with client(app_of(plain_def)) as http:

        def call(**params: Any) -> Any:
            params = {"name": "plain_def", "_meta": meta, **params}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            return http.post("/mcp", json=body, headers=headers)

        asked = call().json()["result"]
        assert (asked["resultType"], asked["requestState"]) == ("input_required", "{}")
        ((key, question),) = asked["inputRequests"].items()
        assert question["method"] == "elicitation/create"
        yes = {"action": "accept", "content": {"sure": True}}
        again = call(inputResponses={key: yes}, requestState="{}").json()["result"]
        assert json.loads(again["requestState"]) == {key: yes}
        assert again["inputRequests"].keys() != {key}
        for state in ("", "[]", "x", 3, {"a": 1}, '{"a": 1}', "[" * 10_000, '{"k": {"action": "root"}}'):
            assert call(requestState=state).json()["error"]["code"] == -32602
        for responses in ([], "x", {key: 1}, {key: {"action": "accept", "content": 3}}, {key: {"action": None}}):
            assert call(inputResponses=responses).json()["error"]["code"] == -32602
        # An answer to another question is none to this one.
        assert call(inputResponses={"other": yes}).json()["result"]["resultType"] == "input_required"
