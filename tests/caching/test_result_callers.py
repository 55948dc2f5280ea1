"""The cache separates callers."""

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from servey import (
    WEB_GET,
    Authorization,
    ConfigError,
    Context,
    ScopeAccessControl,
    Settings,
    TtlCacheControl,
    action,
    create_app,
)
from servey.calls.invoke import invoke
from servey.testing import client, token_for
from tests.caching.results_app import CALLERS, PRIVATE, PUBLIC, RUNS, SECRET, double, mine, running
from tests.serving import wait_until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("takes", ["the authorization", "the context", "nothing"])
async def test_private_results_are_the_callers_own(where, takes):
    def seen(authorization: Authorization | None) -> str:
        RUNS[authorization] += 1
        return repr(authorization and (authorization.subject_id, sorted(authorization.scopes)))

    @action(cache_control=PRIVATE)
    async def own(authorization: Authorization | None) -> str:
        return seen(authorization)

    @action(cache_control=PRIVATE)
    async def by_context(context: Context) -> str:
        return seen(context.authorization)

    @action(cache_control=PRIVATE)
    async def by_nothing() -> str:
        from servey.core.context import current_context

        return seen(current_context().authorization)

    asked = {"the authorization": own, "the context": by_context, "nothing": by_nothing}[takes]
    async with running(own, by_context, by_nothing, **where) as call:
        for _ in range(2):
            found = [await call(asked, _by=caller) for caller in CALLERS]
        assert len(set(found)) == len(CALLERS)
        assert set(RUNS.values()) == {1}


async def test_a_caller_is_the_same_with_a_newer_token(where):
    async with running(mine, **where) as call:
        old = Authorization("ada", frozenset({"a", "b"}), expire_at=datetime(2026, 1, 1, tzinfo=UTC))
        new = Authorization("ada", frozenset({"b", "a"}), expire_at=datetime(2030, 1, 1, tzinfo=UTC))
        assert await call(mine, _by=old) == await call(mine, _by=new)


async def test_what_an_authorizer_adds_tells_callers_apart():
    @dataclass(frozen=True)
    class OfATenant(Authorization):
        tenant: str = ""

    async with running(mine) as call:
        found = [await call(mine, _by=OfATenant("ada", tenant=tenant)) for tenant in ("x", "y", "x")]
        assert found[0] == found[2] != found[1]


async def test_callers_without_a_name_are_not_one(where):
    app = create_app(actions=[mine], settings=Settings(env="dev", jwt_secret_key=SECRET, **where))
    from jose import jwt

    tokens = [jwt.encode({"exp": int(time.time()) + 600, "jti": each}, SECRET) for each in ("1", "2")]
    async with app.runtime.lifespan():
        found = []
        for token in (*tokens, tokens[0]):
            async with app.runtime.context("test", token=token) as context:
                found.append(await invoke(mine.servey_action, {}, context))
    assert found[0] == found[2] != found[1]


async def test_the_operator_is_nobody_else():
    async with running(mine) as call:
        anonymous = await call(mine)
        async with call.app.runtime.context("cli", trusted=True) as context:
            assert await invoke(mine.servey_action, {}, context) != anonymous


async def test_public_results_are_everybodys(where):
    async with running(double, **where) as call:
        for caller in CALLERS:
            assert await call(double, _by=caller, n=4) == 8
        assert RUNS == {(4, 2): 1}


def test_a_public_result_can_not_be_told_who_calls():
    @action(cache_control=PUBLIC)
    async def leaks(authorization: Authorization) -> str: ...

    with pytest.raises(ConfigError, match="'leaks'.*private=False.*takes an Authorization; use private=True"):
        create_app(actions=[leaks], settings=Settings(env="dev"))


