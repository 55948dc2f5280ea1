"""Whatever a user overrides, wraps or replaces decides about every call, not about the first one alone."""

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header, HTTPException

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    BatchInvoker,
    ConfigError,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
    websocket_event_channel,
)
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.aws import build_handler
from servey.core.access import AllOf, AnyOf, AuthorizationError
from servey.testing import client

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
DEV = Settings(env="dev", jwt_secret_key=SECRET)
SIGNER = JwtAuthorizer(OneKey(secret_key(SECRET)))
ADA = Authorization("ada", frozenset({"read"}))
READ = ScopeAccessControl("read")

Ask = Callable[[], int]


@contextmanager
def asking(rule: Any = None, authorizer: Any = None) -> Iterator[list[Ask]]:
    """Ways to call one guarded action as Ada, each of which gives an HTTP status."""

    @action(triggers=WEB_GET, access_control=rule or READ)
    async def secret() -> str:
        return "secret"

    @action(triggers=WEB_GET)
    async def whoami(authorization: Authorization) -> str | None:
        return authorization.subject_id

    app = create_app(actions=[secret, *([] if rule else [whoami])], settings=DEV)
    if authorizer is not None:
        app.runtime.authorizer = authorizer
    headers = {"Authorization": f"Bearer {SIGNER.sign(ADA, lifetime=600)}"}
    codes = {"unauthenticated": 401, "forbidden": 403}
    with client(app) as http:

        def graphql() -> int:
            found = http.post("/graphql", json={"query": "{ secret }"}, headers=headers).json()
            return codes[found["errors"][0]["extensions"]["code"]] if "errors" in found else 200

        ways: list[Ask] = [lambda: http.get("/actions/secret", headers=headers).status_code, graphql]
        if rule is None:
            ways.append(lambda: http.get("/actions/whoami", headers=headers).status_code)
        yield ways


# --------------------------------------------------------------------------------------------------------- authorizers


class OnlyOnce(JwtAuthorizer):
    """Accepts a token once; `remembered` is inherited."""

    def __init__(self) -> None:
        super().__init__(OneKey(secret_key(SECRET)))
        self.used: set[str] = set()

    async def authorize(self, token: str) -> Authorization:
        found = await super().authorize(token)
        if token in self.used:
            raise AuthorizationError("revoked")
        self.used.add(token)
        return found


class Wrapper:
    """Has everything of the authorizer inside, but for `authorize`."""

    def __init__(self, inner: JwtAuthorizer) -> None:
        self.inner = inner
        self.tokens: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def authorize(self, token: str) -> Authorization:
        if self.tokens:
            raise AuthorizationError("revoked")
        found = await self.inner.authorize(token)
        self.tokens.append(token)
        return found


def replaced_on_the_instance() -> JwtAuthorizer:
    made, inner = JwtAuthorizer(OneKey(secret_key(SECRET))), OnlyOnce()
    made.authorize = inner.authorize  # type: ignore[method-assign]
    return made


AUTHORIZERS = {
    "subclass": OnlyOnce,
    "wrapper": lambda: Wrapper(JwtAuthorizer(OneKey(secret_key(SECRET)))),
    "instance": replaced_on_the_instance,
}


@pytest.mark.parametrize("made", AUTHORIZERS.values(), ids=AUTHORIZERS)
@pytest.mark.parametrize("way", [0, 1, 2])
def test_an_authorizer_of_the_users_own_sees_every_token(made, way):
    with asking(authorizer=made()) as ways:
        assert [ways[way]() for _ in range(4)] == [200, 401, 401, 401]


@pytest.mark.parametrize("way", [0, 1, 2])
def test_an_authorizer_may_be_replaced_while_the_app_runs(way, monkeypatch):
    with asking() as ways:
        assert [ways[way]() for _ in range(3)] == [200, 200, 200]

        async def refuse(self: JwtAuthorizer, token: str) -> Authorization:
            raise AuthorizationError("revoked")

        with monkeypatch.context() as patch:
            patch.setattr(JwtAuthorizer, "authorize", refuse)
            assert ways[way]() == 401
        assert ways[way]() == 200


