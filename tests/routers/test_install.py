"""Inside a FastAPI project that is there already: installed into it, or mounted in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from openapi_spec_validator import validate
from starlette.responses import JSONResponse, PlainTextResponse

from servey import (
    WEB_GET,
    WEB_POST,
    ConfigError,
    NotFound,
    ScopeAccessControl,
    Servey,
    Settings,
    WebTrigger,
    WebTriggerMethod,
    action,
    create_app,
)
from servey.testing import client

DEV = Settings(env="dev")


async def engine() -> str:
    return "real"


class Own(Exception):
    pass


@action(triggers=WEB_GET)
async def double(number: int) -> int:
    return 2 * number


@action(triggers=WEB_GET)
async def fail(how: str) -> None:
    raise {
        "own": Own("x"),
        "missing": NotFound("gone"),
        "http": HTTPException(418, "tea"),
        "odd": RuntimeError("secret"),
    }[how]


@action(triggers=WEB_GET)
async def which_engine(name: Annotated[str, Depends(engine)]) -> str:
    return name


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def guarded() -> None: ...


ACTIONS = [double, fail, which_engine, guarded]


def install(host: FastAPI, prefix: str = "/servey") -> Servey:
    app = Servey(actions=ACTIONS, settings=DEV)
    app.install(host, prefix=prefix)
    return app


def test_routes_stand_beside_the_hosts_own():
    host = FastAPI()

    @host.get("/own")
    def own() -> str:
        return "mine"

    install(host)
    with client(host) as http:
        assert http.get("/own").json() == "mine"
        assert http.get("/servey/actions/double?number=4").json() == 8
        assert http.head("/servey/actions/double?number=4").status_code == 200
        assert http.get("/servey/docs").status_code == 404
        assert http.get("/servey/health/live").status_code == 404
        wrong = http.post("/servey/actions/double")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_our_error_bodies_stand_where_the_host_has_no_handlers():
    host = FastAPI()
    install(host)
    with client(host) as http:
        answers = {how: http.get(f"/servey/actions/fail?how={how}") for how in ("missing", "http", "odd")}
        invalid = http.get("/servey/actions/double?number=x")
        anonymous = http.post("/servey/actions/guarded")
    assert {how: (answer.status_code, answer.json()["code"]) for how, answer in answers.items()} == {
        "missing": (404, "not_found"),
        "http": (418, "http_418"),
        "odd": (500, "internal"),
    }
    assert invalid.json()["detail"][0]["loc"] == ["query", "number"]
    assert (anonymous.status_code, anonymous.headers["www-authenticate"]) == (401, "Bearer")


def test_the_hosts_exception_handlers_apply():
    host = FastAPI()

    def handler_of(kind):
        async def handle(request: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"by": kind, "text": str(getattr(error, "detail", error))}, 499)

        return handle

    host.add_exception_handler(Own, handler_of("own"))
    host.add_exception_handler(RequestValidationError, handler_of("validation"))
    host.add_exception_handler(HTTPException, handler_of("http"))
    host.add_exception_handler(Exception, handler_of("any"))
    install(host)
    with client(host) as http:
        seen = {
            how: http.get(f"/servey/actions/fail?how={how}").json()["by"] for how in ("own", "missing", "http", "odd")
        }
        seen["invalid"] = http.get("/servey/actions/double?number=x").json()["by"]
    assert seen == {"own": "own", "missing": "http", "http": "http", "odd": "any", "invalid": "validation"}


def test_a_handler_for_a_status_applies():
    host = FastAPI()

    @host.exception_handler(404)
    async def lost(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse("lost", 404)

    install(host)
    with client(host) as http:
        assert http.get("/servey/actions/fail?how=missing").json() == "lost"
        assert http.get("/servey/actions/fail?how=http").json()["code"] == "http_418"


def test_the_hosts_middleware_and_dependencies_apply():
    seen = []

    async def check(x_key: Annotated[str | None, Header()] = None) -> AsyncIterator[None]:
        if x_key != "right":
            raise HTTPException(403, "no key")
        seen.append("open")
        yield
        seen.append("close")

    host = FastAPI(dependencies=[Depends(check)])

    @host.middleware("http")
    async def stamp(request: Request, call_next):
        answer = await call_next(request)
        answer.headers["X-Stamp"] = "host"
        return answer

    install(host)
    with client(host) as http:
        refused = http.get("/servey/actions/double?number=1")
        assert (refused.status_code, refused.json()["detail"], refused.headers["x-stamp"]) == (403, "no key", "host")
        assert http.get("/servey/actions/double?number=1", headers={"X-Key": "right"}).json() == 2
        assert seen == ["open", "close"]
        parameters = http.get("/openapi.json").json()["paths"]["/servey/actions/double"]["get"]["parameters"]
    assert {each["name"] for each in parameters} == {"number", "x-key"}


def test_the_hosts_dependency_overrides_apply():
    host = FastAPI()
    install(host)
    with client(host) as http:
        assert http.get("/servey/actions/which-engine").json() == "real"
        host.dependency_overrides[engine] = lambda: "fake"
        assert http.get("/servey/actions/which-engine").json() == "fake"


def test_lifespans_are_composed():
    events = []

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        events.append("host up")
        yield {"from_host": 1}
        events.append("host down")

    host = FastAPI(lifespan=lifespan)

    @host.get("/state")
    def state(request: Request) -> int:
        return request.state.from_host

    app = install(host)
    assert not app.runtime.is_running
    with client(host) as http:
        assert app.runtime.is_running
        assert http.get("/state").json() == 1
    assert not app.runtime.is_running
    assert events == ["host up", "host down"]


@pytest.mark.parametrize("prefix", ["servey", "/servey/", "/"])
def test_a_prefix_that_can_not_be(prefix):
    with pytest.raises(ConfigError, match="prefix"):
        Servey(actions=ACTIONS, settings=DEV).install(FastAPI(), prefix=prefix)


def test_production_is_checked_in_a_host_too():
    host = FastAPI()
    Servey(actions=ACTIONS, settings=Settings()).install(host)
    with pytest.raises(ConfigError, match=r"action 'guarded' \(.*\): is guarded and there is no key .*JWT_SECRET_KEY"):
        with client(host):
            pass


def test_mounted_with_its_line_in_the_hosts_lifespan():
    app = create_app(actions=ACTIONS, settings=DEV)

    @asynccontextmanager
    async def lifespan(host: FastAPI):
        async with app.running():
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/servey", app)
    with client(host) as http:
        assert http.get("/servey/actions/double?number=4").json() == 8
        assert http.get("/servey/nowhere").json()["code"] == "not_found"
        assert http.get("/servey/docs").status_code == 200


def test_path_parameters_of_a_mount_reach_dependencies():
    async def tenant(request: Request) -> str:
        return str(request.path_params.get("tenant"))

    @action(triggers=WebTrigger(WebTriggerMethod.GET, "/things/{number}"))
    async def thing(number: int, tenant: Annotated[str, Depends(tenant)]) -> str:
        return f"{tenant} {number}"

    app = create_app(actions=[thing], settings=DEV)

    @asynccontextmanager
    async def lifespan(host: FastAPI):
        async with app.running():
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/{tenant}", app)
    with client(host) as http:
        assert http.get("/acme/things/3").json() == "acme 3"


def test_mounted_without_it():
    host = FastAPI()
    host.mount("/servey", create_app(actions=ACTIONS, settings=DEV))
    with client(host) as http:
        answer = http.get("/servey/actions/double?number=4")
    assert answer.status_code == 500
    assert "async with servey_app.running()" in answer.json()["detail"]


def test_an_apps_own_routes_and_lifespan():
    events = []

    @asynccontextmanager
    async def lifespan(app):
        events.append("up")
        yield {"number": 5}
        events.append("down")

    app = create_app(actions=ACTIONS, settings=DEV, lifespan=lifespan)

    @app.get("/own")
    def own(request: Request) -> int:
        if request.query_params:
            raise HTTPException(404, "nothing")
        return request.state.number

    @app.exception_handler(Own)
    async def handle(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse("handled", 499)

    with client(app) as http:
        assert http.get("/own").json() == 5
        assert http.get("/own?x=1").json() == {"detail": "nothing", "code": "http_404"}
        assert http.get("/actions/fail?how=own").json() == "handled"
    assert events == ["up", "down"]


def test_a_wrong_method_has_our_body_unless_the_host_has_its_own():
    host = FastAPI()
    install(host)
    with client(host) as http:
        answer = http.delete("/servey/actions/double")
        assert (answer.json()["code"], answer.headers["allow"]) == ("method_not_allowed", "GET, HEAD")

    host = FastAPI()
    install(host)

    @host.exception_handler(405)
    async def handle(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse("host", 405, error.headers)

    with client(host) as http:
        answer = http.delete("/servey/actions/double")
        assert (answer.json(), answer.headers["allow"]) == ("host", "GET, HEAD")


def test_a_hosts_document_stays_valid_with_several_of_us_and_defaults_of_its_own():
    host = FastAPI(default_response_class=PlainTextResponse, responses={404: {"description": "host's"}})

    @host.get("/double", operation_id="double")
    def own() -> str:
        return "mine"

    for prefix in ("/a", "/b"):
        Servey(
            actions=[double, fail], settings=Settings(jwt_secret_key="a-secret-of-more-than-32-bytes-for-tests")
        ).install(host, prefix=prefix)
    document = host.openapi()
    validate(document)
    answers = document["paths"]["/a/actions/double"]["get"]["responses"]
    assert {kind for answer in answers.values() for kind in answer.get("content", {})} == {"application/json"}
    assert answers["404"]["description"] == "host's"
    with client(host) as http:
        assert http.get("/double").text == "mine"
        assert http.get("/b/actions/double?number=2").json() == 4
