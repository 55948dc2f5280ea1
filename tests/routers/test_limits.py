"""Hostile bodies and headers cost little and are client errors."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends
from pydantic import BaseModel, create_model

from servey import WEB_GET, WEB_POST, Settings, action, create_app
from servey.testing import client

PROD = Settings(env="prod")
fields: dict[str, Any] = {f"f{number}": (int, ...) for number in range(100)}
Wide = create_model("Wide", **fields, blob=(list[int], []))
Texts = create_model("Texts", **fields, blob=(str, ""))


@dataclass
class Node:
    value: int = 0
    child: "Node | None" = None


class Holder(BaseModel):
    wide: Wide  # type: ignore[valid-type]


def nothing() -> None: ...


@action(triggers=WEB_POST)
async def wide(it: Wide) -> int:  # type: ignore[valid-type]
    return 1


@action(triggers=WEB_POST)
async def nested(it: Holder) -> int:
    return 1


@action(triggers=WEB_POST)
async def texts(it: Texts) -> int:  # type: ignore[valid-type]
    return 1


@action(triggers=WEB_POST)
async def with_query(it: Wide, n: int = 1) -> int:  # type: ignore[valid-type]
    return 1


@action(triggers=WEB_POST)
async def injected(it: Annotated[Wide, Body(embed=True)], held: Annotated[None, Depends(nothing)]) -> int:  # type: ignore[valid-type]
    return 1


def from_body(whole: Annotated[Wide, Body(embed=True)]) -> int:  # type: ignore[valid-type]
    return 1


@action(triggers=WEB_POST)
async def of_dependency(held: Annotated[int, Depends(from_body)], n: int = 1) -> int:
    return 1


@action(triggers=WEB_GET)
async def deep(node: Node) -> int:
    return 1


@action(triggers=WEB_POST)
async def deep_body(node: Node) -> int:
    return 1


ACTIONS = [wide, nested, texts, with_query, injected, of_dependency, deep, deep_body]
BLOB = [1] * 340_000
BODIES: dict[str, Any] = {
    "wide": {"it": {"blob": BLOB}},
    "nested": {"it": {"wide": {"blob": BLOB}}},
    "texts": {"it": {"blob": "x" * 700_000}},
    "with-query": {"it": {"blob": BLOB}},
    "injected": {"it": {"blob": BLOB}},
    "of-dependency": {"whole": {"blob": BLOB}},
}


@pytest.mark.parametrize("path", BODIES)
def test_many_errors_in_a_large_body_are_reported_quickly(path):
    body = json.dumps(BODIES[path], separators=(",", ":")).encode()
    with client(create_app(actions=ACTIONS, settings=PROD)) as http:
        http.post(f"/actions/{path}", json={})
        begun = time.process_time()
        answer = http.post(f"/actions/{path}", content=body, headers={"content-type": "application/json"})
        took = time.process_time() - begun
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) == 100
    assert len(answer.content) < 100_000
    assert took < 2  # copying the body into each error takes many seconds


async def status_of(app: Any, headers: list[tuple[bytes, bytes]], path: str = "/actions/deep-body") -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b'{"node":{}}', "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"+11", b"1e3", b"", b" ", b"11, 11", b"\xd9\xa1", b"x" * 5000])
def test_an_odd_content_length_is_a_client_error(length):
    app = create_app(actions=ACTIONS, settings=PROD)
    assert asyncio.run(status_of(app, [(b"content-length", length)])) == 400


@pytest.mark.parametrize(
    "name", [b"accept", b"accept-encoding", b"prefer", b"if-none-match", b"x-request-id", b"origin"]
)
@pytest.mark.parametrize("value", [b"\xb2", b";q=\xb2", b"*;q=inf", b"\xff" * 300, b",,,;;;===", b'"'])
def test_an_odd_header_is_no_server_error(name, value):
    app = create_app(actions=ACTIONS, settings=PROD)
    assert asyncio.run(status_of(app, [(name, value)])) < 500


@pytest.mark.parametrize(
    "content_type", [b"\xff", b";", b"application/json; charset=\xb2", b"application/json" * 500, b""]
)
def test_an_odd_content_type_is_no_server_error(content_type):
    app = create_app(actions=ACTIONS, settings=PROD)
    assert asyncio.run(status_of(app, [(b"content-type", content_type)])) < 500


def test_deep_input_is_a_client_error():
    with client(create_app(actions=ACTIONS, settings=PROD)) as http:
        assert http.get("/actions/deep?node" + ".child" * 3000 + ".value=1").status_code == 422
        for depth in (150, 3000, 100_000):
            body = '{"node":' + '{"child":' * depth + "null" + "}" * depth + "}"
            answer = http.post("/actions/deep-body", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 422 or (answer.status_code == 200 and depth == 150)
