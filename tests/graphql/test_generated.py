"""Thousands of generated documents, valid and invalid: none causes an internal error."""

import json
import random
from datetime import date
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    get_named_type,
)

from servey import WEB_POST, action
from servey.graphql.mount import engine_of
from servey.graphql.schema.fields import fields_of
from tests.contract.cases import ACTIONS, Order, Size
from tests.graphql.graphql_client import app_of
from tests.graphql.test_batches import products
from tests.graphql.test_fields import many, stats
from tests.graphql.test_object_types import nodes

EXPECTED_TO_FAIL = {"fail", "lies", "slow", "slowDef", "order", "price", "cost"}
"""Fields whose functions always fail."""
ODD = [
    "null",
    "true",
    '"x"',
    "-1",
    "99999999999",
    "1e400",
    "[]",
    "{}",
    "{a: 1}",
    "$x",
    "$",
    "ENUM",
    '"""b"""',
    "[[1]]",
    '"\\ud800"',
]
NOISE = [
    "{",
    "}",
    "(",
    ")",
    "...",
    "@skip(if: $x)",
    "@include(if: true)",
    "!",
    ":",
    "on Stats",
    "fragment F on Query",
    "#",
    "\ufeff",
]


@action(triggers=WEB_POST)
async def place(order: Order, sizes: list[Size] | None = None, at: dict[str, date] | None = None) -> Order:
    return order


class Maker:
    """Generates documents for a schema."""

    def __init__(self, schema: Any, seed: int) -> None:
        self.random = random.Random(seed)
        self.schema = schema

    def document(self) -> str:
        kind, root = self.random.choice([("query", self.schema.query_type), ("mutation", self.schema.mutation_type)])
        text = f"{kind} {self.selection(root, self.random.randint(1, 5))}"
        for _ in range(self.random.choice([0, 0, 0, 1, 2])):
            words = text.split(" ")
            place = self.random.randrange(len(words))
            how = self.random.random()
            if how < 0.4:
                words.insert(place, self.random.choice(NOISE))
            elif how < 0.7:
                del words[place]
            else:
                words[place] = self.random.choice(words)
            text = " ".join(words)
        return text

    def selection(self, type_: Any, depth: int) -> str:
        names = [name for name in type_.fields if name not in EXPECTED_TO_FAIL]
        shown = []
        for name in self.random.sample(names, min(len(names), self.random.randint(1, 4))):
            found = type_.fields[name]
            inner = get_named_type(found.type)
            alias = f"a{self.random.randint(0, 3)}: " if self.random.random() < 0.1 else ""
            given = [
                f"{argument}: {self.value(each.type)}"
                for argument, each in found.args.items()
                if isinstance(each.type, GraphQLNonNull) or self.random.random() < 0.5
            ]
            arguments = f"({', '.join(given)})" if given else ""
            if not hasattr(inner, "fields"):
                shown.append(f"{alias}{name}{arguments}")
            elif depth > 0:
                shown.append(f"{alias}{name}{arguments} {self.selection(inner, depth - 1)}")
        return "{ " + " ".join(shown or ["__typename"]) + " }"

    def value(self, type_: Any) -> str:
        if self.random.random() < 0.1:
            return self.random.choice(ODD)
        if isinstance(type_, GraphQLNonNull):
            return self.value(type_.of_type)
        if isinstance(type_, GraphQLList):
            return "[" + ", ".join(self.value(type_.of_type) for _ in range(self.random.randint(0, 3))) + "]"
        if isinstance(type_, GraphQLEnumType):
            return self.random.choice(list(type_.values))
        if isinstance(type_, GraphQLInputObjectType):
            return "{" + ", ".join(f"{name}: {self.value(each.type)}" for name, each in type_.fields.items()) + "}"
        assert isinstance(type_, GraphQLScalarType)
        plain = {
            "Int": "5",
            "Float": "1.5",
            "Boolean": "true",
            "Decimal": '"1.50"',
            "Date": '"2026-01-01"',
            "JSON": "{a: [1]}",
        }
        return plain.get(type_.name, '"text"')


async def answer(app: Any, body: bytes) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []
    headers = [(b"content-type", b"application/json")]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/graphql", "raw_path": b"/graphql",
        "query_string": b"", "root_path": "", "headers": headers, "client": None, "server": None, "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def ask_all(count: int, seed: int) -> dict[str, int]:
    app = app_of(*ACTIONS, place, stats, many, products, nodes)
    maker = Maker(engine_of(app.runtime, fields_of(app.runtime)).schema, seed)
    outcomes: dict[str, int] = {}
    async with app.runtime.lifespan():
        for number in range(count):
            text = maker.document()
            variables = {"x": maker.random.choice([True, None, 1, "x", {"a": []}])} if number % 3 == 0 else None
            status, found = await answer(app, json.dumps({"query": text, "variables": variables}).encode())
            assert status == 200, (text, status, found)
            codes = {error["extensions"]["code"] for error in found.get("errors", [])} or {"none"}
            allowed = "annotate its type as BigInt"
            odd = [error for error in found.get("errors", []) if error["extensions"]["code"] == "internal"]
            assert all(allowed in error["message"] for error in odd), (text, odd)
            for code in codes:
                outcomes[code] = outcomes.get(code, 0) + 1
    return outcomes


@pytest.mark.anyio
async def test_no_document_fails_the_server(caplog):
    caplog.set_level("CRITICAL", "servey")
    outcomes = await ask_all(250, seed=7)
    assert outcomes["none"] > 15
    assert outcomes["invalid_document"] > 30
    assert outcomes["invalid_params"] > 0


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_twenty_thousand_documents(caplog):
    caplog.set_level("CRITICAL", "servey")
    outcomes = await ask_all(20_000, seed=2)
    assert outcomes["none"] > 1000
    assert outcomes["invalid_document"] > 2000
