"""A token that expires while a subscription is open: guarded fields of later events fail, a guarded subscription ends."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from servey import WEB_GET, Authorization, ScopeAccessControl, action
from servey.core.access import AuthorizationError
from servey.testing import client
from tests.graphql.graphql_client import app_of

ADA = Authorization("ada", frozenset({"root"}))
ROOT = ScopeAccessControl("root")
EXPIRED: list[bool] = []


@dataclass
class Tick:
    number: int

    @action(access_control=ROOT)
    async def margin(self) -> int | None:
        return 42

    @action
    async def who(self, authorization: Authorization | None) -> str | None:
        return authorization.subject_id if authorization else None


async def three() -> AsyncIterator[Tick]:
    """Yield three events; the token expires after the first."""
    yield Tick(0)
    EXPIRED.append(True)
    yield Tick(1)
    yield Tick(2)


@action(triggers=WEB_GET)
async def ticks() -> AsyncIterator[Tick]:
    async for each in three():
        yield each


@action(triggers=WEB_GET, access_control=ROOT)
async def guarded() -> AsyncIterator[Tick]:
    async for each in three():
        yield each


@pytest.fixture
def http(monkeypatch):
    EXPIRED.clear()
    app = app_of(ticks, guarded, jwt_leeway=0)
    authorizer = app.runtime.authorizer
    verify = type(authorizer).authorize

    async def authorize(self, token):  # the clock of a process cannot be set
        if EXPIRED:
            raise AuthorizationError("the token has expired")
        return await verify(self, token)

    monkeypatch.setattr(type(authorizer), "authorize", authorize)
    with client(app) as opened:
        opened.headers["authorization"] = f"Bearer {authorizer.sign(ADA, lifetime=60)}"
        yield opened


def results_by_sse(http, query: str) -> list[dict]:
    response = http.post("/graphql", json={"query": query}, headers={"accept": "text/event-stream"})
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]


def results_by_websocket(http, query: str) -> list[dict]:
    found = []
    with http.websocket_connect(
        "/graphql", subprotocols=["graphql-transport-ws"], headers=dict(http.headers)
    ) as session:
        session.send_json({"type": "connection_init"})
        session.receive_json()
        session.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        while (message := session.receive_json())["type"] == "next":
            found.append(message["payload"])
    return found


@pytest.mark.parametrize("results", [results_by_sse, results_by_websocket])
def test_nested_guarded_fields_fail_once_the_token_has_expired(http, results):
    first, *later = results(http, "subscription { ticks { number margin } }")
    assert first == {"data": {"ticks": {"number": 0, "margin": 42}}}
    assert [each["data"] for each in later] == [{"ticks": {"number": n, "margin": None}} for n in (1, 2)]
    assert [each["errors"][0]["extensions"]["code"] for each in later] == ["unauthenticated"] * 2


@pytest.mark.parametrize("results", [results_by_sse, results_by_websocket])
def test_an_injected_authorization_is_not_the_expired_one(http, results):
    first, *later = results(http, "subscription { ticks { number who } }")
    assert first == {"data": {"ticks": {"number": 0, "who": "ada"}}}
    assert all(each["data"]["ticks"]["who"] is None for each in later)
    assert [each["errors"][0]["extensions"]["code"] for each in later] == ["unauthenticated"] * 2


@pytest.mark.parametrize("results", [results_by_sse, results_by_websocket])
def test_a_guarded_subscription_ends(http, results):
    first, last = results(http, "subscription { guarded { number } }")
    assert first == {"data": {"guarded": {"number": 0}}}
    assert last["errors"] == [{"message": "The token has expired", "extensions": {"code": "unauthenticated"}}]


@pytest.mark.parametrize("results", [results_by_sse, results_by_websocket])
def test_public_fields_go_on(http, results):
    assert results(http, "subscription { ticks { number } }") == [{"data": {"ticks": {"number": n}}} for n in range(3)]
