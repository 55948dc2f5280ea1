"""Async generator actions over REST."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import Depends

from servey import WEB_GET, Authorization, Context, NotFound, Settings, action, create_app
from servey.auth.tokens import JwtAuthorizer
from servey.core.context import current_context
from servey.testing import client
from tests.serving import serve, wait_until

DEV = Settings(env="dev")
LOG: list[str] = []


async def resource() -> AsyncIterator[str]:
    LOG.append("open")
    yield "resource"
    LOG.append("close")


@action(triggers=WEB_GET)
async def numbers(upto: int, fail_at: int = -1, held: Annotated[str, Depends(resource)] = "") -> AsyncIterator[int]:
    for number in range(upto):
        if number == fail_at:
            raise NotFound("out of numbers")
        assert LOG[-1] == "open"
        yield number


@action(triggers=WEB_GET, timeout=0.2)
async def slow(first: float = 0, later: float = 0) -> AsyncIterator[str]:
    await asyncio.sleep(first)
    yield "first"
    await asyncio.sleep(later)
    yield "second"


@action(triggers=WEB_GET)
async def wrong() -> AsyncIterator[int]:
    yield 1
    yield "two"  # type: ignore[misc]


@action(triggers=WEB_GET)
async def where(context: Context) -> AsyncIterator[bool]:
    yield current_context() is context
    yield current_context() is context


@pytest.fixture
def http():
    LOG.clear()
    with client(create_app(actions=[numbers, slow, wrong, where], settings=DEV)) as http:
        yield http


@pytest.mark.parametrize(
    "accept", ["*/*", "application/jsonl", "application/json", "text/event-stream;q=0.1, */*, application/jsonl"]
)
def test_json_lines(http, accept):
    answer = http.get("/actions/numbers?upto=3", headers={"Accept": accept})
    assert (answer.headers["content-type"], answer.text) == ("application/jsonl", "0\n1\n2\n")
    assert LOG == ["open", "close"]


def test_server_sent_events(http):
    answer = http.get("/actions/numbers?upto=2", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == "data: 0\n\ndata: 1\n\n"


def test_nothing_to_stream(http):
    assert http.get("/actions/numbers?upto=0").text == ""


def test_an_error_before_the_first_item_is_an_ordinary_one(http):
    answer = http.get("/actions/numbers?upto=3&fail_at=0")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert http.get("/actions/numbers?upto=x").status_code == 422


def test_an_error_in_mid_stream(http):
    lines = http.get("/actions/numbers?upto=3&fail_at=1").text.splitlines()
    assert [json.loads(line) for line in lines] == [0, {"error": {"detail": "out of numbers", "code": "not_found"}}]
    events = http.get("/actions/numbers?upto=3&fail_at=1", headers={"Accept": "text/event-stream"}).text
    assert events == 'data: 0\n\nevent: error\ndata: {"detail":"out of numbers","code":"not_found"}\n\n'
    assert LOG == ["open", "close"] * 2


def test_the_timeout_is_for_the_first_item(http):
    late = http.get("/actions/slow?first=0.5")
    assert (late.status_code, late.json()["code"]) == (504, "timeout")
    assert http.get("/actions/slow?later=0.4").text == '"first"\n"second"\n'


def test_each_item_is_checked(http):
    lines = [json.loads(line) for line in http.get("/actions/wrong").text.splitlines()]
    assert lines == [1, {"error": {"detail": "Internal Server Error", "code": "internal"}}]


def test_every_step_runs_in_its_call(http):
    assert http.get("/actions/where").text == "true\ntrue\n"


ENDLESS = """
import asyncio
from collections.abc import AsyncIterator
from servey import WEB_GET, action, create_app

log = []

@action(triggers=WEB_GET)
async def endless() -> AsyncIterator[int]:
    try:
        number = 0
        while True:
            yield (number := number + 1)
            await asyncio.sleep(0.01)
    finally:
        log.append("closed")

@action(triggers=WEB_GET)
async def silent() -> AsyncIterator[int]:
    yield 1
    try:
        await asyncio.sleep(3600)
    finally:
        log.append("closed")

@action(triggers=WEB_GET)
async def flood() -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        log.append("closed")

@action(triggers=WEB_GET)
async def closed() -> int:
    return len(log)

