"""Exception handlers and middleware see the same as on a plain FastAPI app."""

import logging
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient

from servey import WEB_GET, WEB_POST, NotFound, Servey, Settings, action, create_app

SETTINGS = Settings(env="dev")
SEEN: list[str] = []


class Boom(Exception):
    pass


async def fails(x: int = Body(embed=True)) -> str:
    raise Boom("inner")


async def fails_in_servey(x: int) -> str:
    raise Boom("inner")


async def breaks() -> str:
    raise Boom("inner")


async def refuses() -> str:
    raise HTTPException(418, "teapot", {"X-Pot": "1"})


async def fine() -> str:
    return "fine"


async def opened() -> Any:
    try:
        yield "open"
    except Exception as error:
        SEEN.append(f"dependency {type(error).__name__}")
        raise


async def breaks_with_a_dependency(held: str = Depends(opened)) -> str:
    raise Boom("inner")


ROUTES = {"breaks": breaks, "refuses": refuses, "fine": fine, "breaks-with-a-dependency": breaks_with_a_dependency}


def twin(**options: Any) -> FastAPI:
    api = FastAPI(**options)
    api.post("/actions/fails")(fails)
    for name, function in ROUTES.items():
        api.get(f"/actions/{name}")(function)
    return api


def actions() -> list[Any]:
    gets = [action(triggers=WEB_GET)(each) for each in (breaks, refuses, fine, breaks_with_a_dependency)]
    return [*gets, action(triggers=WEB_POST, name="fails")(fails_in_servey)]


def ours(**options: Any) -> FastAPI:
    return create_app(actions=actions(), settings=SETTINGS, **options)


def generic(**options: Any) -> FastAPI:
    """The same app, whose routes are not compiled."""
    app = ours(**options)
    for route in app.routes:
        if hasattr(type(route), "direct"):
            route.__dict__["serve"] = None
    return app


def installed(**options: Any) -> FastAPI:
    api = FastAPI(**options)
    Servey(actions=actions(), settings=SETTINGS).install(api)
    return api


def mounted(**options: Any) -> FastAPI:
    @asynccontextmanager
    async def lifespan(api: FastAPI) -> Any:
        async with sub.running():
            yield

    sub = ours(**options)
    api = FastAPI(lifespan=lifespan)
    api.mount("/", sub)
    return api


BUILDS = [ours, generic, installed, mounted]


def outcome(app: FastAPI, method: str, path: str, **options: Any) -> tuple[Any, ...]:
    SEEN.clear()
    with TestClient(app, raise_server_exceptions=False) as http:
        answer = http.request(method, path, **options)
    text = answer.text if answer.headers.get("x-handled") or answer.is_success else ""
    return answer.status_code, text, answer.headers.get("x-pot"), list(SEEN)


async def reads_body(request: Request, error: Exception) -> JSONResponse:
    SEEN.append(f"handler {type(error).__name__}")
    found = {"body": (await request.body()).decode(), "path": request.url.path}
    return JSONResponse(found, 499, {"X-Handled": "1"})


async def reads_exc_body(request: Request, error: RequestValidationError) -> JSONResponse:
    found = {"body": error.body, "errors": [each["loc"][0] for each in error.errors()]}
    return JSONResponse(found, 499, {"X-Handled": "1"})


def plain_handler(request: Request, error: Exception) -> PlainTextResponse:
    SEEN.append(f"handler {type(error).__name__} {getattr(error, 'status_code', '')}")
    return PlainTextResponse(f"{getattr(error, 'detail', error)}", 499, {"X-Handled": "1"})


HANDLERS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "Boom reads the body": (Boom, reads_body),
    "validation reads the body": (RequestValidationError, reads_body),
    "validation reads exc.body": (RequestValidationError, reads_exc_body),
    "404": (404, plain_handler),
    "405": (405, plain_handler),
    "418": (418, plain_handler),
    "HTTPException": (HTTPException, plain_handler),
    "Starlette's HTTPException": (StarletteHTTPException, plain_handler),
    "500": (500, plain_handler),
    "Exception": (Exception, plain_handler),
    "ValueError": (ValueError, plain_handler),
}
REQUESTS = [
    ("POST", "/actions/fails"),
    ("GET", "/actions/breaks"),
    ("GET", "/actions/refuses"),
    ("GET", "/actions/breaks-with-a-dependency"),
    ("GET", "/nowhere"),
    ("DELETE", "/actions/fine"),
    ("GET", "/actions/fine"),
]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_is_called_as_in_fastapi(name, build):
    key, handler = HANDLERS[name]
    apps = [make(exception_handlers={key: handler}) for make in (twin, build)]
    for method, path in REQUESTS:
        wanted, got = (outcome(app, method, path) for app in apps)
        assert got == wanted, (method, path)


