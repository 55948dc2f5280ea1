"""What monitoring tools wrap is called for every request, once; what is changed at run time takes effect."""

import functools
from contextlib import asynccontextmanager
from typing import Any

import fastapi.routing
import pytest
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from servey import WEB_GET, Servey, Settings, WebTrigger, action, create_app

SETTINGS = Settings(env="dev")


async def a() -> str:
    return "a"


async def asks(request: Request) -> str:
    return str(request.state.name)


def make(**options: Any) -> Servey:
    return create_app(actions=[action(triggers=WEB_GET)(each) for each in (a, asks)], settings=SETTINGS, **options)


def index_of(app: FastAPI, path: str = "/actions/a") -> int:
    return [getattr(route, "path", "") for route in app.routes].index(path)


class Proxy:
    """A transparent wrapper, as monitoring tools use: everything but a call goes to the wrapped object."""

    def __init__(self, wrapped: Any, seen: list[Any]) -> None:
        self._wrapped, self._seen = wrapped, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return Proxy(self._wrapped.__get__(instance, owner), self._seen) if instance is not None else self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        scope = next((each for each in (*args, *kwargs.values()) if isinstance(each, dict)), None)
        self._seen.append(getattr((scope or {}).get("route"), "name", "called"))
        return self._wrapped(*args, **kwargs)


def get(app: Any, path: str = "/actions/a") -> Any:
    with TestClient(app) as http:
        return http.get(path)


@pytest.mark.parametrize(("owner", "name"), [(APIRoute, "handle"), (Route, "handle")])
def test_a_wrapped_method_of_the_route_sees_each_request(owner, name, monkeypatch):
    app, seen = make(), []
    assert get(app).json() == "a"
    monkeypatch.setattr(owner, name, Proxy(getattr(owner, name), seen))
    assert get(app).json() == "a"
    assert seen == ["a"]


