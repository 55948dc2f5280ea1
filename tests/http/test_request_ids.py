"""A response has one X-Request-ID, also where middleware of the app sets its own, and the log has the same."""

import logging
from uuid import UUID

import pytest
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, Response

from servey import WEB_GET, Context, Settings, WebTrigger, action, create_app
from servey.observability import telemetry
from servey.testing import client


@action(triggers=WEB_GET)
async def ids(context: Context) -> list[str | None]:
    return [context.request_id, correlation_id.get()]


@action(triggers=WEB_GET)
async def broken() -> str:
    raise RuntimeError


@action(triggers=WebTrigger(path="/plain"))
async def plain() -> Response:
    return PlainTextResponse("", headers={"X-Request-ID": "of-the-action"})


PATHS = ["/actions/ids", "/actions/broken", "/nowhere", "/health/live"]


class Lines:
    """A writer that keeps the lines of the access log."""

    def __init__(self):
        self.lines = []

    def line(self, fields):
        self.lines.append(dict(fields))


@pytest.fixture
def log(monkeypatch):
    lines = Lines()
    monkeypatch.setattr(telemetry, "installed_writer", lambda: lines)
    return lines.lines


def app_with(*middleware):
    app = create_app(actions=[ids, broken, plain], settings=Settings(env="prod"))
    for each in middleware:
        app.add_middleware(each)
    return app


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", [None, "0b4f9e9e-6c1d-4f0e-9a5b-3f6f0c2b7d11", "not-a-uuid"])
def test_the_id_of_asgi_correlation_id_is_that_of_the_request(path, sent, log, caplog):
    caplog.set_level(logging.CRITICAL)
    with client(app_with(CorrelationIdMiddleware)) as http:
        answer = http.get(path, headers={"X-Request-ID": sent} if sent else {})
    (found,) = answer.headers.get_list("x-request-id")
    UUID(found)
    assert (found == sent) == (sent not in (None, "not-a-uuid"))
    assert [line["request_id"] for line in log] == [found]
    if path == "/actions/ids":
        assert answer.json() == [found, found]


class OnTheResponse(BaseHTTPMiddleware):
    """Sets its own id on the response only."""

    async def dispatch(self, request, call_next):
        answer = await call_next(request)
        answer.headers["X-Request-ID"] = "of-the-middleware"
        return answer


class InTheState(BaseHTTPMiddleware):
    """Sets its own id in the state of the request."""

    async def dispatch(self, request, call_next):
        request.state.request_id = "of-the-state"
        return await call_next(request)


@pytest.mark.parametrize("path", ["/actions/ids", "/nowhere", "/health/live"])
@pytest.mark.parametrize(
    ("middleware", "expected"), [(OnTheResponse, "of-the-middleware"), (InTheState, "of-the-state")]
)
def test_an_id_of_ones_own_middleware_is_kept(path, middleware, expected, log):
    with client(app_with(middleware)) as http:
        answer = http.get(path, headers={"X-Request-ID": "of-the-caller"})
    assert answer.headers.get_list("x-request-id") == [expected]
    assert [line["request_id"] for line in log] == [expected]


def test_without_middleware_an_action_does_not_replace_it(log):
    with client(app_with()) as http:
        answer = http.post("/plain", headers={"X-Request-ID": "of-the-caller"})
    assert answer.headers.get_list("x-request-id") == ["of-the-caller"]
    assert [line["request_id"] for line in log] == ["of-the-caller"]
