"""What is observed of calls: log lines, metrics, spans, on one call path for all transports."""

import io
import json
import logging

import httpx
import pytest
from fastapi import FastAPI

from servey import WEB_GET, WEB_POST, ActionError, Authorization, Settings, action, create_app
from servey.logs import LogWriter
from servey.metrics import CALL_SECONDS, CALLS, HTTP_REQUESTS
from servey.telemetry import Observer, observer_of, processing, sending

pytestmark = pytest.mark.anyio

SECRET = "a secret that is long enough for HS256"


@action(triggers=WEB_GET)
async def greet(name: str) -> str:
    logging.getLogger("shop").warning("greeting\n%s", "someone")
    return f"Hello {name}"


@action(triggers=WEB_POST)
async def refuse(authorization: Authorization, password: str) -> None:
    raise ActionError(418, "teapot", "no coffee")


@action(triggers=WEB_GET)
async def fail() -> None:
    raise RuntimeError("db://user:pw@host")


class Watched:
    """An app whose lines are kept."""

    def __init__(self, **settings):
        self.stream = io.StringIO()
        self.writer = LogWriter(self.stream)
        self.app = create_app(
            actions=[greet, refuse, fail], settings=Settings(jwt_secret_key=SECRET, metrics=True, **settings)
        )
        self.runtime = self.app.runtime
        self.runtime.observer = Observer(self.runtime.metrics, self.writer, None)

    def lines(self):
        self.writer.flush()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def token(self):
        return self.runtime.authorizer.sign(Authorization(subject_id="u1", scopes=frozenset()), lifetime=60)


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=True), base_url="http://test")


@pytest.fixture
def watched():
    made = Watched()
    yield made
    made.writer.close()


async def test_a_call_is_one_line_without_anything_secret(watched):
    async with client(watched.app) as http:
        token = watched.token()
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "r1"}
        answer = await http.post("/actions/refuse?key=CANARY-query", json={"password": "CANARY-body"}, headers=headers)
    assert answer.status_code == 418, answer.text
    line = watched.lines()[-1]
    assert line.pop("duration_ms") >= 0
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "servey.access",
        "msg": "POST /actions/refuse 418",
        "request_id": "r1",
        "transport": "rest",
        "action": "refuse",
        "subject": "u1",
        "status": 418,
        "method": "POST",
        "route": "/actions/refuse",
    }
    assert "CANARY" not in watched.stream.getvalue()
    assert token not in watched.stream.getvalue()


async def test_calls_are_counted_by_action_transport_and_status(watched):
    async with client(watched.app) as http:
        assert (await http.get("/actions/greet", params={"name": "you"})).status_code == 200
        assert (await http.get("/actions/greet")).status_code == 422
        assert (await http.get("/actions/fail")).status_code == 500
        assert (await http.get("/nowhere")).status_code == 404
        text = (await http.get("/metrics")).text
    metrics = watched.runtime.metrics
    assert metrics.value(CALLS, "greet", "rest", "200") == 1
    assert metrics.value(CALLS, "greet", "rest", "422") == 1
    assert metrics.value(CALLS, "fail", "rest", "500") == 1
    assert metrics.value(CALL_SECONDS, "greet", "rest") == 2
    assert metrics.value(HTTP_REQUESTS, "GET", "", "404") == 1
    assert 'servey_calls_total{action="greet",transport="rest",status="200"} 1' in text.splitlines()
    assert 'servey_http_requests_total{method="GET",route="",status="404"} 1' in text.splitlines()


async def test_what_an_action_logs_says_in_which_call(watched):
    logger = logging.getLogger("shop")
    logger.addHandler(watched.writer)
    try:
        async with client(watched.app) as http:
            await http.get("/actions/greet", params={"name": "you"}, headers={"X-Request-ID": "r2"})
    finally:
        logger.removeHandler(watched.writer)
    line = watched.lines()[0]
    assert line["msg"] == "greeting\nsomeone"
    assert (line["request_id"], line["transport"], line["action"]) == ("r2", "rest", "greet")
    assert watched.stream.getvalue().count("\n") == 2


async def test_calls_of_other_transports_have_lines_of_their_own(watched):
    from servey.invoke import invoke

    async with watched.runtime.context("job", request_id="j1", trusted=True) as context:
        assert await invoke(greet.servey_action, {"name": "you"}, context) == "Hello you"
    line = watched.lines()[-1]
    assert (line["request_id"], line["transport"], line["action"], line["status"]) == ("j1", "job", "greet", 200)
    assert watched.runtime.metrics.value(CALLS, "greet", "job", "200") == 1


async def test_nobody_is_observed_unless_somebody_wants_to_know():
    app = create_app(actions=[greet], settings=Settings())
    async with app.running():
        assert app.runtime.observer is None
        with sending(app.runtime, "servey_jobs", "greet") as carrier:
            assert carrier == {}
        with processing(app.runtime, "servey_jobs", "greet", None):
            pass
        async with client(app) as http:
            assert (await http.get("/metrics")).status_code == 404
    counting = create_app(actions=[greet], settings=Settings(metrics=True))
    async with counting.running():
        assert isinstance(counting.runtime.observer, Observer)


async def test_an_installed_app_is_observed_too():
    host = FastAPI()
    made = create_app(actions=[greet], settings=Settings(metrics=True))
    made.install(host, prefix="/servey")
    async with host.router.lifespan_context(host), client(host) as http:
        assert (await http.get("/servey/actions/greet", params={"name": "you"})).status_code == 200
    assert made.runtime.metrics.value(CALLS, "greet", "rest", "200") == 1
    assert made.runtime.metrics.value(HTTP_REQUESTS, "GET", "/servey/actions/greet", "200") == 1


async def test_too_many_lines_are_dropped_and_that_is_told(monkeypatch):
    monkeypatch.setattr("servey.logs.MAX_WAITING_LINES", 0)
    stream = io.StringIO()
    writer = LogWriter(stream)
    for _ in range(3):
        writer.line({"ts": 0, "msg": "lost"})
    writer.close()
    assert [json.loads(line)["msg"] for line in stream.getvalue().splitlines()] == [
        "3 lines of the log were dropped; they came faster than they can be written"
    ]


async def test_ready_names_the_part_that_does_not_answer(watched, caplog):
    class Broken:
        async def check(self):
            raise ConnectionError("redis://:CANARY@host does not answer")

    async with client(watched.app) as http:
        assert (await http.get("/health/ready")).json() == {"status": "ok"}
        watched.runtime.parts_in_use["queue"] = Broken()
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "failing", "failing": ["queue"]})
        watched.runtime.parts_in_use.clear()
        assert (await http.get("/health/ready")).status_code == 200
        watched.runtime.drain()
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
        assert (await http.get("/health/live")).status_code == 200
    assert "the queue does not answer" in caplog.text


def test_observers_ask_the_sdk(monkeypatch):
    app = create_app(actions=[greet], settings=Settings())
    assert observer_of(app.runtime) is None
