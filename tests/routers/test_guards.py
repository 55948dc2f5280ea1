"""The dependencies of an app, a host or an including router run for every endpoint of Servey's, as FastAPI runs its own."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Form, Header, HTTPException, Request, Response
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection
from starlette.testclient import WebSocketDenialResponse

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    Context,
    Servey,
    Settings,
    WebPageTrigger,
    action,
    create_app,
    websocket_event_channel,
)
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
RAN: list[str] = []
messenger = websocket_event_channel("messenger", str)


@action(triggers=[WEB_GET, WEB_POST, WebPageTrigger(path="/page")])
async def secret(number: int = 1) -> str:
    RAN.append("action")
    return f"secret {number}"


def guard(connection: HTTPConnection) -> None:
    if connection.headers.get("x-key") != "right":
        raise HTTPException(403, "no key")


def alone(*dependencies: Any) -> tuple[FastAPI, str]:
    app = create_app(
        actions=[secret], channels=[messenger], settings=settings(), dependencies=[*map(Depends, dependencies)]
    )
    return app, ""


def installed(*dependencies: Any) -> tuple[FastAPI, str]:
    host = FastAPI(dependencies=[*map(Depends, dependencies)])
    Servey(actions=[secret], channels=[messenger], settings=settings()).install(host, prefix="/servey")
    return host, "/servey"


def installed_with_its_own(*dependencies: Any) -> tuple[FastAPI, str]:
    host = FastAPI()
    own = [*map(Depends, dependencies)]
    Servey(actions=[secret], channels=[messenger], settings=settings(), dependencies=own).install(
        host, prefix="/servey"
    )
    return host, "/servey"


def included(*dependencies: Any) -> tuple[FastAPI, str]:
    host = FastAPI()
    inner = FastAPI()
    Servey(actions=[secret], channels=[messenger], settings=settings()).install(inner)
    host.include_router(inner.router, prefix="/v1", dependencies=[*map(Depends, dependencies)])
    return host, "/v1"


def included_twice(*dependencies: Any) -> tuple[FastAPI, str]:
    inner, middle, host = FastAPI(), APIRouter(), FastAPI()
    Servey(actions=[secret], channels=[messenger], settings=settings()).install(inner)
    middle.include_router(inner.router, prefix="/middle", dependencies=[*map(Depends, dependencies)])
    host.include_router(middle, prefix="/outer")
    return host, "/outer/middle"


WAYS = [alone, installed, installed_with_its_own, included, included_twice]
Made = Callable[..., tuple[FastAPI, str]]


@pytest.fixture(scope="module", autouse=True)
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("templates")
    (folder / "secret.j2").write_text("{{ model }}", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERVEY_TEMPLATE_PATH", str(folder))
        yield


def settings() -> Settings:
    return Settings(env="dev", jwt_secret_key=SECRET, login_password="a password")


@pytest.fixture(params=WAYS, ids=lambda each: each.__name__)
def made(request: pytest.FixtureRequest) -> Made:
    RAN.clear()
    return request.param


@pytest.fixture
def guarded(made: Made) -> Iterator[tuple[TestClient, str]]:
    app, prefix = made(guard)
    with TestClient(app) as http:
        yield http, prefix


RIGHT = {"X-Key": "right"}
QUERY = {"query": "{ secret }"}
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "GET": ("GET", "/actions/secret", {}),
    "HEAD": ("HEAD", "/actions/secret", {}),
    "POST": ("POST", "/actions/secret", {"json": {"number": 2}}),
    "later": ("POST", "/actions/secret", {"headers": {"Prefer": "respond-async"}}),
    "page": ("GET", "/page", {}),
    "GraphQL by POST": ("POST", "/graphql", {"json": QUERY}),
    "GraphQL by GET": ("GET", "/graphql", {"params": QUERY}),
    "GraphQL, streamed": ("POST", "/graphql", {"json": QUERY, "headers": {"Accept": "text/event-stream"}}),
    "events": ("HEAD", "/subscription/messenger", {}),
    "events of one": ("HEAD", "/subscription/messenger/me", {}),
    "job": ("GET", "/jobs/none", {}),
    "login": ("POST", "/login", {"data": {"username": "root", "password": "a password"}}),
    "login form": ("GET", "/login", {}),
    "test event": ("POST", "/_servey/publish/messenger", {"json": {"event": "x"}}),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_guard_stands_before_every_endpoint(guarded, name):
    http, prefix = guarded
    method, path, options = CALLS[name]
    refused = http.request(method, prefix + path, **options)
    assert refused.status_code == 403
    assert RAN == []
    headers = {**RIGHT, **options.get("headers", {})}
    found = http.request(method, prefix + path, **{**options, "headers": headers})
    assert found.status_code == {"later": 202, "job": 404}.get(name, 200)


@pytest.mark.parametrize("path", ["/subscription", "/subscription/messenger", "/subscription/messenger/me", "/graphql"])
def test_a_guard_denies_a_websocket(guarded, path):
    http, prefix = guarded
    protocols = ["graphql-transport-ws"] if path == "/graphql" else []
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        http.websocket_connect(prefix + path, subprotocols=protocols),
    ):
        pass
    assert denied.value.status_code == 403
    with http.websocket_connect(prefix + path, subprotocols=protocols, headers=dict(RIGHT)) as opened:
        if path == "/graphql":
            opened.send_json({"type": "connection_init"})
            assert opened.receive_json() == {"type": "connection_ack"}


async def opens(request: Request, response: Response, tasks: BackgroundTasks) -> AsyncIterator[None]:
    RAN.append("open")
    response.headers["x-from-guard"] = "yes"
    tasks.add_task(RAN.append, "task")
    assert await request.json()  # the endpoint reads the body too
    yield
    RAN.append("close")


def test_what_a_guard_opens_stays_open_until_the_response_is_sent(made):
    app, prefix = made(opens)
    with TestClient(app) as http:
        found = http.post(f"{prefix}/graphql", json=QUERY)
        assert (found.json(), found.headers["x-from-guard"]) == ({"data": {"secret": "secret 1"}}, "yes")
        assert RAN == ["open", "action", "task", "close"]
        RAN.clear()
        found = http.post(f"{prefix}/actions/secret", json={"number": 3})
        assert (found.json(), found.headers["x-from-guard"]) == ("secret 3", "yes")
        assert RAN == ["open", "action", "task", "close"]


async def of_the_body(query: Annotated[str | None, Body()] = None, number: Annotated[int, Body()] = 0) -> None:
    RAN.append(f"{query} {number}")


def test_a_guard_may_read_the_body_by_its_parameters(made):
    app, prefix = made(of_the_body)
    with TestClient(app) as http:
        assert http.post(f"{prefix}/graphql", json=QUERY).json() == {"data": {"secret": "secret 1"}}
        assert http.post(f"{prefix}/graphql", json={**QUERY, "number": "x"}).status_code == 422
    assert RAN == ["{ secret } 0", "action"]


async def of_a_form(key: Annotated[str, Form()] = "") -> None:
    RAN.append(key)


def test_a_form_that_a_guard_reads_is_in_utf8(made):
    # Such a body of 60 kB took seconds to decode.
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n-' + b"b" * 60_000 + b"\r\n--x--\r\n"
    app, prefix = made(of_a_form)
    with TestClient(app) as http:
        for charset in ("utf-8", "punycode"):
            headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
            assert http.post(f"{prefix}/graphql", content=body, headers=headers).status_code == 415
    assert [len(each) for each in RAN] == [60_001]


def test_a_body_that_a_guard_reads_has_a_limit(made):
    app, prefix = made(opens)
    with TestClient(app) as http:
        found = http.post(f"{prefix}/graphql", content=json.dumps({"query": " " * 2_000_000}))
    assert (found.status_code, RAN) == (413, ["open"])


async def needs_token(authorization: Authorization, context: Context) -> None:
    assert context.request_id
    RAN.append(str(authorization.subject_id))


@pytest.mark.parametrize("name", [name for name in CALLS if name != "login"])
def test_a_guard_may_require_a_token(name):
    RAN.clear()
    for way in (alone, installed):
        app, prefix = way(needs_token)
        method, path, options = CALLS[name]
        token = JwtAuthorizer(OneKey(secret_key(SECRET))).sign(Authorization("ada"), lifetime=600)
        with TestClient(app) as http:
            assert http.request(method, prefix + path, **options).status_code == 401
            assert RAN == []
            headers = {"Authorization": f"Bearer {token}", **options.get("headers", {})}
            found = http.request(method, prefix + path, **{**options, "headers": headers})
        assert found.status_code == {"later": 202, "job": 404}.get(name, 200)
        assert RAN[0] == "ada"
        RAN.clear()


def test_a_guard_of_a_websocket_may_require_a_token():
    for way in (alone, installed):
        app, prefix = way(needs_token)
        token = JwtAuthorizer(OneKey(secret_key(SECRET))).sign(Authorization("ada"), lifetime=600)
        path = f"{prefix}/subscription/messenger"
        with TestClient(app) as http:
            with pytest.raises(WebSocketDenialResponse) as denied, http.websocket_connect(path):
                pass
            assert denied.value.status_code == 401
            with http.websocket_connect(path, headers={"Authorization": f"Bearer {token}"}):
                pass


def test_a_job_of_an_included_router_is_found_below_its_prefix():
    app, prefix = included(guard)
    with TestClient(app) as http:
        later = http.post(f"{prefix}/actions/secret", headers={**RIGHT, "Prefer": "respond-async"})
        assert later.headers["location"].startswith("/v1/jobs/")
        assert http.get(later.headers["location"], headers=RIGHT).json()["action"] == "secret"


def test_overrides_of_the_host_apply_to_its_guards(made):
    app, prefix = made(guard)
    overridden = {"x": 0}

    def fake() -> None:
        overridden["x"] += 1

    app.dependency_overrides[guard] = fake
    with TestClient(app) as http:
        if made in (included, included_twice):
            assert http.post(f"{prefix}/graphql", json=QUERY).status_code == 200
        assert http.post(f"{prefix}/graphql", json=QUERY).status_code == 200
        assert http.get(f"{prefix}/actions/secret").status_code == 200
    assert overridden["x"] >= 2


def test_a_hosts_function_for_operation_ids_does_not_meet_our_routes():
    def by_tag(route: Any) -> str:
        return f"{route.tags[0]}-{route.name}"

    host = FastAPI(generate_unique_id_function=by_tag)
    Servey(actions=[secret], channels=[messenger], settings=settings()).install(host, prefix="/servey")
    ids = [each["operationId"] for path in host.openapi()["paths"].values() for each in path.values()]
    assert sorted(ids) == ["secret", "secret_post", "servey_cancel_job", "servey_job", "servey_login"]


def test_documents_are_served_to_everyone_as_fastapis_are(guarded):
    http, prefix = guarded
    for path in ("/asyncapi.json", "/asyncapi", "/graphiql"):
        assert http.get(prefix + path).status_code == 200


def header_guard(x_key: Annotated[str, Header()]) -> None: ...


def test_a_guard_with_parameters_of_its_own_is_422_without_them(made):
    app, prefix = made(header_guard)
    with TestClient(app) as http:
        for path in ("/graphql", "/actions/secret"):
            found = http.post(prefix + path, json=QUERY)
            assert (found.status_code, found.json()["detail"][0]["loc"]) == (422, ["header", "x-key"])
