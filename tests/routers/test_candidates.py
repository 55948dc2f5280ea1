"""A router that looks at a few routes answers like one that looks at all of them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from fastapi import APIRouter, Depends, Header
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Match, Mount, Route
from starlette.websockets import WebSocket, WebSocketDisconnect

from servey import WEB_GET, Settings, TtlCacheControl, WebTrigger, action, create_app, websocket_event_channel
from servey.routers.rest.candidates import Candidates
from servey.testing import client

DEV = Settings(env="dev")


async def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.scope['path']} {sorted(request.path_params.items())}")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(websocket.path_params)
    await websocket.close()


class EveryPath(Route):
    """A user's route that decides itself."""

    def matches(self, scope: Any) -> Any:
        return (Match.FULL, {"endpoint": self.endpoint}) if "odd" in scope["path"] else (Match.NONE, {})


SEGMENTS = ("a", "b", "{x}", "{y:int}", "v-{z}", "a.b", "{rest:path}")


def router_of(random: Random) -> APIRouter:
    router = APIRouter(redirect_slashes=random.random() < 0.8)
    for _ in range(20):
        kind = random.random()
        parts = [random.choice(SEGMENTS) for _ in range(random.randint(1, 3))]
        path = "/" + "/".join(dict.fromkeys(parts)) + random.choice(("", "", "/"))
        if kind < 0.6:
            router.add_route(path, plain, methods=[random.choice(("GET", "POST"))])
        elif kind < 0.75:
            router.add_api_websocket_route(path, socket)
        elif kind < 0.85:
            router.routes.append(Mount(f"/{random.choice('ab')}", app=plain_app))
        elif kind < 0.9:
            router.routes.append(EveryPath("/nothing", plain))
        else:
            inner = APIRouter(prefix="/a")
            inner.add_api_route("/{x}", lambda x: x, methods=["GET"])
            router.include_router(inner)
    return router


async def plain_app(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("mounted")(scope, receive, send)


@pytest.mark.parametrize("seed", range(40))
def test_no_route_that_matches_is_left_out(seed: int) -> None:
    random = Random(seed)
    router = router_of(random)
    candidates = Candidates(router.routes)
    for _ in range(300):
        path = "/" + "/".join(random.choice(("a", "b", "7", "v-1", "a.b", "axb", "odd", "")) for _ in range(3))
        path = path[: random.randint(1, len(path))]
        found = candidates.of(path)
        if found is None:
            continue
        for kind, method in (("http", "GET"), ("http", "POST"), ("http", "PUT"), ("websocket", "GET")):
            scope = {"type": kind, "method": method, "path": path, "headers": [], "root_path": ""}
            matching = [route for route in router.routes if route.matches(scope)[0] is not Match.NONE]
            assert matching == [route for route in found if route.matches(scope)[0] is not Match.NONE], path


def guard(x_key: str = Header()) -> str:
    return x_key


@action(triggers=WEB_GET)
async def with_dependency(key: str = Depends(guard)) -> str:
    return key


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def cached(name: str) -> str:
    return name


@action(triggers=WebTrigger("GET", "/words/{word}"))
async def word(word: str) -> str:
    return word


CHANNEL = websocket_event_channel("news", str)


def many(count: int) -> list[Any]:
    made = []
    for number in range(count):

        async def one(name: str) -> str:
            return name

        made.append(action(triggers=WEB_GET, name=f"filler_{number}")(one))
    return made


def test_a_request_asks_few_of_many_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(actions=[*many(300), with_dependency, cached, word], channels=[CHANNEL], settings=DEV)
    asked = 0
    for cls in {type(route) for route in app.router.routes}:
        own = cls.matches

        def matches(self: Any, scope: Any, own: Any = own) -> Any:
            nonlocal asked
            asked += 1
            return own(self, scope)

        matches.__module__ = own.__module__
        monkeypatch.setattr(cls, "matches", matches)
    with client(app) as http:
        requests: list[tuple[str, str, dict[str, str], int]] = [
            ("GET", "/actions/with-dependency", {"X-Key": "k"}, 200),
            ("GET", "/actions/cached?name=a", {}, 200),
            ("HEAD", "/actions/filler-299?name=a", {}, 200),
            ("GET", "/actions/filler-299?name=a", {"Prefer": "handling=lenient"}, 200),
            ("GET", "/health/live", {}, 200),
            ("POST", "/actions/filler-299", {}, 405),
            ("GET", "/words/one", {"Prefer": "handling=lenient"}, 200),
            ("GET", "/nowhere", {}, 404),
            ("GET", "/actions/cached/?name=a", {}, 200),
        ]
        for method, path, headers, status in requests:
            asked = 0
            answer = http.request(method, path, headers=headers)
            assert (answer.status_code, asked <= 40) == (status, True), (method, path, asked)
        asked = 0
        with pytest.raises(WebSocketDisconnect), http.websocket_connect("/actions/filler-1"):
            pass
        assert asked <= 40


def test_the_allowed_methods_are_all_of_the_path() -> None:
    @action(triggers=WebTrigger("POST", "/words/{word}"))
    async def add(word: str) -> str:
        return word

    app = create_app(actions=[word, add], settings=DEV)
    with client(app) as http:
        assert http.delete("/words/one").headers["allow"] == "GET, HEAD, POST"


def test_routes_that_are_added_later_are_candidates() -> None:
    app = create_app(actions=[word], settings=DEV)
    with client(app) as http:
        assert http.get("/later").status_code == 404
        app.router.add_route("/later", plain)
        assert http.get("/later").text == "/later []"
        app.router.routes.insert(0, EveryPath("/nothing", plain))
        assert http.get("/words/odd", headers={"Prefer": "handling=lenient"}).text == "/words/odd []"
