"""A good guest in a FastAPI project: jobs of its users, its security schemes, its CORS, its mounts."""

import asyncio
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBasic, HTTPBearer, OAuth2PasswordBearer
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    Context,
    Servey,
    Settings,
    action,
    enqueue,
    publish,
    websocket_event_channel,
)
from servey.testing import subscribe
from tests.serving import wait_until

SETTINGS = Settings()
LATER = {"Prefer": "respond-async"}
TOKENS = {"token-of-ada": "ada", "token-of-bob": "bob"}
scheme = OAuth2PasswordBearer("token", auto_error=False)
events = websocket_event_channel("guest_events", str)


def current_user(token: Annotated[str | None, Depends(scheme)]) -> str:
    if token not in TOKENS:
        raise HTTPException(401, "who are you?")
    return TOKENS[token]


def as_user(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{name}"}


@action(triggers=WEB_POST)
async def who(user: Annotated[str, Depends(current_user)]) -> str:
    return user


@action(triggers=WEB_POST)
async def work() -> str:
    return "done"


@action(triggers=WEB_POST)
async def start(context: Context) -> str:
    return await context.enqueue(work, {}, key="once")


def installed(**options) -> FastAPI:
    api = FastAPI()
    made = Servey(actions=[who, work, start], channels=[events], settings=SETTINGS)
    made.install(api, prefix="/servey", **options)
    return api


def ended(http, path, **options):
    wait_until(lambda: http.get(path, **options).json()["state"] == "done", "the job's end")
    return http.get(path, **options)


def test_the_hosts_user_owns_the_jobs_of_a_request():
    with TestClient(installed(job_owner=current_user)) as http:
        made = http.post("/servey/actions/who", headers={**as_user("ada"), **LATER})
        assert made.status_code == 202
        where = made.headers["location"]
        assert ended(http, where, headers=as_user("ada")).json()["result"] == "ada"
        for headers in (as_user("bob"), as_user("nobody"), {}):
            assert http.get(where, headers=headers).status_code == 404
            assert http.delete(where, headers=headers).status_code == 404
        # A job that an action enqueues belongs to the same user, and so does its key.
        of_ada = [http.post("/servey/actions/start", headers=as_user("ada")).json() for _ in range(2)]
        of_bob = http.post("/servey/actions/start", headers=as_user("bob")).json()
        assert of_ada[0] == of_ada[1] != of_bob
        query = {"query": "mutation { start }"}
        assert http.post("/servey/graphql", json=query, headers=as_user("bob")).json()["data"]["start"] == of_bob
        assert http.get(f"/servey/jobs/{of_ada[0]}", headers=as_user("ada")).status_code == 200
        assert http.get(f"/servey/jobs/{of_ada[0]}", headers=as_user("bob")).status_code == 404
        # Nobody owns what an anonymous request enqueues; its id is what opens it.
        free = http.post("/servey/actions/work", headers=LATER).headers["location"]
        assert http.get(free, headers=as_user("bob")).status_code == 200


def test_an_override_of_the_hosts_dependency_owns_them_in_tests():
    api = installed(job_owner=current_user)
    api.dependency_overrides[current_user] = lambda: "tester"
    with TestClient(api) as http:
        where = http.post("/servey/actions/work", headers=LATER).headers["location"]
        assert ended(http, where).json()["result"] == "done"
        api.dependency_overrides[current_user] = lambda: "another"
        assert http.get(where).status_code == 404


@pytest.mark.parametrize(
    "scheme",
    [
        OAuth2PasswordBearer("token"),
        HTTPBearer(),
        HTTPBasic(),
        APIKeyHeader(name="X-Key"),
        APIKeyCookie(name="session"),
        APIKeyQuery(name="key"),
    ],
    ids=lambda scheme: type(scheme).__name__,
)
def test_a_job_has_what_a_security_scheme_reads(scheme):
    @action(triggers=WEB_POST)
    async def shown(user: Annotated[object, Depends(scheme)]) -> str:
        return str(user)

    api = FastAPI()
    Servey(actions=[shown], settings=SETTINGS).install(api)
    kind = "Basic dTpw" if isinstance(scheme, HTTPBasic) else "Bearer abc"
    with TestClient(api) as http:
        http.cookies["session"] = "abc"
        sent = {"headers": {"Authorization": kind, "X-Key": "abc"}, "params": {"key": "abc"}}
        at_once = http.post("/actions/shown", **sent)
        later = http.post("/actions/shown", **{**sent, "headers": {**sent["headers"], **LATER}})
        assert (at_once.status_code, later.status_code) == (200, 202)
        # The token is the host's own, so Servey cannot verify it: asked for without it, the id opens the job.
        assert ended(http, later.headers["location"]).json()["result"] == at_once.json()


def test_a_scheme_that_reads_the_request_by_itself_is_answered_at_once():
    class Own(HTTPBearer):
        async def __call__(self, request: Request):
            return request.headers["x-own"]

    @action(triggers=WEB_POST)
    async def shown(user: Annotated[object, Depends(Own())]) -> str:
        return str(user)

    api = FastAPI()
    Servey(actions=[shown], settings=SETTINGS).install(api)
    with TestClient(api) as http:
        assert http.post("/actions/shown", headers={"X-Own": "me", **LATER}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [("https://shop.example", True), ("https://a.team.example", True), ("https://evil.example", False)],
)
@pytest.mark.parametrize(
    ("path", "protocol"), [("/servey/subscription", None), ("/servey/graphql", "graphql-transport-ws")]
)
def test_the_hosts_cors_origins_hold_for_websockets(origin, is_allowed, path, protocol):
    api = installed()
    regex = r"https://\w+\.team\.example"
    api.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_origin_regex=regex)
    protocols = None if protocol is None else [protocol]
    with TestClient(api) as http:
        if is_allowed:
            with http.websocket_connect(path, headers={"Origin": origin}, subprotocols=protocols):
                pass
        else:
            with (
                pytest.raises(WebSocketDisconnect),
                http.websocket_connect(path, headers={"Origin": origin}, subprotocols=protocols),
            ):
                pass


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize(("origin", "name"), [("https://evil.example", None), ("http://testserver", "ada")])
def test_a_page_that_only_a_star_allows_does_not_act_as_its_visitor(origin, name, guarded):
    cookie, basic = APIKeyCookie(name="session", auto_error=False), HTTPBasic(auto_error=False)

    @action(triggers=WEB_GET)
    async def visitor(
        session: Annotated[str | None, Depends(cookie)], password: Annotated[Any, Depends(basic)]
    ) -> str | None:
        return password and session

    def seen(connection: HTTPConnection) -> None:
        connection.state.cookies = connection.cookies

    api = FastAPI(dependencies=[Depends(seen)] if guarded else [])
    api.add_middleware(CORSMiddleware, allow_origins=["*"])
    Servey(actions=[visitor], settings=SETTINGS).install(api)
    headers = {"Origin": origin, "Cookie": "session=ada", "Authorization": "Basic YWRhOng="}
    with (
        TestClient(api) as http,
        http.websocket_connect("/graphql", headers=headers, subprotocols=["graphql-transport-ws"]) as socket,
    ):
        socket.send_json({"type": "connection_init"})
        socket.receive_json()
        socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": "{ visitor }"}})
        assert socket.receive_json()["payload"]["data"] == {"visitor": name}


