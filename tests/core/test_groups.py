"""Groups: what several actions have in common holds on every transport."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    ConfigError,
    Forbidden,
    Group,
    NotFound,
    ScopeAccessControl,
    Settings,
    WebPageTrigger,
    WebTrigger,
    action,
    create_app,
)
from servey.testing import client, token_for

DEV = Settings(env="dev", jwt_secret_key="a secret of more than thirty-two bytes")
seen: list[str] = []


def tenant(x_tenant: Annotated[str, Header()] = "none") -> None:
    seen.append(f"tenant {x_tenant}")
    if x_tenant == "closed":
        raise NotFound("no such tenant")


def session() -> Iterator[str]:
    seen.append("open")
    yield "session"
    seen.append("close")


articles = Group(
    prefix="/api/articles",
    tags=["articles"],
    access_control=ScopeAccessControl("read"),
    dependencies=[Depends(tenant), Depends(session)],
    hidden=["command"],
)


@dataclass
class Article:
    title: str

    @articles.action
    def length(self) -> int:
        return len(self.title)


@articles.action(triggers=[WEB_GET, WebTrigger("GET", "/{title}")], hidden="respond-async")
def find(title: str = "tea", opened: Annotated[str, Depends(session)] = "") -> Article:
    return Article(f"{title} {opened}")


@articles.action(triggers=WebTrigger("POST", ""), access_control=ScopeAccessControl("write"), tags=["new"])
def create(title: str) -> str:
    return title


@articles.action(triggers=WEB_POST, hidden=("graphql", "mcp"))
def secret() -> str:
    return "secret"


@articles.action(triggers=WebPageTrigger("GET"))
def page() -> str:
    return "shown"


def served() -> Any:
    return create_app(actions=[find, create, secret], settings=DEV)


@pytest.fixture
def headers():
    app = served()
    reader = token_for(app, Authorization("u1", frozenset({"read"})))
    writer = token_for(app, Authorization("u2", frozenset({"read", "write"})))
    only_writer = token_for(app, Authorization("u3", frozenset({"write"})))
    made = {"reader": reader, "writer": writer, "only_writer": only_writer}
    return {name: {"Authorization": f"Bearer {token}"} for name, token in made.items()}


@pytest.mark.parametrize("form", [{}, {"Prefer": "handling=lenient"}], ids=["compiled", "generic"])
def test_the_prefix_the_access_rule_and_the_dependencies_hold_for_rest(headers, form):
    with client(served()) as http:
        assert http.get("/api/articles/find", headers=form).status_code == 401
        seen.clear()
        answer = http.get("/api/articles/find", headers={**headers["reader"], **form})
        assert answer.json() == {"title": "tea session"}
        # One session, which the guard and the parameter share.
        assert seen == ["tenant none", "open", "close"]
        closed = http.get("/api/articles/cup", headers={**headers["reader"], **form, "X-Tenant": "closed"})
        assert closed.status_code == 404
        assert http.post("/api/articles", json={"title": "a"}, headers=headers["reader"] | form).status_code == 403
        assert http.post("/api/articles", json={"title": "a"}, headers=headers["only_writer"] | form).status_code == 403
        assert http.post("/api/articles", json={"title": "a"}, headers=headers["writer"] | form).json() == "a"


def test_they_hold_for_graphql(headers):
    with client(served()) as http:
        query = {"query": "{ find { title length } }"}
        anonymous = http.post("/graphql", json=query).json()
        assert anonymous["errors"][0]["extensions"]["code"] == "unauthenticated"
        seen.clear()
        answer = http.post("/graphql", json=query, headers=headers["reader"]).json()
        assert answer["data"] == {"find": {"title": "tea session", "length": 11}}
        assert seen.count("tenant none") == 2
        closed = http.post("/graphql", json=query, headers={**headers["reader"], "X-Tenant": "closed"}).json()
        assert closed["errors"][0]["extensions"]["code"] == "not_found"


def test_they_hold_for_jobs_and_run_once(headers):
    with client(served()) as http:
        seen.clear()
        later = http.post("/api/articles/secret", headers={**headers["reader"], "Prefer": "respond-async"})
        assert later.status_code == 202
        job = http.get(later.headers["location"], headers=headers["reader"])
        for _ in range(200):
            if job.json()["state"] in ("done", "dead", "failed"):
                break
            job = http.get(later.headers["location"], headers=headers["reader"])
        assert job.json()["result"] == "secret"
        assert seen == ["tenant none", "open", "close"]


def test_a_page_has_the_prefix_and_the_rule(headers, tmp_path):
    (tmp_path / "page.j2").write_text("page: {{ model }}", encoding="utf-8")
    settings = DEV.model_copy(update={"template_path": str(tmp_path)})
    with client(create_app(actions=[page], settings=settings)) as http:
        seen.clear()
        assert http.get("/api/articles/page").status_code == 401
        assert seen == []
        assert http.get("/api/articles/page", headers=headers["reader"]).text == "page: shown"
        assert seen == ["tenant none", "open", "close"]


def test_documents_have_the_tags_and_the_headers_of_guards():
    operation = served().openapi()["paths"]["/api/articles"]["post"]
    assert operation["tags"] == ["articles", "new"]
    assert [each["name"] for each in operation["parameters"]] == ["x-tenant"]
    assert operation["security"]


def test_what_is_hidden_is_not_offered(headers):
    app = served()
    with client(app) as http:
        seen.clear()
        at_once = http.get("/api/articles/find", headers={**headers["reader"], "Prefer": "respond-async"})
        assert at_once.status_code == 200
        schema = http.post("/graphql", json={"query": "{ __schema { mutationType { fields { name } } } }"}).json()
        assert [each["name"] for each in schema["data"]["__schema"]["mutationType"]["fields"]] == ["create"]
    told = {row.name: " ".join(row.absences) for row in app.exposures()}
    assert "not in GraphQL: it is hidden there" in told["secret"]
    assert "not on the command line: it is hidden there" in told["secret"]
    assert "not answered later by Prefer: respond-async: it is hidden there" in told["find"]


def test_a_hidden_method_is_no_field():
    @dataclass
    class Parcel:
        weight: int

        @action(hidden="graphql")
        def price(self) -> int:
            return self.weight

    @action(triggers=WEB_GET)
    def parcel() -> Parcel:
        return Parcel(2)

    with client(create_app(actions=[parcel], settings=DEV)) as http:
        schema = http.post("/graphql", json={"query": '{ __type(name: "Parcel") { fields { name } } }'}).json()
        assert schema["data"]["__type"]["fields"] == [{"name": "weight"}]


def test_the_access_rule_of_a_group_cannot_be_lifted():
    closed = Group(access_control=ScopeAccessControl("root"))

    @closed.action(triggers=WEB_GET)
    def act() -> int:
        return 1

    assert act() == 1
    with client(create_app(actions=[act], settings=DEV)) as http:
        assert http.get("/actions/act").status_code == 401


def test_a_guard_that_refuses_refuses_everywhere():
    def nobody() -> None:
        raise Forbidden("not today")

    shut = Group(dependencies=[Depends(nobody)])

    @shut.action(triggers=WEB_GET)
    async def act() -> int:
        raise AssertionError("it is not called")

    app = create_app(actions=[act], settings=DEV)
    with client(app) as http:
        assert http.get("/actions/act").status_code == 403
        assert http.post("/graphql", json={"query": "{ act }"}).json()["errors"][0]["extensions"]["code"] == "forbidden"

    async def call() -> None:
        from servey.calls.invoke import invoke

        async with app.running(), app.runtime.context("test", trusted=True) as context:
            with pytest.raises(Forbidden):
                await invoke(act.servey_action, {}, context)

    asyncio.run(call())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prefix": "articles"}, "prefix is 'articles'; begin it with '/'"),
        ({"prefix": "/articles/"}, "do not end it with one"),
        ({"tags": [1]}, "tags is (1,); write strings"),
        ({"access_control": None}, "access_control is None; use a rule such as ALLOW_ALL"),
        ({"dependencies": [tenant]}, "write Depends(function)"),
        ({"hidden": "rest"}, "hidden has 'rest'; use 'graphql', 'respond-async', 'command', 'mcp'"),
    ],
)
def test_mistakes_are_told(options, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)):
        Group(**options)


def test_a_mistake_of_an_action_is_told_with_its_place():
    with pytest.raises(ConfigError, match=r"action 'act' \(.*hidden has 'rest'"):

        @action(hidden=["graphql", "rest"])
        def act() -> None: ...
