"""The table finds what the router would find, or leaves it to the router."""

from collections import Counter
from random import Random

import httpx
import pytest
from fastapi import APIRouter, Request
from starlette.routing import Match

from servey import WEB_GET, Servey, Settings, WebTrigger, action, create_app
from servey.routers.rest.action_route import ActionRoute
from servey.routers.rest.dispatch import Table
from servey.testing import client

DEV = Settings(env="dev")
SEGMENTS = ("a", "b", "{x}", "{y}", "c")


def app_of(random: Random) -> Servey:
    """An app with routes of ours and of the user's that get in each other's way."""
    made, taken = [], set()
    for number in range(25):
        names = iter(("p", "q", "r"))
        parts = [random.choice(SEGMENTS) for _ in range(random.randint(1, 3))]
        path = "/" + "/".join("{" + next(names) + "}" if part[0] == "{" else part for part in parts)
        method = random.choice(("GET", "POST", "DELETE"))
        shape = (method, "/".join("{}" if part[0] == "{" else part for part in parts))
        if shape in taken:
            continue
        taken.add(shape)
        params = [name for name in ("p", "q", "r") if "{" + name + "}" in path]
        scope: dict = {}
        exec(f"async def f{number}({', '.join(f'{name}: str' for name in params)}) -> str: return 'f{number}'", scope)
        made.append(action(triggers=WebTrigger(method, path))(scope[f"f{number}"]))
    app = create_app(actions=made, settings=DEV)
    for path in random.sample(["/a", "/a/{p}", "/own/{p}/b", "/b/c", "/files/{p:path}", "/a-{p}"], 3):

        @app.get(path)
        def own(request: Request) -> str:
            return request.url.path

    return app


def found_by_scan(app: Servey, method: str, path: str):
    scope = {"type": "http", "method": method, "path": path, "headers": [], "root_path": ""}
    for route in app.router.routes:
        match, child = route.matches(scope)
        if match is Match.FULL:
            return route, list(child.get("path_params", {}).values())
    return None, []


@pytest.mark.parametrize("seed", range(30))
def test_it_finds_what_a_scan_finds(seed):
    random = Random(seed)
    app = app_of(random)
    table = Table(app.router.routes)
    hits = Counter[str]()
    for _ in range(300):
        path = "/" + "/".join(random.choice(("a", "b", "c", "z", "own", "")) for _ in range(random.randint(1, 4)))
        method = random.choice(("GET", "HEAD", "POST", "DELETE"))
        route, values = found_by_scan(app, method, path)
        found = table.find(method, path)
        if found is not None:
            hits[method] += 1
            assert (found[0], list(found[1])) == (route, values), path
        methods = table.methods(path)
        if methods is not None:
            here = [each for each in ("DELETE", "GET", "HEAD", "POST") if found_by_scan(app, each, path)[0] is not None]
            assert methods == here, path
    assert hits.total() > 20
    assert hits["HEAD"] > 0


@action(triggers=WEB_GET)
async def hello(name: str = "World") -> str:
    return name


@action(triggers=WebTrigger("GET", "/{word}"))
async def word(word: str) -> str:
    return word


def test_routes_that_are_added_later_are_found():
    app = create_app(actions=[hello], settings=DEV)
    with client(app) as http:
        assert http.get("/later").status_code == 404

        @app.get("/later")
        def later() -> str:
            return "later"

        assert http.get("/later").json() == "later"
        router = APIRouter(prefix="/deep")
        router.get("/{x}")(later)
        app.include_router(router)
        assert http.get("/deep/1").json() == "later"
        assert http.get("/actions/hello").json() == "World"


def test_what_is_not_there_is_a_404_with_an_id_and_a_slash_too_much_is_redirected():
    app = create_app(actions=[hello], settings=DEV)
    with client(app) as http:
        answer = http.get("/nowhere", headers={"X-Request-ID": "mine"})
        assert (answer.status_code, answer.json()["code"], answer.headers["x-request-id"]) == (404, "not_found", "mine")
        assert http.get("/actions/hello/", follow_redirects=False).status_code == 307
        assert http.get("/actions/hello/").json() == "World"
        assert http.get("/docs").status_code == 200
        assert http.post("/actions/hello").headers["allow"] == "GET, HEAD"


def test_actions_that_take_any_path_stand_where_they_were_added():
    app = create_app(actions=[hello, word], settings=DEV)
    with client(app) as http:
        assert http.get("/anything").json() == "anything"
        assert http.get("/actions/hello?name=x").json() == "x"
        assert http.get("/actions%2Fhello").json() == "World"


@pytest.mark.anyio
async def test_below_a_root_path():
    app = create_app(actions=[hello, word], settings=DEV)
    transport = httpx.ASGITransport(app, root_path="/api")
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/api/actions/hello")).json() == "World"
        assert (await http.get("/api/x")).json() == "x"


def test_every_route_of_an_app_is_compiled_but_those_that_can_not_be():
    app = create_app(actions=[hello, word], settings=DEV)
    assert all(route.serve is not None for route in app.router.routes if isinstance(route, ActionRoute))
