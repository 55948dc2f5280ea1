"""What a kept result is keyed by: no caller gets the result of another call, whatever their difference is made of."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Cookie, Depends, Header, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, PrivateAttr

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    SecureHashCacheControl,
    Settings,
    TtlCacheControl,
    WebPageTrigger,
    action,
    create_app,
    invalidate,
)
from servey.calls.invoke import invoke
from servey.testing import client, token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
PUBLIC = TtlCacheControl(60, private=False)


def an_app(*actions: Any, **settings: Any) -> Any:
    return create_app(actions=actions, settings=Settings(env="prod", jwt_secret_key=SECRET, **settings))


# ------------------------------------------------------------------------------------------------------- dependencies


def current_user() -> Any:
    return "nobody"


def from_header(x_user: Annotated[str, Header()]) -> str:
    return x_user


def from_deeper(user: Annotated[str, Depends(from_header)]) -> str:
    return user


class Session:
    """As a database session: an object that only its author knows."""

    def __init__(self, user: str) -> None:
        self.user = user


def session_of_the_request(user: Annotated[str, Depends(from_header)]) -> Session:
    return Session(user)


def plain_session() -> Session:
    return Session("nobody")


class Account(BaseModel):
    name: str
    _tenant: str = PrivateAttr("")


def account(x_user: Annotated[str, Header()]) -> Account:
    made = Account(name="account")
    made._tenant = x_user
    return made


@dataclass
class Plan:
    name: str


class Contract(Plan):
    def __init__(self, tenant: str) -> None:
        super().__init__("contract")
        self.tenant = tenant


def contract(x_user: Annotated[str, Header()]) -> Contract:
    return Contract(x_user)


tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def current_tenant() -> str:
    """A dependency that reads what a middleware has set."""
    return tenant.get()


def inboxes_of(dependency: Any, show: Any, override: Any = None, *, middleware: Any = None) -> tuple[list[str], int]:
    """What two users get, each twice, and how often the function ran."""
    runs = 0

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def inbox(user: Annotated[Any, Depends(dependency)]) -> str:
        nonlocal runs
        runs += 1
        return f"inbox of {show(user)}"

    app = an_app(inbox)
    if middleware is not None:
        app.middleware("http")(middleware)
    if override is not None:
        app.dependency_overrides[dependency] = override
    with client(app) as http:
        users = ("ada", "bob", "ada", "bob")
        return [http.get("/actions/inbox", headers={"x-user": user}).json() for user in users], runs


@pytest.mark.parametrize(
    ("dependency", "override", "show", "runs"),
    [
        (current_user, from_header, str, 2),
        (current_user, from_deeper, str, 2),
        (plain_session, session_of_the_request, lambda session: session.user, 4),
        (account, None, lambda found: found._tenant, 2),
        (contract, None, lambda found: found.tenant, 2),
    ],
    ids=["override", "override with a dependency", "override by an object", "private attribute", "subclass"],
)
def test_dependencies(dependency, override, show, runs):
    found, ran = inboxes_of(dependency, show, override)
    assert found == ["inbox of ada", "inbox of bob"] * 2
    assert ran == runs


def test_a_dependency_that_reads_what_a_middleware_has_set():
    async def middleware(request: Any, call_next: Any) -> Any:
        token = tenant.set(request.headers["x-user"])
        try:
            return await call_next(request)
        finally:
            tenant.reset(token)

    found, ran = inboxes_of(current_tenant, str, middleware=middleware)
    assert found == ["inbox of ada", "inbox of bob"] * 2
    assert ran == 2


def test_an_override_by_an_object_that_does_not_read_the_request_is_no_part_of_the_key():
    found, ran = inboxes_of(plain_session, lambda session: session.user, lambda: Session("test"))
    assert found == ["inbox of test"] * 4
    assert ran == 1


# ------------------------------------------------------------------------------------------------------------ callers


@dataclass(frozen=True)
class Member(Authorization):
    tenant: str = ""
    groups: list[str] = field(default_factory=list)


class Guest(Authorization):
    """A subclass without fields, whose attributes are set later."""


@action(cache_control=TtlCacheControl(60))
async def who(authorization: Authorization | None) -> str:
    return str(getattr(authorization, "tenant", None))


def guest(tenant: str) -> Guest:
    made = Guest("ada")
    object.__setattr__(made, "tenant", tenant)
    return made


@pytest.mark.anyio
@pytest.mark.parametrize("made", [lambda tenant: Member("ada", tenant=tenant), guest], ids=["fields", "attributes"])
@pytest.mark.parametrize("trusted", [False, True])
async def test_an_authorization_with_more_in_it(made, trusted):
    runtime = an_app(who).runtime

    async def call(authorization: Any) -> Any:
        async with runtime.context("job", authorization=authorization, trusted=trusted) as context:
            return await invoke(who.servey_action, {}, context)

    async with runtime.lifespan():
        assert [await call(made(name)) for name in ("red", "blue", "red")] == ["red", "blue", "red"]


# --------------------------------------------------------------------------------------------------------- parameters


class Permission(IntFlag):
    read = 1


def test_flags_without_a_name():
    @action(triggers=WEB_POST, cache_control=PUBLIC)
    async def number(flags: Permission) -> int:
        return int(flags)

    with client(an_app(number)) as http:
        assert [http.post("/actions/number", json={"flags": flags}).json() for flags in (8, 16, 8)] == [8, 16, 8]


def test_values_that_compare_equal():
    @action(triggers=WEB_POST, cache_control=PUBLIC)
    async def kind(value: Any) -> str:
        return repr(value)

    values = [1, True, 1.0, "1", [1], {"a": 1, "b": 2}, {"b": 2, "a": 1}]
    with client(an_app(kind)) as http:
        found = [http.post("/actions/kind", json={"value": value}).json() for value in values]
    assert found == list(map(repr, values))


def test_forgetting_a_call_does_not_ask_for_the_order_of_keys():
    runs = 0

    @action(triggers=WEB_POST, cache_control=PUBLIC)
    async def search(filters: dict[str, int]) -> int:
        nonlocal runs
        runs += 1
        return runs

    @action(triggers=WEB_POST)
    async def forget() -> None:
        await invalidate(search, filters={"b": 2, "a": 1})

    with client(an_app(search, forget)) as http:
        body = {"filters": {"a": 1, "b": 2}}
        assert [http.post("/actions/search", json=body).json() for _ in range(2)] == [1, 1]
        http.post("/actions/forget")
        assert http.post("/actions/search", json=body).json() == 2


def a_cycle(x_user: Annotated[str, Header()]) -> list[Any]:
    made: list[Any] = [x_user]
    made.append(made)
    return made


def test_a_value_in_itself_is_not_kept(caplog):
    found, ran = inboxes_of(a_cycle, lambda made: made[0])
    assert found == ["inbox of ada", "inbox of bob"] * 2
    assert ran == 4
    assert "the value contains itself" in caplog.text


# -------------------------------------------------------------------------------------------------- one that hangs


def test_a_computation_that_hangs_ends_with_its_timeout_and_others_compute():
    runs = 0

    @action(triggers=WEB_GET, cache_control=PUBLIC, timeout=0.5)
    async def report() -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.Event().wait()
        return runs

    app = an_app(report)

    async def main() -> list[int]:
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as http,
        ):

            async def one(delay: float) -> int:
                await asyncio.sleep(delay)
                return (await http.get("/actions/report")).status_code

            return await asyncio.gather(*(one(0.2 * number) for number in range(6)))

    found = asyncio.run(main())
    assert found[0] == 504 and found[2:] == [200] * 4, found
    assert runs == 2


# --------------------------------------------------------------------------------------------------------------- HTTP


def test_vary_names_the_headers_that_a_result_depends_on():
    key = APIKeyHeader(name="X-Key", auto_error=False)

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_header(x_tenant: Annotated[str, Header()] = "") -> str:
        return x_tenant

    @action(triggers=WEB_GET, cache_control=SecureHashCacheControl())
    async def by_cookie(session: Annotated[str, Cookie()] = "") -> str:
        return session

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_key(given: Annotated[str | None, Security(key)] = None) -> str:
        return given or ""

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def by_nothing() -> str:
        return ""

    with client(an_app(by_header, by_cookie, by_key, by_nothing)) as http:
        varies = [
            http.get(f"/actions/by-{name}").headers.get("vary") for name in ("header", "cookie", "key", "nothing")
        ]
    assert varies == ["x-tenant", "Authorization, cookie", "X-Key", None]


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("Hello {{ authorization.subject_id if authorization else 'nobody' }}", "private"),
        ("{% include 'inner.j2' %}", "private"),
        ("{% import 'macros.j2' as m with context %}{{ m.name() }}", "private"),
        ("{% extends 'outer.j2' %}", "private"),
        ("{% set name = 'plain.j2' %}{% include name %}", "private"),
        ("{{ request.headers['host'] }}", "private"),
        ("{{ model }} {% include 'plain.j2' %} {{ url_for('front') }}", "public"),
    ],
)
def test_a_page_that_shows_its_visitor_is_not_public(tmp_path, template, kind):
    shown = "{{ authorization.subject_id if authorization }}"
    files = {
        "front.j2": template,
        "inner.j2": shown,
        "outer.j2": shown,
        "plain.j2": "plain",
        "macros.j2": "{% macro name() %}" + shown + "{% endmacro %}",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    @action(triggers=WebPageTrigger(), cache_control=PUBLIC)
    async def front() -> int:
        return 1

    app = an_app(front, template_path=str(tmp_path))
    with client(app) as http:
        http.cookies["servey_token"] = token_for(app, Authorization("ada"))
        for _ in range(2):
            answer = http.get("/front")
            assert answer.status_code == 200
            assert answer.headers["cache-control"].startswith(f"{kind}, max-age=")
            assert answer.headers.get("vary") == ("Authorization, Cookie" if kind == "private" else None)