@pytest.mark.parametrize("name", ["get_request_handler", "run_endpoint_function", "request_response"])
def test_a_wrapped_function_of_fastapi_sees_each_request(name, monkeypatch):
    seen: list[str] = []
    original = getattr(fastapi.routing, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        if name == "run_endpoint_function":
            call = kwargs["dependant"].call
            seen.append(f"{call.__module__}.{call.__qualname__}")
            return found

        @functools.wraps(found)
        async def inner(*args: Any) -> Any:
            seen.append(args[0]["route"].name if isinstance(args[0], dict) else args[0].scope["route"].name)
            return await found(*args)

        return inner

    monkeypatch.setattr(fastapi.routing, name, wrapped)
    app = make()
    for _ in range(2):
        assert get(app).json() == "a"
    assert seen == [f"{__name__}.a" if name == "run_endpoint_function" else "a"] * 2


@pytest.mark.parametrize("owner", [Starlette, FastAPI])
def test_a_wrapped_app_class_sees_each_request(owner, monkeypatch):
    app, seen = make(), []
    assert get(app).json() == "a"
    monkeypatch.setattr(owner, "__call__", Proxy(owner.__call__, seen))
    seen.clear()
    with TestClient(app) as http:
        seen.clear()  # the lifespan
        assert http.get("/actions/a").json() == "a"
        assert len(seen) == 1


@pytest.mark.parametrize("attribute", ["handle", "app"])
def test_a_wrapped_attribute_of_a_route_sees_each_request(attribute):
    app, seen = make(), []
    assert get(app).json() == "a"
    route: Any = app.routes[index_of(app)]
    setattr(route, attribute, Proxy(getattr(route, attribute), seen))
    assert get(app).json() == "a"
    assert seen == ["a"]


def test_a_wrapped_endpoint_sees_each_request(monkeypatch):
    seen: list[str] = []
    init = APIRoute.__init__

    def wrapping(self: Any, path: str, endpoint: Any, **kwargs: Any) -> None:
        @functools.wraps(endpoint)
        async def watched(**given: Any) -> Any:
            seen.append(endpoint.__qualname__)
            return await endpoint(**given)

        init(self, path, watched, **kwargs)

    monkeypatch.setattr(APIRoute, "__init__", wrapping)
    app = make()
    assert get(app).json() == "a"
    assert seen == ["a"]


def test_a_wrapped_middleware_stack_sees_each_request():
    app, seen = make(), []
    assert get(app).json() == "a"
    app.middleware_stack = Proxy(app.middleware_stack, seen)
    with TestClient(app) as http:
        seen.clear()
        assert http.get("/actions/a").json() == "a"
        assert http.get("/nowhere").status_code == 404
    assert len(seen) == 2


def test_an_endpoint_has_the_names_of_its_function():
    app = make()
    endpoint = app.routes[index_of(app)].endpoint  # type: ignore[attr-defined]
    assert (endpoint.__module__, endpoint.__qualname__, endpoint.__name__) == (__name__, "a", "a")


async def other(request: Request) -> PlainTextResponse:
    return PlainTextResponse("other")


def test_routes_changed_at_run_time_take_effect():
    app = make()
    with TestClient(app) as http:
        assert http.get("/actions/a").json() == "a"
        place = index_of(app)
        first = app.router.routes[place]
        app.router.routes[place] = Route("/actions/a", other)
        assert http.get("/actions/a").text == "other"
        app.router.routes[place] = first
        assert http.get("/actions/a").json() == "a"
        app.router.routes.insert(0, Route("/actions/{name}", other))
        assert http.get("/actions/a").text == "other"
        app.router.routes[0] = Route("/elsewhere", other)
        assert http.get("/actions/a").json() == "a"
        app.router.routes[0] = Route("/{path:path}", other)
        assert http.get("/actions/a").text == "other"
        app.router.routes.reverse()
        assert http.get("/actions/a").json() == "a"
        app.router.routes = [route for route in app.router.routes if getattr(route, "path", "") == "/actions/asks"]
        assert http.get("/actions/a").status_code == 404


def test_the_urls_of_the_documents():
    assert get(make(docs_url="/swagger"), "/swagger").status_code == 200
    assert get(make(docs_url="/swagger"), "/docs").status_code == 404
    assert get(make(docs_url=None), "/docs").status_code == 404
    assert get(make(redoc_url=None), "/redoc").status_code == 404
    assert get(make(redoc_url="/re"), "/re").status_code == 200
    moved = make(openapi_url="/api.json")
    assert get(moved, "/api.json").json()["openapi"].startswith("3.1")
    assert "/api.json" in get(moved, "/docs").text
    none = make(openapi_url=None)
    assert [get(none, path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3
    page = get(make(swagger_ui_parameters={"deepLinking": False, "docExpansion": "none"}), "/docs").text
    assert '"docExpansion":"none"' in page
    assert '"deepLinking":false' in page


@asynccontextmanager
async def lifespan(app: Any) -> Any:
    yield {"name": "ada"}


def test_the_state_of_a_lifespan_is_the_requests():
    host = FastAPI()
    Servey(actions=[action(triggers=WEB_GET)(asks)], settings=SETTINGS, lifespan=lifespan).install(host)
    own_host = FastAPI(lifespan=lifespan)
    Servey(actions=[action(triggers=WEB_GET)(asks)], settings=SETTINGS).install(own_host)
    for app in (make(lifespan=lifespan), host, own_host):
        assert get(app, "/actions/asks").json() == "ada"


def test_the_state_of_a_mounted_apps_lifespan_is_the_requests():
    sub = make(lifespan=lifespan)

    @asynccontextmanager
    async def hosts(app: Any) -> Any:
        async with sub.running():
            yield

    host = FastAPI(lifespan=hosts)
    host.mount("/sub", sub)
    assert get(host, "/sub/actions/asks").json() == "ada"


@pytest.mark.parametrize("path", ["/actions/a", "/things/5"])
def test_what_is_around_the_app_finds_the_matched_route_as_in_fastapi(path):
    async def thing(number: int) -> int:
        return number

    twin = FastAPI()
    twin.add_api_route("/actions/a", a)
    twin.add_api_route("/things/{number}", thing)
    ours = create_app(
        actions=[action(triggers=WEB_GET)(a), action(triggers=WebTrigger("GET", "/things/{number}"))(thing)],
        settings=SETTINGS,
    )
    seen = []
    for app in (twin, ours):
        matched: dict[str, Any] = {}

        async def around(
            scope: Any, receive: Any, send: Any, app: FastAPI = app, matched: dict[str, Any] = matched
        ) -> None:
            await app(scope, receive, send)
            if scope["type"] == "http":
                matched |= {key: scope[key] for key in ("route", "endpoint", "path_params", "router", "app")}

        assert get(around, path).status_code == 200
        assert matched["app"] is app and matched["router"] is app.router
        seen.append((matched["route"].path, matched["endpoint"].__name__, matched["path_params"]))
    assert seen[0] == seen[1]
