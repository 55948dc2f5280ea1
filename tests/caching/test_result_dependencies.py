"""Cached results of actions with dependencies."""

from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Depends, Header, HTTPException, Request, Response
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from servey import (
    WEB_GET,
    Settings,
    action,
    create_app,
)
from servey.observability.telemetry import Observer
from servey.testing import client
from tests.caching.results_app import PUBLIC, RUNS

pytestmark = pytest.mark.anyio


def test_dependencies_run_whether_or_not_there_is_a_result():
    def only_with_a_key(x_key: Annotated[str | None, Header()] = None) -> None:
        RUNS["checked"] += 1
        if x_key is None:
            raise HTTPException(401, "no key")

    async def session() -> AsyncIterator[object]:
        RUNS["opened"] += 1
        yield object()
        RUNS["closed"] += 1

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def report(
        checked: Annotated[None, Depends(only_with_a_key)], db: Annotated[object, Depends(session)], response: str = ""
    ) -> int:
        RUNS["report"] += 1
        return RUNS["report"]

    with client(create_app(actions=[report], settings=Settings(env="dev"))) as http:
        for key, status in (("a", 200), ("b", 200), (None, 401), ("a", 200), (None, 401)):
            headers = {} if key is None else {"X-Key": key}
            assert http.get("/actions/report", headers=headers).status_code == status
    assert (RUNS["checked"], RUNS["report"]) == (5, 1)
    assert RUNS["opened"] == RUNS["closed"] == 3


class User(BaseModel):
    name: str


class UserRow:
    """What an object mapper gives: nobody can tell what it holds."""

    def __init__(self, name: str) -> None:
        self.name = name


def session_user(request: Request) -> User:
    return User(name=request.cookies.get("session", "nobody"))


def session_row(request: Request) -> UserRow:
    return UserRow(request.cookies.get("session", "nobody"))


@pytest.mark.parametrize("kind", ["value", "row", "header", "request", "response"])
def test_what_a_call_is_given_of_the_request_tells_it_apart(kind, caplog):
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_value(user: Annotated[User, Depends(session_user)]) -> str:
        RUNS[user.name] += 1
        return user.name

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_row(user: Annotated[UserRow, Depends(session_row)]) -> str:
        RUNS[user.name] += 1
        return user.name

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_header(cookie: Annotated[str, Header()]) -> str:
        name = cookie.removeprefix("session=")
        RUNS[name] += 1
        return name

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_request(request: Request) -> str:
        RUNS[request.cookies["session"]] += 1
        return request.cookies["session"]

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_response(response: Response, cookie: Annotated[str, Header()]) -> str:
        name = cookie.removeprefix("session=")
        RUNS[name] += 1
        response.headers["X-Name"] = name
        return name

    actions = {"value": by_value, "row": by_row, "header": by_header, "request": by_request, "response": by_response}
    app = create_app(actions=[actions[kind]], settings=Settings(env="dev"))
    with client(app) as http:
        for name in ("ada", "bob") * 3:
            answer = http.get(f"/actions/by-{kind}", headers={"Cookie": f"session={name}"})
            assert (answer.status_code, answer.json()) == (200, name)
            assert kind != "response" or answer.headers["x-name"] == name
    # Values and headers are part of the key; of the others nobody knows what they give.
    runs = 1 if kind in ("value", "header") else 3
    assert RUNS == {"ada": runs, "bob": runs}
    told = [record.getMessage() for record in caplog.records if "not cached on the server" in record.getMessage()]
    assert len(told) == (1 if kind == "row" else 0)


def test_a_background_task_belongs_to_the_computation():
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def notes(tasks: BackgroundTasks) -> int:
        tasks.add_task(RUNS.update, ["noted"])
        return 1

    with client(create_app(actions=[notes], settings=Settings(env="dev"))) as http:
        assert [http.get("/actions/notes").json() for _ in range(3)] == [1, 1, 1]
    assert RUNS == {"noted": 1}


TENANT: ContextVar[str] = ContextVar("tenant", default="none")
ROW: ContextVar[object] = ContextVar("row")


async def choose_tenant(x_tenant: Annotated[str, Header()]) -> None:
    TENANT.set(x_tenant)


async def choose_row(x_tenant: Annotated[str, Header()]) -> None:
    ROW.set(UserRow(x_tenant))


@pytest.mark.parametrize("transport", ["rest", "graphql", "websocket"])
@pytest.mark.parametrize("around", [False, True], ids=["own", "around the app"])
def test_context_variables_that_dependencies_set_are_part_of_the_key(around, transport):
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def tenant(chosen: Annotated[None, Depends(choose_tenant)] = None) -> str:
        RUNS["tenant"] += 1
        return TENANT.get()

    @action(triggers=WEB_GET, cache_control=PUBLIC, name="tenant")
    async def unaware() -> str:
        RUNS["tenant"] += 1
        return TENANT.get()

    app = create_app(
        actions=[unaware if around else tenant],
        dependencies=[Depends(choose_tenant)] if around else [],
        settings=Settings(env="dev"),
    )
    with client(app) as http:
        for name in ("ada", "bob") * 3:
            headers = {"X-Tenant": name}
            if transport == "rest":
                assert http.get("/actions/tenant", headers=headers).json() == name
            elif transport == "websocket":
                with http.websocket_connect(
                    "/graphql", headers=headers, subprotocols=["graphql-transport-ws"]
                ) as socket:
                    socket.send_json({"type": "connection_init"})
                    socket.receive_json()
                    socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": "{ tenant }"}})
                    assert socket.receive_json()["payload"] == {"data": {"tenant": name}}
            else:
                assert http.post("/graphql", json={"query": "{ tenant }"}, headers=headers).json()["data"] == {
                    "tenant": name
                }
    assert RUNS == {"tenant": 2}


def test_a_result_under_a_context_variable_that_is_not_plain_is_not_cached(caplog):
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def row(chosen: Annotated[None, Depends(choose_row)]) -> str:
        RUNS["row"] += 1
        return str(getattr(ROW.get(), "name", None))

    with client(create_app(actions=[row], settings=Settings(env="dev"))) as http:
        for name in ("ada", "bob") * 2:
            assert http.get("/actions/row", headers={"X-Tenant": name}).json() == name
    assert RUNS == {"row": 4}
    assert "a dependency sets the context variable 'row'" in caplog.text


def test_results_of_traced_calls_with_dependencies_around_the_app_are_cached():
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def tenant() -> str:
        RUNS["tenant"] += 1
        return TENANT.get()

    app = create_app(actions=[tenant], dependencies=[Depends(choose_tenant)], settings=Settings(env="dev"))
    with client(app) as http:
        app.runtime.observer = Observer(app.runtime.metrics, None, TracerProvider().get_tracer("test"))
        for _ in range(2):
            answer = http.post("/graphql", json={"query": "{ tenant }"}, headers={"X-Tenant": "ada"})
            assert answer.json()["data"] == {"tenant": "ada"}
    assert RUNS == {"tenant": 1}
