"""What is observed of calls: log lines, metrics, spans, on one call path for all transports."""

import asyncio
import io
import json
import logging
import time

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.middleware.base import BaseHTTPMiddleware

from servey import WEB_GET, WEB_POST, ActionError, Authorization, FixedRateTrigger, Settings, action, create_app
from servey.core.queues import Depth
from servey.observability.logs import LogWriter
from servey.observability.metrics import CALL_SECONDS, CALLS, HTTP_REQUESTS
from servey.observability.telemetry import Observer, processing, sending
from servey.runtime.parts import Parts

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

    async def lines(self):
        await asyncio.to_thread(self.writer.flush)
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def token(self):
        return self.runtime.authorizer.sign(Authorization(subject_id="u1", scopes=frozenset()), lifetime=60)


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


@pytest.fixture
def watched():
    made = Watched()
    yield made
    made.writer.close()


@pytest.mark.anyio
async def test_a_call_is_one_line_without_anything_secret(watched):
    async with client(watched.app) as http:
        token = watched.token()
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "r1"}
        answer = await http.post("/actions/refuse?key=CANARY-query", json={"password": "CANARY-body"}, headers=headers)
    assert answer.status_code == 418
    line = (await watched.lines())[-1]
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


@pytest.mark.anyio
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


@pytest.mark.anyio
async def test_what_an_action_logs_says_in_which_call(watched):
    logger = logging.getLogger("shop")
    logger.addHandler(watched.writer)
    try:
        async with client(watched.app) as http:
            await http.get("/actions/greet", params={"name": "you"}, headers={"X-Request-ID": "r2"})
    finally:
        logger.removeHandler(watched.writer)
    line = (await watched.lines())[0]
    assert line["msg"] == "greeting\nsomeone"
    assert (line["request_id"], line["transport"], line["action"]) == ("r2", "rest", "greet")
    assert watched.stream.getvalue().count("\n") == 2


@pytest.mark.anyio
async def test_calls_of_other_transports_have_lines_of_their_own(watched):
    from servey.calls.invoke import invoke

    async with watched.runtime.context("job", request_id="j1", trusted=True) as context:
        assert await invoke(greet.servey_action, {"name": "you"}, context) == "Hello you"
    line = (await watched.lines())[-1]
    assert (line["request_id"], line["transport"], line["action"], line["status"]) == ("j1", "job", "greet", 200)
    assert watched.runtime.metrics.value(CALLS, "greet", "job", "200") == 1


@pytest.mark.anyio
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


@pytest.mark.anyio
async def test_an_installed_app_is_observed_too():
    host = FastAPI()
    made = create_app(actions=[greet], settings=Settings(metrics=True))
    made.install(host, prefix="/servey")
    async with host.router.lifespan_context(host), client(host) as http:
        assert (await http.get("/servey/actions/greet", params={"name": "you"})).status_code == 200
    assert made.runtime.metrics.value(CALLS, "greet", "rest", "200") == 1
    assert made.runtime.metrics.value(HTTP_REQUESTS, "GET", "/servey/actions/greet", "200") == 1


@pytest.mark.anyio
async def test_a_traced_call_has_its_span_behind_middleware_too():
    """Instrumentation wraps the middleware stack; middleware of one's own is around the same routes."""

    async def pass_on(request, call_next):
        return await call_next(request)

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(actions=[greet], settings=Settings(metrics=True))
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    async with app.running(), client(app) as http:
        app.runtime.observer = Observer(app.runtime.metrics, None, provider.get_tracer("servey"))
        for _ in range(2):
            assert (await http.get("/actions/greet", params={"name": "you"})).status_code == 200
    assert [span.name for span in exporter.get_finished_spans()] == ["action greet", "action greet"]


@pytest.mark.anyio
async def test_too_many_lines_are_dropped_and_that_is_told(monkeypatch):
    monkeypatch.setattr("servey.observability.logs.MAX_WAITING_LINES", 0)
    stream = io.StringIO()
    writer = LogWriter(stream)
    for _ in range(3):
        writer.line({"ts": 0, "msg": "lost"})
    await asyncio.to_thread(writer.close)
    assert [json.loads(line)["msg"] for line in stream.getvalue().splitlines()] == [
        "3 log lines were dropped, because they could not be written"
    ]


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.anyio
async def test_a_line_that_cannot_be_written_ends_no_others():
    stream = io.StringIO()
    writer = LogWriter(stream)
    writer.line({"ts": 0, "msg": Unprintable()})
    writer.line({"ts": 1e300, "msg": "far away"})
    writer.line({"ts": 0, "msg": "after"})
    await asyncio.to_thread(writer.close)
    found = [json.loads(line)["msg"] for line in stream.getvalue().splitlines()]
    assert [each.partition(":")[0] for each in found] == ["a log line could not be written"] * 2 + ["after"]


class Fragile:
    """A queue that may not answer."""

    problem: str | None = None

    async def check(self):
        if self.problem is not None:
            raise ConnectionError(self.problem)

    async def enqueue(self, job, *, delay=0, key=None): ...

    async def depth(self):
        await self.check()
        return Depth(queued=3, dead=1, due_at=time.time() - 60)

    async def aclose(self): ...


@action(triggers=FixedRateTrigger(3600))
async def tick() -> None: ...


@pytest.mark.anyio
async def test_ready_names_the_part_that_does_not_answer(caplog):
    queue = Fragile()
    app = create_app(actions=[tick], parts=Parts(queue=lambda settings: queue), settings=Settings(metrics=True))
    async with client(app) as http:
        assert (await http.get("/health/ready")).json() == {"status": "ok"}
        text = (await http.get("/metrics")).text.splitlines()
        assert {'servey_part_up{part="queue"} 1', "servey_jobs_queued 3", "servey_jobs_dead 1"} <= set(text)
        assert 59 < float(next(line for line in text if line.startswith("servey_jobs_oldest_seconds")).split()[1]) < 70
        queue.problem = "it is down"
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "failing", "failing": ["queue"]})
        text = (await http.get("/metrics")).text.splitlines()
        assert 'servey_part_up{part="queue"} 0' in text
        assert [line for line in text if line.startswith("servey_jobs_dead ")] == []
        queue.problem = None
        assert (await http.get("/health/ready")).status_code == 200
        app.runtime.drain()
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
        assert (await http.get("/health/live")).status_code == 200
    assert caplog.text.count("the queue does not answer: it is down") == 1