def test_access_is_asked_before_anything_is_given():
    @action(triggers=WEB_GET, cache_control=PUBLIC, access_control=ScopeAccessControl("read"))
    async def guarded() -> str:
        return "secret"

    @action(
        triggers=WEB_GET,
        cache_control=PUBLIC,
        access_control=ScopeAccessControl("root")
        | (lambda who, params: who is not None and who.subject_id == params["of"]),
    )
    async def owned(of: str) -> str:
        return f"of {of}"

    app = create_app(actions=[guarded, owned], settings=Settings(env="dev", jwt_secret_key=SECRET))
    with client(app) as http:

        def status(path: str, who: Authorization | None) -> int:
            headers = {} if who is None else {"Authorization": f"Bearer {token_for(app, who)}"}
            return http.get(f"/actions/{path}", headers=headers).status_code

        for _ in range(2):
            assert status("guarded", Authorization("ada", frozenset({"read"}))) == 200
            assert status("guarded", Authorization("ada", frozenset({"write"}))) == 403
            assert status("guarded", None) == 401
            assert http.get("/actions/guarded", headers={"Authorization": "Bearer no.good.token"}).status_code == 401
            assert status("owned?of=ada", Authorization("ada")) == 200
            assert status("owned?of=ada", Authorization("bob")) == 403
            assert status("owned?of=ada", None) == 401


async def interleave(where: dict[str, Any], requests: int) -> None:
    """Users ask in any order and at once, some with the same parameters; everybody gets their own answer only."""

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(0.05))
    async def own(n: int, authorization: Authorization | None) -> list[Any]:
        RUNS["own"] += 1
        await asyncio.sleep(0)
        return [n, authorization.subject_id if authorization else None]

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(0.05))
    def own_in_a_thread(n: int, authorization: Authorization | None) -> list[Any]:
        return [n, authorization.subject_id if authorization else None]

    chance = random.Random(7)
    async with running(own, own_in_a_thread, **where) as call:

        async def ask() -> None:
            who = chance.choice(["ada", "bob", None])
            asked, n = chance.choice([own, own, own, own_in_a_thread]), chance.randrange(3)
            assert await call(asked, _by=None if who is None else Authorization(who), n=n) == [n, who]

        for _ in range(requests // 50):
            await asyncio.gather(*(ask() for _ in range(50)))
    assert RUNS["own"] < requests / 2


async def test_two_users_never_get_each_others(where):
    await interleave(where, 1000)


@pytest.mark.slow
async def test_two_users_never_get_each_others_in_10_000_requests(where):
    await interleave(where, 10_000)


def test_every_way_of_calling_has_the_same_results():
    from servey.aws import build_handler
    from tests.aws.gateways import GATEWAYS, answer_of
    from tests.aws.gateways import Request as LambdaRequest

    app = create_app(actions=[double, mine], settings=Settings(env="dev", jwt_secret_key=SECRET))
    ada = {"Authorization": f"Bearer {token_for(app, Authorization('ada'))}"}
    with client(app) as http:

        def in_graphql(query: str, headers: dict[str, str]) -> Any:
            return http.post("/graphql", json={"query": query}, headers=headers).json()["data"]

        job = http.get("/actions/double?n=8", headers={"Prefer": "respond-async"}).headers["location"]
        wait_until(lambda: http.get(job).json()["state"] == "done", "the job")
        assert http.get("/actions/double?n=8").json() == 16
        assert in_graphql("{ a: double(n: 8) b: double(n: 8, by: 2) }", {}) == {"a": 16, "b": 16}
        assert RUNS == {(8, 2): 1}
        found = {http.get("/actions/mine", headers=ada).json(), in_graphql("{ mine }", ada)["mine"]}
        assert found == {"ada 0 1"}
        assert in_graphql("{ mine }", {})["mine"] == http.get("/actions/mine").json() == "nobody 0 2"
    handler = build_handler(app)
    for gateway in GATEWAYS.values():
        assert answer_of(handler(gateway(LambdaRequest("GET", "/actions/double?n=9")))).body == b"18"
    handler.close()
    assert RUNS[9, 2] == 1
