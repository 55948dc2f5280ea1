"""A document with one root field is compiled when it comes again; its responses stay the same, also for what is not valid."""

import json
import random
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Depends, Response

from servey import WEB_GET, WEB_POST, NotFound, ScopeAccessControl, action
from servey.graphql.execution.completion import CompilingExecutor
from servey.graphql.requests import RESPONSE_JSON
from tests.graphql.graphql_client import graphql_client

RESULTS: dict[str, Any] = {
    "text": "a",
    "null": None,
    "number": 5,
    "large": 2**40,
    "missing": NotFound("There is no such result"),
    "broken": RuntimeError("secret"),
    "timeout": TimeoutError(),
}
CALLS: list[str] = []


@dataclass
class Node:
    value: int
    name: str | None = None

    @action
    async def twice(self) -> int:
        return self.value * 2


def outcome(of: str) -> Any:
    CALLS.append(of)
    result = RESULTS.get(of, of)
    if isinstance(result, Exception):
        raise result
    return result


def greeting(response: Response, language: str = "en") -> str:
    response.headers["x-language"] = language
    return "Hello"


@action(triggers=WEB_GET)
async def text(of: str, times: int = 1, loud: bool = False) -> str:
    found = outcome(of)
    return str(found) * times + ("!" if loud else "")


@action(triggers=WEB_GET)
async def number(of: str) -> int:
    found: int = outcome(of)
    return found


@action(triggers=WEB_GET)
async def maybe(of: str | None = None, weight: float = 1.0) -> str | None:
    found: str | None = outcome(of or "null")
    return found


@action(triggers=WEB_GET)
async def greet(name: str, greeting: Annotated[str, Depends(greeting)]) -> str:
    return f"{greeting} {outcome(name)}"


@action(triggers=WEB_GET)
async def node(value: int, of: str = "text") -> Node:
    return Node(value, outcome(of))


@action(triggers=WEB_GET)
async def nodes(count: int, of: str = "text") -> list[Node | None]:
    found = outcome(of)
    return [Node(each, found) if each % 3 else None for each in range(count)]


@action(triggers=WEB_POST)
def change(of: str) -> str:
    return str(outcome(of))


@action(triggers=WEB_GET, access_control=ScopeAccessControl("read"))
async def guarded(of: str) -> str:
    return str(outcome(of))


ACTIONS = (text, number, maybe, greet, node, nodes, change, guarded)
DOCUMENTS = (
    "query($of: String!) { text(of: $of) }",
    "query($of: String!, $times: Int) { shown: text(of: $of, times: $times) }",
    "query($of: String!, $times: Int = 2) { text(of: $of, times: $times, loud: true) }",
    'query($times: Int!) { text(of: "text", times: $times) }',
    "query($of: String!, $skipped: Boolean!) { text(of: $of) @skip(if: $skipped) }",
    "query($of: String!) { text(of: $of) again: text(of: $of) }",
    "query($of: String!) { ...parts } fragment parts on Query { text(of: $of) }",
    "query($of: String!) { number(of: $of) }",
    "query($of: String, $weight: Float) { maybe(of: $of, weight: $weight) }",
    "query($of: ID!) { maybe(of: $of) }",
    "query($of: String!) { greet(name: $of) }",
    "query($value: Int!, $of: String!) { node(value: $value, of: $of) { value name } }",
    "query($value: Int!, $of: String!) { node(value: $value, of: $of) { value twice } }",
    "query($value: Int!, $of: String!) { nodes(count: $value, of: $of) { __typename value name } }",
    "query($value: Int!) { nodes(count: $value) { value twice } }",
    "mutation($of: String!) { change(of: $of) }",
    "query($of: String!) { guarded(of: $of) }",
    "query a($of: String!) { text(of: $of) } query b($of: String!) { number(of: $of) }",
    "{ __typename }",
)
VALUES: dict[str, tuple[Any, ...]] = {
    "of": (*RESULTS, "other", 7, None, True, ["text"], "café"),
    "times": (2, None, 2**31, "2", 2.0, True),
    "value": (0, 4, 60, -1, 2**40, "4", None),
    "weight": (1.5, 2, None, "1.5", True),
    "skipped": (True, False, None, "yes"),
    "unknown": (1, {"a": [1]}),
}


@pytest.fixture
def ask():
    with graphql_client(*ACTIONS, graphql_max_nodes=50) as found:
        yield found


def body_of(chance: random.Random, document: str) -> dict[str, Any]:
    names = [name for name in VALUES if f"${name}" in document or name == "unknown"]
    sent = {name: chance.choice(VALUES[name]) for name in names if chance.random() < 0.9}
    usual = {"of": "text", "times": 3, "value": 4, "weight": 2.5, "skipped": False, "unknown": 1}
    if chance.random() < 0.5:
        sent = {name: usual[name] for name in names}
    body: dict[str, Any] = {"query": document, "variables": sent}
    return body | ({"operationName": chance.choice(["a", "b", "c"])} if "query b" in document else {})


def test_a_compiled_operation_answers_like_graphql_core(ask):
    chance, headers = random.Random(3), {"accept": RESPONSE_JSON, "content-type": "application/json"}
    seen = {"data": 0, "errors": 0}
    for turn in range(300):
        document = DOCUMENTS[turn % len(DOCUMENTS)]
        body = body_of(chance, document)
        CALLS.clear()
        again = ask.http.post("/graphql", content=json.dumps(body), headers=headers)
        calls = CALLS.copy()
        CALLS.clear()
        # A document that was never requested is executed by graphql-core.
        unseen = json.dumps(body | {"query": f"{document} # {turn}"})
        first = ask.http.post("/graphql", content=unseen, headers=headers)
        assert again.json() == first.json(), body
        assert (again.status_code, calls) == (first.status_code, CALLS), body
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers.get("x-language") == first.headers.get("x-language")
        seen["errors" if "errors" in first.json() else "data"] += 1
    assert min(seen.values()) > 50


def test_a_compiled_operation_does_without_graphql_core(ask, monkeypatch):
    build, built = CompilingExecutor.build, []
    monkeypatch.setattr(CompilingExecutor, "build", lambda *given, **more: built.append(given) or build(*given, **more))
    for number in range(5):
        document = "query($of: String!) { text(of: $of) }"
        assert ask.data(document, {"of": f"World {number}"}) == {"text": f"World {number}"}
    assert len(built) == 2


def test_a_replaced_resolver_is_called(ask):
    document = "query($of: String!) { text(of: $of) }"
    for _ in range(3):
        assert ask.data(document, {"of": "a"}) == {"text": "a"}
    graphql = next(route for route in ask.app.routes if route.name == "graphql")
    field = graphql.endpoint.app._engine.schema.query_type.fields["text"]
    field.resolve = lambda source, info, of, **more: f"replaced {of}"
    assert ask.data(document, {"of": "a"}) == {"text": "replaced a"}