servey_app = create_app(actions=[endless, silent, flood, closed])
"""


@pytest.fixture
def endless(tmp_path):
    (tmp_path / "app.py").write_text(ENDLESS, encoding="utf-8")
    with serve("app:servey_app", cwd=tmp_path) as server:
        yield server


@pytest.mark.parametrize("name", ["endless", "silent", "flood"])
def test_leaving_early_closes_it(endless, name):
    with httpx.stream("GET", f"{endless.url}/actions/{name}") as answer:
        assert next(answer.iter_lines()) == "1"
    wait_until(lambda: httpx.get(f"{endless.url}/actions/closed").json() == 1, "the generator's end", within=5)


def test_a_client_that_does_not_read_holds_up_nobody(endless):
    with socket.create_connection(("127.0.0.1", endless.port)) as connection:
        connection.sendall(b"GET /actions/flood HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(8) == b"HTTP/1.1"
        assert httpx.get(f"{endless.url}/actions/closed", timeout=5).json() == 0


def test_a_head_takes_no_items(endless):
    assert httpx.head(f"{endless.url}/actions/endless", timeout=5).headers["content-type"] == "application/jsonl"
    wait_until(lambda: httpx.get(f"{endless.url}/actions/closed").json() == 1, "the generator's end", within=5)


def test_the_process_ends_at_once_under_open_streams(endless):
    with httpx.Client() as http:
        streams = []
        for number in range(20):
            accept = {"Accept": "text/event-stream" if number % 2 else "*/*"}
            request = http.build_request(
                "GET", f"{endless.url}/actions/{'silent' if number % 3 else 'endless'}", headers=accept
            )
            streams.append(http.send(request, stream=True))
        assert all(stream.status_code == 200 for stream in streams)
        begun = time.monotonic()
        assert endless.end(within=5) < 2
        assert time.monotonic() - begun < 2
        for stream in streams:
            stream.read()  # each was ended in order, not cut off
            stream.close()


@action(triggers=WEB_GET)
async def guarded(authorization: Authorization) -> AsyncIterator[str]:
    yield authorization.subject_id or ""
    try:
        await asyncio.Event().wait()
    finally:
        LOG.append("closed")


@action(triggers=WEB_GET)
async def busy(authorization: Authorization) -> AsyncIterator[int]:
    for number in range(10_000_000):
        yield number
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["/actions/guarded", "/actions/busy"])
@pytest.mark.parametrize("accept", ["text/event-stream", "application/jsonl"])
def test_a_stream_ends_when_the_token_expires(path, accept):
    LOG.clear()
    app = create_app(actions=[guarded, busy], settings=DEV)
    assert isinstance(app.runtime.authorizer, JwtAuthorizer)
    token = app.runtime.authorizer.sign(Authorization("ada"), lifetime=1.5)
    begun = time.monotonic()
    with client(app) as http:
        answer = http.get(path, headers={"Accept": accept, "Authorization": f"Bearer {token}"})
    assert time.monotonic() - begun < 10
    lines = answer.text.strip().splitlines()
    error = {"detail": "The token has expired", "code": "unauthenticated"}
    if accept == "text/event-stream":
        assert [lines[-2], json.loads(lines[-1].removeprefix("data: "))] == ["event: error", error]
    else:
        assert json.loads(lines[-1]) == {"error": error}
    assert LOG == (["closed"] if path == "/actions/guarded" else [])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, */*", "text/event-stream"),
        ("text/*", "text/event-stream"),
        ("text/event-stream;q=0.5, application/jsonl;q=0.4", "text/event-stream"),
        ("application/jsonl;q=0.4, text/event-stream;q=0.5", "text/event-stream"),
        ("text/event-stream;q=0.5, application/jsonl", "application/jsonl"),
        ("text/event-stream;q=0, */*", "application/jsonl"),
        ("text/event-stream;q=0", "application/jsonl"),
        ("text/event-stream;q=nan, */*", "application/jsonl"),
        ("text/event-stream;q=2, */*", "application/jsonl"),
        ("*/*;q=0.9, text/event-stream;q=0.1", "application/jsonl"),
        ("application/*", "application/jsonl"),
        ("", "application/jsonl"),
    ],
)
def test_the_format_follows_the_weights_of_accept(http, accept, expected):
    answer = http.get("/actions/numbers?upto=1", headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == expected
    assert answer.headers.get("x-accel-buffering") == ("no" if expected == "text/event-stream" else None)


def test_an_error_before_the_first_item_is_json(http):
    answer = http.get("/actions/numbers?upto=1&fail_at=0", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert "x-accel-buffering" not in answer.headers