def test_a_handler_added_by_a_decorator_is_called():
    app = ours()
    app.exception_handler(404)(plain_handler)
    app.exception_handler(Boom)(reads_body)
    assert outcome(app, "GET", "/nowhere")[:2] == (499, "Not Found")
    assert outcome(app, "POST", "/actions/fails", json={"x": 1})[1] == '{"body":"{\\"x\\":1}","path":"/actions/fails"}'


def test_a_body_is_read_by_the_handler():
    for build in BUILDS:
        for key, value in ((Boom, 1), (RequestValidationError, "no")):
            app = build(exception_handlers={key: reads_body})
            wanted = outcome(twin(exception_handlers={key: reads_body}), "POST", "/actions/fails", json={"x": value})
            assert outcome(app, "POST", "/actions/fails", json={"x": value}) == wanted
        for content in (b'{"x":', b"[1]", b""):
            app = build(exception_handlers={RequestValidationError: reads_exc_body})
            options = {"content": content, "headers": {"content-type": "application/json"}}
            wanted = outcome(
                twin(exception_handlers={RequestValidationError: reads_exc_body}), "POST", "/actions/fails", **options
            )
            assert outcome(app, "POST", "/actions/fails", **options) == wanted


class Transaction:
    """Pure ASGI middleware that rolls back if the app raises."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            SEEN.append(f"rollback {type(error).__name__}")
            raise
        SEEN.append("commit")


async def transaction(request: Request, call_next: Any) -> Any:
    try:
        response = await call_next(request)
    except Exception as error:
        SEEN.append(f"base rollback {type(error).__name__}")
        raise
    SEEN.append(f"base commit {response.status_code}")
    return response


@pytest.mark.parametrize("build", BUILDS)
def test_middleware_sees_unexpected_errors_as_in_fastapi(build):
    around = [Middleware(Transaction), Middleware(BaseHTTPMiddleware, dispatch=transaction)]
    apps = [make(middleware=around) for make in (twin, build)]
    for method, path in REQUESTS:
        wanted, got = (outcome(app, method, path) for app in apps)
        assert got[0] == wanted[0], (method, path)
        assert got[2:] == wanted[2:], (method, path)


@pytest.mark.parametrize("build", BUILDS)
def test_an_unexpected_error_is_answered_and_reaches_the_server(build, caplog):
    app = build()
    with TestClient(app) as http, pytest.raises(Boom):
        http.get("/actions/breaks")
    with TestClient(app, raise_server_exceptions=False) as http:
        answer = http.get("/actions/breaks", headers={"X-Request-ID": "abc"})
        assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error", "code": "internal"})
        assert answer.headers["x-request-id"] == "abc"
    assert "action 'breaks' failed (request abc)" in caplog.text


def test_a_server_does_not_log_an_error_again(caplog):
    with TestClient(ours(), raise_server_exceptions=False) as http:
        http.get("/actions/fine")
    server = logging.getLogger("uvicorn.error")
    for route in ("breaks", None):
        error: Exception = ValueError("another")
        if route is not None:
            with TestClient(ours()) as http, pytest.raises(Boom) as raised:
                http.get(f"/actions/{route}")
            error = raised.value
        caplog.clear()
        server.error("Exception in ASGI application", exc_info=error)
        assert ("Exception in ASGI application" in caplog.text) == (route is None)


def test_the_hosts_own_routes_keep_their_500():
    api = installed()

    @api.get("/own")
    def own() -> None:
        raise Boom

    with TestClient(api, raise_server_exceptions=False) as http:
        assert http.get("/own").text == "Internal Server Error"


def test_debug_shows_the_traceback_if_the_author_asks_for_it():
    with TestClient(ours(debug=True), raise_server_exceptions=False) as http:
        assert "Traceback" in http.get("/actions/breaks").text
        assert http.get("/actions/fine").json() == "fine"


def test_an_error_of_servey_keeps_its_body_without_a_handler():
    async def missing() -> str:
        raise NotFound("no such thing")

    for app in (create_app(actions=[action(triggers=WEB_GET)(missing)], settings=SETTINGS), FastAPI()):
        if not isinstance(app, Servey):
            Servey(actions=[action(triggers=WEB_GET)(missing)], settings=SETTINGS).install(app)
        with TestClient(app) as http:
            assert http.get("/actions/missing").json() == {"detail": "no such thing", "code": "not_found"}
