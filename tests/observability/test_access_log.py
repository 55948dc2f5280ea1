"""The access log has no secret that a client sent in a path or a query string."""

import json
from typing import Annotated

import httpx
import pytest
from fastapi import Path
from pydantic import SecretStr
from starlette.responses import Response

from servey import WebTrigger, WebTriggerMethod, action, create_app, websocket_event_channel
from servey.core.settings import Settings
from servey.observability import telemetry
from servey.testing import client
from tests.serving import free_port, run, started

GET = WebTriggerMethod.GET
CANARY = "CANARY4f3a9c0b1d2e"


@action(triggers=WebTrigger(GET, path="/users/{user_id}/resets/{reset_token}"))
async def reset(user_id: int, reset_token: str) -> str:
    return reset_token


@action(triggers=WebTrigger(GET, path="/unlock/{code}"))
async def unlock(code: SecretStr) -> str:
    return "done"


@action(triggers=WebTrigger(GET, path="/keys/{key}/{rest:path}"))
async def keys(key: Annotated[str, Path(json_schema_extra={"writeOnly": True})], rest: str) -> str:
    return key


@action(triggers=WebTrigger(GET, path="/fails/{code}"))
async def fails(code: SecretStr) -> str:
    raise RuntimeError("inside")


news = websocket_event_channel("news", str, history=1)


CASES = [
    (f"/users/7/resets/{CANARY}", "/users/7/resets/•••"),
    (f"/users/no/resets/{CANARY}", "/users/no/resets/•••"),
    (f"/unlock/{CANARY}", "/unlock/•••"),
    (f"/keys/{CANARY}/of/ada", None),
    (f"/fails/{CANARY}", "/fails/•••"),
    (f"/own/{CANARY}", "/own/•••"),
    (f"/nowhere/{CANARY}{CANARY}", "/nowhere/•••"),
    (f"/nowhere/eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}/a", "/nowhere/•••/a"),
    (f"/unlock/a?token={CANARY}", "/unlock/•••"),
    (f"/nowhere?access_token={CANARY}", "/nowhere"),
]


@pytest.fixture
def log(monkeypatch):
    class Lines(list):
        def line(self, fields):
            self.append(dict(fields))

    lines = Lines()
    monkeypatch.setattr(telemetry, "installed_writer", lambda: lines)
    return lines


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_secrets_in_a_path_or_a_query_are_hidden(log, prefix):
    settings = Settings(env="prod", root_path=prefix)
    app = create_app(actions=[reset, unlock, keys, fails], channels=[news], settings=settings)

    @app.get("/own/{api_key}")
    def own(api_key: str) -> str:
        return api_key

    with client(app) as http:
        for path, shown in CASES:
            del log[:]
            http.get(path)
            assert "CANARY" not in json.dumps(log, default=str), path
            (line,) = log
            if shown is not None:
                assert line["msg"].split(" ")[1] == prefix + shown, path
            if path.startswith("/users"):
                assert (line["action"], line["route"]) == ("reset", "/users/{user_id}/resets/{reset_token}")


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_secrets_are_hidden_if_the_request_does_not_reach_its_route(log, prefix):
    app = create_app(actions=[reset, unlock], channels=[news], settings=Settings(env="prod", root_path=prefix))

    @app.middleware("http")
    async def closed(request, call_next):
        return Response(status_code=401) if "closed" in request.url.query else await call_next(request)

    with client(app) as http:
        for path, shown in (
            ("/unlock/pin123/", "/unlock/{code} 307"),
            ("/unlock/pin123?closed", "/unlock/{code} 401"),
            ("/users/7/resets/pin123?closed", "/users/{user_id}/resets/{reset_token} 401"),
            ("/subscription/news/pin123/", "/subscription/{channel}/{subscriber_id} 307"),
            ("/actions/length/?closed", "/actions/length/ 401"),
        ):
            del log[:]
            http.get(path, follow_redirects=False)
            assert log[0]["msg"] == f"GET {prefix}{shown}"


PROJECT = """
from pydantic import SecretStr
from servey import *

@action(triggers=WebTrigger(WebTriggerMethod.GET, path="/unlock/{code}"))
async def unlock(code: SecretStr) -> str:
    return "done"

@action(triggers=WebTrigger(WebTriggerMethod.GET, path="/login/{token}"))
async def login(token: str) -> str:
    raise RuntimeError("inside")
"""
CHANNELS = "from servey import websocket_event_channel\n\nnews = websocket_event_channel('news', str, history=1)\n"
PATHS = [f"/unlock/{CANARY}?password={CANARY}", f"/login/{CANARY}", f"/nowhere/{CANARY}{CANARY}"]
SHOWN = ["GET /unlock/••• 200", "GET /login/••• 500", "GET /nowhere/••• 404", "GET /subscription/news/••• 200"]


def access_lines(text: str) -> list[str]:
    assert "CANARY" not in text
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["msg"] for line in found if line["logger"] == "servey.access"]


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_the_log_of_a_server_has_no_secrets(server, tmp_path):
    (tmp_path / "actions.py").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "event_channels.py").write_text(CHANNELS, encoding="utf-8")
    port = free_port()
    words = ["-m", "servey", "run", "--port", str(port), "--server", server]
    with started(words, port, cwd=tmp_path, SERVEY_DRAIN="0", SERVEY_DEBUG="1") as running:
        # uvicorn closes the connection of a request that failed.
        with httpx.Client(base_url=running.url, limits=httpx.Limits(max_keepalive_connections=0)) as http:
            for path in PATHS:
                http.get(path)
            stream = http.stream("GET", f"/subscription/news/{CANARY}", headers={"Accept": "text/event-stream"})
            with stream as events:
                assert next(events.iter_lines()) == "event: ready"
        running.end()
        assert access_lines(running.log.read_text(encoding="utf-8")) == SHOWN


LAMBDA = """
import actions
from servey.aws import handler

class LambdaContext:
    aws_request_id = "r-1"

for path in %r:
    path, _, query = path.partition("?")
    handler({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": {},
        "requestContext": {"http": {"method": "GET", "path": path}, "stage": "$default"},
    }, LambdaContext())
"""


def test_the_log_of_a_function_in_lambda_has_no_secrets(tmp_path):
    (tmp_path / "actions.py").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "program.py").write_text(LAMBDA % PATHS, encoding="utf-8")
    done = run("program.py", cwd=tmp_path, AWS_LAMBDA_FUNCTION_NAME="shop", SERVEY_ENV="prod")
    assert done.returncode == 0, done.stderr
    assert access_lines(done.stderr) == SHOWN[:3]