@pytest.mark.parametrize("is_first", [True, False])
def test_an_app_that_is_mounted_has_to_run_its_lifespan(is_first):
    inner = FastAPI()

    @asynccontextmanager
    async def lifespan(app):
        async with inner.router.lifespan_context(inner):
            yield

    silent, outer = FastAPI(), FastAPI(lifespan=lifespan)
    hosts = [silent, outer]
    for host in hosts if is_first else ():
        host.mount("/inner", inner)
    Servey(actions=[work], channels=[events], settings=SETTINGS).install(inner, prefix="/servey")
    for host in () if is_first else hosts:
        host.mount("/inner", inner)
    with TestClient(silent) as http:
        for answer in (
            http.post("/inner/servey/actions/work"),
            http.post("/inner/servey/graphql", json={"query": "{ a }"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (500, "internal")
            assert "inner_app.router.lifespan_context(inner_app)" in answer.json()["detail"]
        with pytest.raises(WebSocketDisconnect), http.websocket_connect("/inner/servey/subscription"):
            pass
    with TestClient(outer) as http:
        where = http.post("/inner/servey/actions/work", headers=LATER).headers["location"]
        assert ended(http, where).json()["result"] == "done"
    # A test of the inner app itself may leave the lifespan out.
    assert TestClient(inner).post("/servey/actions/work").json() == "done"


def test_publish_and_enqueue_from_a_route_of_the_host():
    api = FastAPI()

    @api.post("/orders")
    async def order() -> str:
        await publish(events, "ordered")
        return await enqueue(work)

    Servey(actions=[work], channels=[events], settings=SETTINGS).install(api)
    with TestClient(api) as http, subscribe(http, "guest_events") as subscriber:
        job = http.post("/orders").json()
        assert subscriber.next() == "ordered"
        assert ended(http, f"/jobs/{job}").json()["result"] == "done"
        with pytest.raises(TypeError):
            asyncio.run(publish(events, "x", nowhere="x"))


def test_a_token_that_only_the_host_knows_makes_nobody_of_its_caller():
    @action(triggers=WEB_POST)
    async def whom(authorization: Authorization | None) -> str | None:
        return None if authorization is None else authorization.subject_id

    @action(triggers=WEB_POST)
    async def whom_exactly(authorization: Authorization) -> str | None:
        return authorization.subject_id

    api = FastAPI()
    made = Servey(actions=[whom, whom_exactly, work, who], channels=[events], settings=Settings(env="dev"))
    made.install(api, prefix="/servey")
    with TestClient(api, headers=as_user("ada")) as http:
        assert http.post("/servey/actions/whom").json() is None
        assert http.post("/servey/actions/whom-exactly").status_code == 401
        assert http.post("/servey/actions/who").json() == "ada"
        job = http.post("/servey/actions/work", headers=LATER).headers["location"]
        assert http.get(job).status_code == 200
        with http.websocket_connect("/servey/subscription/guest_events") as socket:
            wait_until(lambda: made.runtime.subscriptions.count == 1, "the subscription")
            events.publish("a")
            assert socket.receive_json() == "a"
        wait_until(lambda: made.runtime.subscriptions.count == 0, "the end of the subscription")
        with http.websocket_connect("/servey/graphql", subprotocols=["graphql-transport-ws"]) as socket:
            socket.send_json({"type": "connection_init", "payload": as_user("ada")})
            socket.receive_json()
            socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": "subscription { guestEvents }"}})
            wait_until(lambda: made.runtime.subscriptions.count == 1, "the subscription")
            events.publish("b")
            assert socket.receive_json()["payload"] == {"data": {"guestEvents": "b"}}
        with http.websocket_connect("/servey/subscription") as socket:
            socket.send_json({"type": "Authorize", "payload": "token-of-ada"})
            with pytest.raises(WebSocketDisconnect) as ended_with:
                socket.receive_json()
            assert ended_with.value.code == 4401


def test_a_bad_token_is_refused_where_the_host_gave_a_key():
    api = FastAPI()
    made = Servey(actions=[work], channels=[events], settings=Settings(env="dev", jwt_secret_key="k" * 40))
    made.install(api, prefix="/servey")
    with TestClient(api, headers=as_user("ada")) as http:
        assert http.get("/servey/jobs/none").status_code == 401