class NoKey(OneKey):
    """Keys that can be withdrawn."""

    async def key_for(self, header: Mapping[str, Any]) -> Any:
        if header["alg"] and self.withdrawn:
            raise AuthorizationError("the key was withdrawn")
        return await super().key_for(header)

    withdrawn = False


def test_a_key_source_of_the_users_own_is_asked_for_every_token(monkeypatch):
    with asking(authorizer=JwtAuthorizer(NoKey(secret_key(SECRET)))) as ways:
        assert [ways[0]() for _ in range(3)] == [200, 200, 200]
        monkeypatch.setattr(NoKey, "withdrawn", True)
        assert ways[0]() == 401


# --------------------------------------------------------------------------------------------------------------- rules


class AsyncScope(ScopeAccessControl):
    async def __call__(self, authorization: Authorization | None) -> bool:  # type: ignore[override]
        await asyncio.sleep(0)
        return False


class Never(ScopeAccessControl):
    def __call__(self, authorization: Authorization | None) -> bool:
        return False


class NeverWithParams(ScopeAccessControl):
    def __call__(self, authorization: Authorization | None, params: Mapping[str, Any]) -> bool:  # type: ignore[override]
        return bool(params)


class NeverBoth(AllOf):
    async def __call__(self, authorization: Authorization | None) -> bool:
        return False


class NeverEither(AnyOf):
    def __call__(self, authorization: Authorization | None) -> bool:
        return False


class Object:
    async def __call__(self, authorization: Authorization | None) -> bool:
        return False


async def refuse(authorization: Authorization | None, reason: str = "") -> bool:
    return False


REFUSING = {
    "async_subclass": AsyncScope("read"),
    "subclass": Never("read"),
    "subclass_with_params": NeverWithParams("read"),
    "lambda": lambda authorization: False,
    "lambda_of_a_coroutine": lambda authorization: refuse(authorization),
    "object": Object(),
    "partial": functools.partial(refuse, reason="always"),
    "and": READ & AsyncScope("read"),
    "or": AsyncScope("read") | Object(),
    "subclass_of_and": NeverBoth((READ, READ)),
    "subclass_of_or": NeverEither((READ, READ)),
    "nested": READ & (Never("read") | NeverBoth((READ,))),
}


@pytest.mark.parametrize("rule", REFUSING.values(), ids=REFUSING)
def test_a_rule_of_the_users_own_is_asked_every_time(rule):
    with asking(rule) as ways:
        for way in ways:
            assert [way() for _ in range(3)] == [403, 403, 403]


def test_a_rule_may_be_replaced_while_the_app_runs(monkeypatch):
    with asking(READ) as ways:
        for way in ways:
            assert [way(), way()] == [200, 200]
        monkeypatch.setattr(ScopeAccessControl, "__call__", AsyncScope.__call__)
        for way in ways:
            assert [way(), way()] == [403, 403]


def a_scope(scope: str) -> Callable[[Authorization | None], bool]:
    return lambda authorization: authorization is not None and authorization.has_scope(scope)


def test_a_factory_of_rules_that_was_not_called_allows_nobody(caplog):
    with asking(a_scope) as ways:
        assert ways[0]() == 500
    assert "access rule a_scope returned" in caplog.text


@pytest.mark.parametrize("rule", [ScopeAccessControl, READ & Never, Never | READ, READ & (READ | Object)], ids=repr)
def test_a_rule_without_parentheses_is_a_mistake(rule):
    with pytest.raises(
        ConfigError, match=r"access_control is the class \w+; use an instance of it, such as \w+\(\.\.\.\)"
    ):

        @action(access_control=rule)
        async def secret() -> None: ...

    with pytest.raises(ConfigError, match="channel 'news': access_control is the class"):
        websocket_event_channel("news", str, access_control=rule)


