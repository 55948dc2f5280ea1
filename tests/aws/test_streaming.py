"""The runtime whose Function URL streams, driven by the Runtime API: items arrive before the response ends."""

import json
import sys
import threading
from pathlib import Path

import pytest

from tests.aws.gateways import Request, function_url, http_api
from tests.aws.lambda_runtime import LambdaFunction
from tests.serving import ROOT

ACTIONS = """
import asyncio, os
from collections.abc import AsyncIterator
from starlette.responses import PlainTextResponse
from servey import *

@action(triggers=WEB_GET)
async def count(gate: str) -> AsyncIterator[int]:
    yield 1
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    yield 2

@action(triggers=WEB_GET)
async def endless() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(3600)

@action(triggers=WEB_GET)
def cookies() -> PlainTextResponse:
    answer = PlainTextResponse("as it is", 201)
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "2")
    return answer

@action(triggers=MCP_TOOL)
async def slowly(gate: str, context: Context) -> str:
    "Report, and wait."
    context.progress(1, 2)
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    return "done"

async def broken(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise ValueError("broken")

async def silent(scope, receive, send): ...

ticks = websocket_event_channel("ticks", int)
servey_app = create_app(actions=[count, endless, cookies, slowly], channels=[ticks])
async def half(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})

servey_app.mount("/broken", broken)
servey_app.mount("/half", half)
servey_app.mount("/silent", silent)
"""
COMMAND = ("-m", "servey.aws.streaming")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("streaming")
    (path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def function(folder):
    env = {
        "SERVEY_APP": "actions:servey_app",
        "SERVEY_ALLOWED_HOSTS": "*",
        "SERVEY_CONNECTION_TABLE": "table",
        "SERVEY_WEBSOCKET_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": f"{folder}:{ROOT}",
    }
    with LambdaFunction(Path(sys.executable), folder, "servey.aws.handler", command=COMMAND, **env) as made:
        yield made


class Called:
    """An invocation in progress."""

    def __init__(self, function, event):
        self._function = function
        self._thread = threading.Thread(target=self._run, args=[event])
        self._thread.start()

    def _run(self, event):
        self.done = self._function.invoke(event)

    def chunk(self):
        return self._function.chunks.get(timeout=20)

    def start(self):
        """Return the metadata of the response."""
        metadata, end, rest = self.chunk().partition(b"\0" * 8)
        assert (len(end), rest) == (8, b"")
        return json.loads(metadata)

    def end(self):
        self._thread.join(20)
        return self.done


def get(function, target, *headers):
    return Called(function, function_url(Request("GET", target, headers)))


@pytest.mark.parametrize(
    ("accept", "media_type", "items"),
    [
        ("application/jsonl", "application/jsonl", [b"1\n", b"2\n"]),
        ("text/event-stream", "text/event-stream; charset=utf-8", [b"data: 1\n\n", b"data: 2\n\n"]),
    ],
)
def test_items_arrive_before_the_end(function, tmp_path, accept, media_type, items):
    gate = tmp_path / "gate"
    called = get(function, f"/actions/count?gate={gate}", ("accept", accept))
    start = called.start()
    assert (start["statusCode"], start["headers"]["content-type"]) == (200, media_type)
    assert called.chunk() == items[0]
    gate.touch()
    assert [called.chunk(), called.chunk()] == [items[1], None]
    assert called.end().error is None


def test_whole_responses_of_the_url(function):
    called = get(function, "/actions/cookies")
    start = called.start()
    assert (start["statusCode"], start["headers"]["content-type"]) == (201, "text/plain; charset=utf-8")
    assert [each.partition(";")[0] for each in start["cookies"]] == ["a=1", "b=2"]
    assert [called.chunk(), called.chunk()] == [b"as it is", None]
    called.end()
    called = get(function, "/subscription/ticks", ("accept", "text/event-stream"))
    assert called.start()["statusCode"] == 501
    assert b"connect to the websocket API" in called.chunk()
    assert called.chunk() is None
    called.end()
    called = get(function, "/actions/nothing")
    assert called.start()["statusCode"] == 404
    assert b"Not Found" in called.chunk()
    assert called.chunk() is None
    called.end()


def test_a_stream_at_the_time_limit(function, monkeypatch):
    monkeypatch.setattr(function, "deadline", 1)
    called = get(function, "/actions/endless", ("accept", "text/event-stream"))
    called.start()
    assert [called.chunk(), called.chunk()] == [b"data: 1\n\n", None]
    assert called.end().error is None  # its client connects again
    called = get(function, "/actions/endless", ("accept", "application/jsonl"))
    called.start()
    assert [called.chunk(), called.chunk()] == [b"1\n", None]
    assert called.end().error == "TimeoutError"  # a reader must not believe that this is all


@pytest.mark.parametrize(("path", "error"), [("/broken/", "ValueError"), ("/half/", "RuntimeError")])
def test_a_response_that_breaks_off(function, path, error):
    called = get(function, path)
    called.start()
    assert [called.chunk(), called.chunk()] == [b"half", None]
    assert called.end().error == error


def test_an_app_that_sends_no_response(function):
    called = get(function, "/silent/")
    assert called.start()["statusCode"] == 500
    assert b"internal" in called.chunk()
    assert called.chunk() is None
    assert called.end().error is None


def test_progress_of_a_tool(function, tmp_path):
    gate = tmp_path / "gate"
    params = {"name": "slowly", "arguments": {"gate": str(gate)}, "_meta": {"progressToken": "p"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = (
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-06-18"),
    )
    called = Called(function, function_url(Request("POST", "/mcp", headers, body)))
    assert called.start()["headers"]["content-type"].startswith("text/event-stream"), called.chunk()
    assert b"notifications/progress" in called.chunk()
    gate.touch()
    assert b'"done"' in called.chunk()
    assert called.chunk() is None
    called.end()


def graphql(function, query, accept="text/event-stream"):
    headers = (("content-type", "application/json"), ("accept", accept))
    return Called(function, function_url(Request("POST", "/graphql", headers, json.dumps({"query": query}).encode())))


def test_a_subscription_over_server_sent_events(function, tmp_path):
    gate = tmp_path / "gate"
    called = graphql(function, f'subscription {{ count(gate: "{gate}") }}')
    start = called.start()
    assert (start["statusCode"], start["headers"]["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert called.chunk() == b'event: next\ndata: {"data":{"count":1}}\n\n'
    gate.touch()
    rest = b"".join(iter(called.chunk, None))
    assert rest == b'event: next\ndata: {"data":{"count":2}}\n\nevent: complete\ndata: \n\n'
    assert called.end().error is None


def test_a_query_over_server_sent_events(function):
    called = graphql(function, "{ __typename }")
    assert called.start()["headers"]["content-type"] == "text/event-stream; charset=utf-8"
    text = b"".join(iter(called.chunk, None))
    assert text.startswith(b'event: next\ndata: {"data":{"__typename":"Query"}}')
    assert called.end().error is None


def test_a_subscription_to_a_channel_is_refused(function):
    """Events of a channel go to the websockets of the stack."""
    called = graphql(function, "subscription { ticks }")
    called.start()
    text = b"".join(iter(called.chunk, None))
    assert b"websocket" in text, text
    assert called.end().error is None


def test_a_subscription_without_a_stream(function):
    called = graphql(function, 'subscription { count(gate: "x") }', "application/json")
    status = called.start()["statusCode"]
    text = b"".join(iter(called.chunk, None))
    called.end()
    assert (status, b"Subscriptions need a websocket" in text) == (200, True), text
    headers = (("content-type", "application/json"), ("accept", "text/event-stream"))
    body = b'{"query": "subscription { count(gate: \\"x\\") }"}'
    done = function.invoke(http_api(Request("POST", "/graphql", headers, body)))
    assert (done.error, done.payload["statusCode"]) == (None, 501), done.payload


def test_other_events_have_the_same_answers_as_ever(function):
    done = function.invoke(http_api(Request("GET", "/actions/count?gate=x")))
    assert (done.error, done.payload["statusCode"]) == (None, 501)
    done = function.invoke(http_api(Request("GET", "/actions/cookies")))
    assert (done.error, done.payload["statusCode"], done.payload["body"]) == (None, 201, "as it is")
    done = function.invoke({"servey": {"action": "none", "params": {}}})
    assert done.error == "CallFailed"


def test_a_start_that_fails_is_reported(folder):
    env = {"SERVEY_APP": "actions:absent", "PYTHONPATH": f"{folder}:{ROOT}"}
    with LambdaFunction(Path(sys.executable), folder, "servey.aws.handler", command=COMMAND, **env) as function:
        done = function.invoke({})
        assert (done.error, done.payload["errorType"]) == ("Runtime.InitError", "ConfigError")
