"""A host that Servey is installed in looks at few of its routes, and answers as if it looked at all of them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.routing import APIRoute
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from servey import WEB_GET, WEB_POST, Servey, Settings, WebTrigger, action, websocket_event_channel
from servey.testing import client

DEV = Settings(env="dev")
PATHS = ("/actions/a", "/actions/b/", "/{x}/a", "/words/{word}", "/words/{n:int}", "/{rest:path}", "/files/{name}.txt")


async def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url.path} {sorted(request.path_params.items())} {request.app.title}")


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse(f"mounted {scope['root_path']}")(scope, receive, send)


def ours() -> Servey:
    def made(name: str, trigger: Any) -> Any:
        async def answer() -> str:
            return name

        return action(triggers=trigger, name=name)(answer)

    @action(triggers=WebTrigger("GET", "/words/{word}"))
    async def word(word: str) -> str:
        return word

    actions = [made("a", [WEB_GET, WEB_POST]), made("b", WEB_GET), made("c", WebTrigger("DELETE", "/words/one")), word]
    return Servey(actions=actions, channels=[websocket_event_channel("news", str)], settings=DEV)


def add_own(host: FastAPI, random: Random, number: int) -> None:
    """Add one of the many kinds of routes that a host may have, at the end or at the beginning."""
    kind, path = random.randrange(6), random.choice(PATHS)
    methods = random.choice((["GET"], ["POST"], ["DELETE"]))
    if kind == 0:
        host.add_api_route(path, lambda: f"api {number}", methods=methods, name=f"own{number}")
    elif kind == 1:
        host.router.add_route(path, plain, methods=methods)
    elif kind == 2:
        inner = APIRouter(prefix=random.choice(("/words", "/actions", "/inner")))
        inner.add_api_route(random.choice(("/a", "/one", "/{x}")), lambda: f"included {number}", methods=methods)
        host.include_router(inner)
    elif kind == 3:
        host.router.routes.append(Mount(random.choice(("/files", "/words/sub")), app=mounted))
    else:
        host.router.routes.insert(random.randrange(len(host.router.routes)), Route(path, plain, methods=methods))


def host_of(random: Random) -> FastAPI:
    host = FastAPI(title="host", redirect_slashes=random.random() < 0.8)
    for number in range(random.randint(0, 4)):
        add_own(host, random, number)
    ours().install(host, prefix=random.choice(("", "", "/servey")))
    for number in range(4, 4 + random.randint(0, 3)):
        add_own(host, random, number)
    return host


def answers(host: FastAPI, requests: list[tuple[str, str]]) -> list[Any]:
    found = []
    with client(host) as http:
        for method, path in requests:
            answer = http.request(method, path, follow_redirects=False)
            headers = {
                name: answer.headers.get(name) for name in ("allow", "location", "content-type", "content-length")
            }
            found.append((method, path, answer.status_code, headers, answer.text if method != "HEAD" else ""))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_it_answers_like_a_host_that_looks_at_all_routes(seed: int) -> None:
    random = Random(seed)
    starts = ("", "/servey", "/actions", "/servey/actions", "/words", "/servey/words", "/files", "/inner", "/x")
    requests = [
        (random.choice(("GET", "GET", "POST", "HEAD", "DELETE", "PUT")), random.choice(starts) + random.choice(ends))
        for ends in [("/a", "/b", "/b/", "/one", "/7", "/a/", "/x.txt", "/sub/x", "", "/nowhere")] * 120
    ]
    narrowed, whole = host_of(Random(seed)), host_of(Random(seed))
    whole.router.middleware_stack = whole.router.app
    assert answers(narrowed, requests) == answers(whole, requests)
    assert [getattr(route, "path", "") for route in narrowed.routes] == [
        getattr(route, "path", "") for route in whole.routes
    ]
    assert narrowed.openapi() == whole.openapi()
    assert narrowed.url_path_for("word", word="w") == whole.url_path_for("word", word="w")


def test_a_host_asks_few_of_many_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    def filler(number: int) -> Any:
        async def answer(name: str) -> str:
            return name

        return action(triggers=WEB_GET, name=f"filler_{number}")(answer)

    host = FastAPI()
    Servey(actions=map(filler, range(300)), channels=[websocket_event_channel("news", str)], settings=DEV).install(host)
    host.add_api_route("/own", lambda: "own")
    asked = 0
    for cls in {type(route) for route in host.router.routes}:
        own = cls.matches

        def matches(self: Any, scope: Any, own: Any = own) -> Any:
            nonlocal asked
            asked += 1
            return own(self, scope)

        matches.__module__ = own.__module__
        monkeypatch.setattr(cls, "matches", matches)
    requests: list[tuple[str, str, int]] = [
        ("GET", "/actions/filler-299?name=a", 200),
        ("HEAD", "/actions/filler-299?name=a", 200),
        ("POST", "/actions/filler-299", 405),
        ("GET", "/own", 200),
        ("POST", "/own", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/actions/filler-1/?name=a", 200),
    ]
    with client(host) as http:
        for method, path, status in requests:
            asked = 0
            answer = http.request(method, path)
            assert (answer.status_code, asked <= 40) == (status, True), (method, path, asked)


def test_the_host_comes_first_also_with_what_it_adds_later() -> None:
    host = FastAPI()
    host.add_api_route("/actions/a", lambda: "the host's")
    ours().install(host)
    with client(host) as http:
        assert http.get("/actions/a").json() == "the host's"
        assert http.get("/words/one").json() == "one"
        assert http.get("/later").status_code == 404
        host.add_api_route("/later", lambda: "later")
        host.router.routes.insert(0, Route("/words/one", plain))
        assert http.get("/later").json() == "later"
        assert http.get("/words/one").text == "/words/one [] FastAPI"


def test_a_host_with_a_router_of_its_own_kind_is_left_alone() -> None:
    class Shouting(APIRouter):
        async def app(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == "/shout":
                await PlainTextResponse("HEY")(scope, receive, send)
                return
            await super().app(scope, receive, send)

    host = FastAPI()
    host.router.__class__ = Shouting
    host.router.middleware_stack = host.router.app
    ours().install(host)
    with client(host) as http:
        assert http.get("/shout").text == "HEY"
        assert http.get("/actions/a").json() == "a"


def denied() -> None:
    raise HTTPException(401)


@pytest.mark.parametrize("kind", ["app", "host"])
@pytest.mark.parametrize("path", ["/own", "/actions/a", "/words/one"])
def test_a_route_takes_the_place_of_one_that_is_equal_to_it(kind: str, path: str) -> None:
    app: FastAPI = ours()
    if kind == "host":
        servey, app = ours(), FastAPI()
        servey.install(app)
    app.add_api_route("/own", lambda: "own")
    with client(app) as http:
        assert http.get(path).status_code == 200
        for place, route in enumerate(app.router.routes):
            if isinstance(route, APIRoute) and "GET" in route.methods and route.path.partition("{")[0] in path:
                guard = [Depends(denied)]
                app.router.routes[place] = APIRoute(
                    route.path, route.endpoint, methods=route.methods, dependencies=guard
                )
                assert app.router.routes[place] == route
        assert http.get(path).status_code == 401