def test_a_part_of_a_rule_that_is_none_is_a_mistake():
    with pytest.raises(ConfigError, match="access_control is 'read'; use a rule"):

        @action(access_control=READ & "read")  # type: ignore[arg-type]
        async def secret() -> None: ...


def test_an_event_filter_without_parentheses_is_a_mistake():
    with pytest.raises(ConfigError, match="channel 'news': event_filter is the class Object; use an instance of it"):
        websocket_event_channel("news", str, event_filter=Object)


# -------------------------------------------------------------------------------------------------- batches of a method

OPENED: list[str] = []
ASKED: list[list[int]] = []


async def require_key(x_api_key: Annotated[str | None, Header()] = None) -> Any:
    if x_api_key != "right":
        raise HTTPException(401, "no")
    OPENED.append("open")
    yield x_api_key
    OPENED.append("close")


async def current_user(authorization: Authorization) -> str | None:
    return authorization.subject_id


async def balances(ids: list[int]) -> list[int]:
    ASKED.append(ids)
    return [number * 1000 for number in ids]


@dataclass
class Account:
    id: int

    @action(triggers=WEB_POST, batch_invoker=BatchInvoker(balances, arg_extractor=lambda account: [account.id]))
    async def balance(self, key: Annotated[str, Depends(require_key)]) -> int | None:
        return self.id * 1000

    @action(batch_invoker=BatchInvoker(balances, arg_extractor=lambda account: [account.id]))
    async def private(self, user: Annotated[str, Depends(current_user)]) -> int | None:
        return self.id * 1000


@action(triggers=WEB_GET)
async def accounts() -> list[Account]:
    return [Account(1), Account(2)]


@pytest.fixture(scope="module")
def bank() -> Any:
    with client(create_app(actions=[accounts], settings=DEV)) as http:
        yield http


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    OPENED.clear()
    ASKED.clear()


def test_a_guard_of_a_batched_method_runs_once_for_the_batch(bank):
    query = {"query": "{ accounts { id balance } }"}
    refused = bank.post("/graphql", json=query).json()
    assert refused["data"] == {"accounts": [{"id": 1, "balance": None}, {"id": 2, "balance": None}]}
    assert [each["extensions"]["code"] for each in refused["errors"]] == ["http_401", "http_401"]
    assert ASKED == []
    found = bank.post("/graphql", json=query, headers={"X-Api-Key": "right"}).json()
    assert found == {"data": {"accounts": [{"id": 1, "balance": 1000}, {"id": 2, "balance": 2000}]}}
    assert (ASKED, OPENED) == ([[1, 2]], ["open", "close"])


def test_a_batched_method_whose_dependency_needs_a_token_needs_one(bank):
    query = {"query": "{ accounts { private } }"}
    refused = bank.post("/graphql", json=query).json()
    assert {each["extensions"]["code"] for each in refused["errors"]} == {"unauthenticated"}
    assert ASKED == []
    token = SIGNER.sign(ADA, lifetime=600)
    found = bank.post("/graphql", json=query, headers={"Authorization": f"Bearer {token}"}).json()
    assert found == {"data": {"accounts": [{"private": 1000}, {"private": 2000}]}}


def test_a_guard_of_a_batched_method_runs_for_a_batch_of_appsync():
    handler = build_handler(create_app(actions=[accounts], settings=DEV))
    try:
        events = [
            {
                "info": {"fieldName": field, "parentTypeName": "Account"},
                "arguments": {},
                "source": {"id": number},
                "request": {"headers": {}},
            }
            for field in ("balance", "private")
            for number in (1, 2)
        ]
        found = [*handler(events[:2], None), *handler(events[2:], None)]
    finally:
        handler.close()
    assert [each["errorType"] for each in found] == ["http_401", "http_401", "unauthenticated", "unauthenticated"]
    assert ASKED == []
