"""The results that the server keeps: for whom, how long, and that each is computed once."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, Header, HTTPException, Request, Response
from pydantic import BaseModel, Field, SecretStr, computed_field
from starlette.responses import PlainTextResponse

from servey import (
    WEB_GET,
    WEB_POST,
    ActionError,
    Authorization,
    ConfigError,
    Context,
    NotFound,
    ScopeAccessControl,
    ServeyError,
    Settings,
    TtlCacheControl,
    action,
    create_app,
    invalidate,
)
from servey.backends import MemoryBackend
from servey.errors import ActionTimeout
from servey.invoke import Stream, invoke
from servey.parts import Parts
from servey.testing import client, token_for
from tests.serving import wait_until

pytestmark = pytest.mark.anyio
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
PUBLIC = TtlCacheControl(60, private=False)
PRIVATE = TtlCacheControl(60)
RUNS: Counter[Any] = Counter()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RUNS.clear()


@pytest.fixture(params=["memory", "Redis"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of an app that keeps results there, under keys of its own."""
    if request.param == "memory":
        return {}
    return {"redis_url": request.getfixturevalue("redis").url, "cache_prefix": f"test-{random.random()}"}


@asynccontextmanager
async def running(*actions: Any, parts: Parts | None = None, **settings: Any) -> AsyncIterator[Any]:
    """An app that runs; what it gives calls an action in a context of its own."""
    app = create_app(actions=actions, settings=Settings(env="dev", jwt_secret_key=SECRET, **settings), parts=parts)

    async def call(fn: Any, _by: Authorization | None = None, **params: Any) -> Any:
        async with app.runtime.context("test", authorization=_by) as context:
            result = await invoke(fn.servey_action, params, context)
            call.made_at = context.made_at
            return [item async for item in result] if isinstance(result, Stream) else result

    call.app = app
    async with app.runtime.lifespan():
        yield call


@action(triggers=WEB_GET, cache_control=PUBLIC, tags=("doubles",))
async def double(n: int, by: int = 2) -> int:
    RUNS[n, by] += 1
    return n * by


@action(triggers=WEB_GET, cache_control=PRIVATE, tags=("doubles", "own"))
async def mine(authorization: Authorization | None, n: int = 0) -> str:
    RUNS["mine"] += 1
    return f"{authorization.subject_id if authorization else 'nobody'} {n} {RUNS['mine']}"


# ------------------------------------------------------------------------------------------------------- what is kept


async def test_a_result_is_computed_once(where):
    async with running(double, **where) as call:
        assert [await call(double, n=3) for _ in range(3)] == [6, 6, 6]
        assert call.made_at is not None and abs(call.made_at - time.time()) < 10
        assert RUNS == {(3, 2): 1}


async def test_each_call_has_its_own(where):
    async with running(double, **where) as call:
        for _ in range(2):
            assert await call(double, n=3) == await call(double, n=3, by=2) == await call(double, by=2, n="3") == 6
            assert await call(double, n=3, by=3) == 9
        assert RUNS == {(3, 2): 1, (3, 3): 1}


async def test_it_holds_good_for_its_ttl(where):
    @action(cache_control=TtlCacheControl(0.3, private=False))
    async def brief() -> int:
        RUNS["brief"] += 1
        return RUNS["brief"]

    async with running(brief, **where) as call:
        begun = time.monotonic()
        assert await call(brief) == 1
        while await call(brief) == 1:
            assert time.monotonic() < begun + 5
            await asyncio.sleep(0.01)
        assert time.monotonic() - begun >= 0.29


class Currency(Enum):
    euro = "EUR"


@dataclass
class Price:
    amount: Decimal
    currency: Currency


class Product(BaseModel):
    number: int = Field(alias="productNumber")
    name: str = Field(serialization_alias="title")
    prices: list[Price]
    tags: set[str]
    since: date | datetime | None

    @computed_field
    @property
    def label(self) -> str:
        return f"{self.number} {self.name}"


async def test_a_result_comes_back_as_what_it_was_and_is_everybodys_own(where):
    made = Product(
        productNumber=1,
        name="tea",
        prices=[Price(Decimal("1.50"), Currency.euro)],
        tags={"a", "b"},
        since=date(2026, 6, 1),
    )

    @action(cache_control=PUBLIC)
    async def product() -> Product:
        RUNS["product"] += 1
        return made

    async with running(product, **where) as call:
        first, second, third = await call(product), await call(product), await call(product)
        assert first == second == third == made
        assert isinstance(second.prices[0], Price) and second.prices[0].currency is Currency.euro
        second.prices.clear()
        assert third.prices and (await call(product)).prices
        assert RUNS["product"] == 1


async def test_a_result_that_json_does_not_hold_is_not_kept(where, caplog):
    class Forgetful(BaseModel):
        a: int
        left_out: int = Field(exclude=True)

    @action(cache_control=PUBLIC)
    async def forgetful() -> Forgetful:
        RUNS["forgetful"] += 1
        return Forgetful(a=1, left_out=RUNS["forgetful"])

    async with running(forgetful, **where) as call:
        assert [(await call(forgetful)).left_out for _ in range(3)] == [1, 2, 3]
        found = await asyncio.gather(*(call(forgetful) for _ in range(5)))
        assert sorted(each.left_out for each in found) == [4, 5, 6, 7, 8]
    told = [record.getMessage() for record in caplog.records if "not kept on the server" in record.getMessage()]
    assert len(told) == 1
    assert "action 'forgetful'" in told[0] and told[0].endswith("left_out: Field required")


async def test_errors_are_not_kept(where):
    @action(cache_control=PUBLIC, timeout=0.2)
    async def fails(how: str) -> int:
        RUNS[how] += 1
        if how == "late":
            await asyncio.sleep(30)
        if RUNS[how] < 3:
            raise NotFound() if how == "missing" else RuntimeError("broken")
        return RUNS[how]

    async with running(fails, **where) as call:
        for how, kind in (("missing", NotFound), ("broken", RuntimeError)):
            for _ in range(2):
                with pytest.raises(kind):
                    await call(fails, how=how)
            assert await call(fails, how=how) == await call(fails, how=how) == 3
        for _ in range(2):
            with pytest.raises(ActionTimeout):
                await call(fails, how="late")
        assert RUNS["late"] == 2


async def test_streams_and_whole_responses_are_not_kept():
    @action(cache_control=PUBLIC)
    async def stream() -> AsyncIterator[int]:
        RUNS["stream"] += 1
        yield RUNS["stream"]

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def whole() -> PlainTextResponse:
        RUNS["whole"] += 1
        return PlainTextResponse(str(RUNS["whole"]))

    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def either(n: int) -> PlainTextResponse | int:
        RUNS["either"] += 1
        return n if n else PlainTextResponse(str(RUNS["either"]))

    async with running(stream, whole, either) as call:
        assert [await call(stream) for _ in range(2)] == [[1], [2]]
        assert [(await call(whole)).body for _ in range(2)] == [b"1", b"2"]
        found = await asyncio.gather(*(call(either, n=0) for _ in range(3)))
        assert sorted(each.body for each in found) == [b"1", b"2", b"3"]
        assert [await call(either, n=7) for _ in range(3)] == [7, 7, 7]
        assert RUNS["either"] == 4


@pytest.mark.parametrize("control", [TtlCacheControl(60, server=False), None])
async def test_only_what_says_so_is_kept(control):
    @action(cache_control=control)
    async def count() -> int:
        RUNS["count"] += 1
        return RUNS["count"]

    async with running(count) as call:
        assert [await call(count) for _ in range(2)] == [1, 2]
        assert call.made_at is None


async def test_parameters_that_hide_something_are_still_told_apart(where):
    class Query(BaseModel):
        text: str
        account: str = Field(exclude=True)

    @action(cache_control=PUBLIC)
    async def search(query: Query, password: SecretStr) -> str:
        return f"{query.account} {password.get_secret_value()}"

    async with running(search, **where) as call:
        for account, password in (("ada", "x"), ("bob", "x"), ("ada", "y")):
            found = await call(search, query={"text": "t", "account": account}, password=password)
            assert found == f"{account} {password}"


# ------------------------------------------------------------------------------------------------------------ for whom

CALLERS = [
    None,
    Authorization("ada"),
    Authorization("bob"),
    Authorization("ada", frozenset({"root"})),
    Authorization("ada", frozenset({"root", "read"})),
    Authorization("ada root"),
    Authorization(None, frozenset({"ada"})),
]


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
        from servey.context import current_context

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

    with pytest.raises(ConfigError, match="'leaks'.*private=False.*told who calls; say private=True"):
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


# ------------------------------------------------------------------------------------------------------ dependencies


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
    told = [record.getMessage() for record in caplog.records if "not kept on the server" in record.getMessage()]
    assert len(told) == (1 if kind == "row" else 0)


def test_a_background_task_belongs_to_the_computation():
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def notes(tasks: BackgroundTasks) -> int:
        tasks.add_task(RUNS.update, ["noted"])
        return 1

    with client(create_app(actions=[notes], settings=Settings(env="dev"))) as http:
        assert [http.get("/actions/notes").json() for _ in range(3)] == [1, 1, 1]
    assert RUNS == {"noted": 1}


# ------------------------------------------------------------------------------------------------- one at a time, once


@pytest.mark.parametrize("kind", ["async", "def", "with a session"])
async def test_simultaneous_misses_are_one_computation(where, kind):
    release = threading.Event()

    async def session() -> AsyncIterator[object]:
        RUNS["opened"] += 1
        yield object()
        RUNS["closed"] += 1

    @action(cache_control=PUBLIC)
    async def slow() -> list[int]:
        RUNS["computed"] += 1
        while not release.is_set():
            await asyncio.sleep(0.01)
        return [1]

    @action(cache_control=PUBLIC)
    def slow_def() -> list[int]:
        RUNS["computed"] += 1
        release.wait(10)
        return [1]

    @action(cache_control=PUBLIC)
    async def slow_with_a_session(db: Annotated[object, Depends(session)]) -> list[int]:
        return await slow()

    asked = {"async": slow, "def": slow_def, "with a session": slow_with_a_session}[kind]
    async with running(asked, **where) as call:
        callers = [asyncio.create_task(call(asked)) for _ in range(100)]
        while not RUNS["computed"]:
            await asyncio.sleep(0.01)
        release.set()
        found = await asyncio.gather(*callers)
        assert found == [[1]] * 100
        assert len({id(each) for each in found}) == 100
    assert RUNS["computed"] == 1
    assert RUNS["opened"] == RUNS["closed"] == (100 if kind == "with a session" else 0)


async def test_an_error_is_everybodys_and_is_over_then(where):
    @action(cache_control=PUBLIC)
    async def fails() -> int:
        RUNS["ran"] += 1
        await asyncio.sleep(0.05)
        raise ActionError(418, "teapot", "short and stout")

    async with running(fails, **where) as call:
        found = await asyncio.gather(*(call(fails) for _ in range(20)), return_exceptions=True)
        assert {getattr(each, "code", each) for each in found} == {"teapot"}
        assert RUNS["ran"] == 1
        with pytest.raises(ActionError):
            await call(fails)
        assert RUNS["ran"] == 2


async def test_a_caller_who_leaves_takes_no_one_along(where):
    release = asyncio.Event()

    @action(cache_control=PUBLIC)
    async def slow() -> int:
        RUNS["ran"] += 1
        await release.wait()
        return RUNS["ran"]

    async with running(slow, **where) as call:
        first = asyncio.create_task(call(slow))
        while not RUNS["ran"]:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(call(slow)) for _ in range(5)]
        (flight,) = call.app.runtime.cache._flights.values()
        while flight._waiting < 6:
            await asyncio.sleep(0.01)
        first.cancel()
        others[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        release.set()
        assert await asyncio.gather(*others[1:]) == [1] * 4
        assert RUNS["ran"] == 1


async def test_the_last_caller_who_leaves_ends_the_computation(where):
    @action(cache_control=PUBLIC)
    async def slow() -> None:
        RUNS["ran"] += 1
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            RUNS["cancelled"] += 1
            raise

    async with running(slow, **where) as call:
        callers = [asyncio.create_task(call(slow)) for _ in range(3)]
        while not RUNS["ran"]:
            await asyncio.sleep(0.01)
        for each in callers:
            each.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert RUNS == {"ran": 1, "cancelled": 1}


async def test_whoever_holds_the_dependencies_passes_the_work_on(where):
    log: list[str] = []
    release = asyncio.Event()

    async def session() -> AsyncIterator[str]:
        name = f"session {RUNS['sessions']}"
        RUNS["sessions"] += 1
        log.append(f"open {name}")
        yield name
        log.append(f"close {name}")

    @action(cache_control=PUBLIC)
    async def slow(db: Annotated[str, Depends(session)]) -> str:
        log.append(f"begin with {db}")
        try:
            await release.wait()
        finally:
            log.append(f"end with {db}")
        return db

    async with running(slow, **where) as call:
        first = asyncio.create_task(call(slow))
        while "begin with session 0" not in log:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(call(slow))
        while "open session 1" not in log:
            await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        while "begin with session 1" not in log:
            await asyncio.sleep(0.01)
        assert log.index("end with session 0") < log.index("begin with session 1")
        release.set()
        assert await second == "session 1"


async def test_whoever_comes_in_the_moment_in_which_the_work_is_given_up_begins_anew():
    release = asyncio.Event()

    async def session() -> AsyncIterator[object]:
        yield object()

    @action(cache_control=PUBLIC)
    async def slow(db: Annotated[object, Depends(session)]) -> int:
        RUNS["ran"] += 1
        await release.wait()
        return RUNS["ran"]

    async with running(slow) as call:
        first = asyncio.create_task(call(slow))
        while not RUNS["ran"]:
            await asyncio.sleep(0.01)
        others = []
        for turn in range(60):  # one in each turn of the loop, so that one of them meets the very moment
            others.append(asyncio.create_task(call(slow)))
            await asyncio.sleep(0)
            if turn == 30:
                first.cancel()
        while RUNS["ran"] < 2:
            await asyncio.sleep(0.01)
        release.set()
        assert await asyncio.gather(*others) == [2] * 60


async def test_a_function_that_cancels_itself_fails_alone():
    @action(cache_control=PUBLIC)
    async def strange() -> None:
        raise asyncio.CancelledError

    async with running(strange) as call:
        found = await asyncio.gather(*(call(strange) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [asyncio.CancelledError] * 3


async def test_each_caller_waits_for_its_own_time(where):
    @action(cache_control=PUBLIC, timeout=0.4)
    async def slow() -> int:
        RUNS["ran"] += 1
        await asyncio.sleep(0.6 if RUNS["ran"] == 1 else 0)
        return RUNS["ran"]

    async with running(slow, **where) as call:
        first = asyncio.create_task(call(slow))
        await asyncio.sleep(0.25)
        assert await call(slow) == 1
        with pytest.raises(ActionTimeout):
            await first


# --------------------------------------------------------------------------------------------------------- forgetting


async def test_forgetting_an_action_a_call_and_a_tag(where):
    async with running(double, mine, **where) as call:
        for _ in range(2):
            await call(double, n=1)
            await call(double, n=2)
            await call(mine)
        assert RUNS == {(1, 2): 1, (2, 2): 1, "mine": 1}
        await invalidate(double, n=1)
        await call(double, n=1), await call(double, n=2), await call(mine)
        assert RUNS == {(1, 2): 2, (2, 2): 1, "mine": 1}
        await invalidate(double)
        await call(double, n=1), await call(double, n=2), await call(mine)
        assert RUNS == {(1, 2): 3, (2, 2): 2, "mine": 1}
        await invalidate("own")
        await call(double, n=1), await call(double, n=2), await call(mine)
        assert RUNS == {(1, 2): 3, (2, 2): 2, "mine": 2}
        await invalidate("doubles")
        await call(double, n=1), await call(double, n=2), await call(mine)
        assert RUNS == {(1, 2): 4, (2, 2): 3, "mine": 3}


async def test_forgetting_a_call_is_for_all_callers(where):
    async with running(mine, **where) as call:
        before = [await call(mine, _by=caller, n=n) for caller in CALLERS for n in (1, 2)]
        await invalidate(mine, n=1)
        after = [await call(mine, _by=caller, n=n) for caller in CALLERS for n in (1, 2)]
        assert [old == new for old, new in zip(before, after, strict=True)] == [False, True] * len(CALLERS)


async def test_what_is_being_computed_is_forgotten_too(where):
    state = ["old"]
    begun, release = asyncio.Event(), asyncio.Event()

    @action(cache_control=PUBLIC)
    async def read() -> str:
        found = state[0]
        begun.set()
        await release.wait()
        return found

    async with running(read, **where) as call:
        early = asyncio.create_task(call(read))
        await begun.wait()
        state[0] = "new"
        await invalidate(read)
        late = asyncio.create_task(call(read))
        await asyncio.sleep(0.05)
        release.set()
        assert (await early, await late, await call(read)) == ("old", "new", "new")


def test_an_action_forgets_what_it_changes():
    state = {"a": 1}

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False))
    async def get(name: str) -> int:
        RUNS["get"] += 1
        return state[name]

    @action(triggers=WEB_POST)
    def put(name: str, value: int) -> None:
        state[name] = value
        invalidate(get, name=name)

    with client(create_app(actions=[get, put], settings=Settings(env="dev"))) as http:
        for value in (1, 2, 3):
            http.post("/actions/put", json={"name": "a", "value": value})
            assert [http.get("/actions/get?name=a").json() for _ in range(2)] == [value, value]
    assert RUNS["get"] == 3


@pytest.mark.parametrize(
    ("what", "params", "problem"),
    [
        (mine, {"m": 1}, r"invalidate\(mine\): m: Extra inputs are not permitted"),
        (double, {"n": "x"}, r"invalidate\(double\): n: Input should be a valid integer"),
        (double, {"by": 1}, r"invalidate\(double\): n: Field required"),
        (len, {}, "that is no action; give one, or a tag"),
        ("nothing", {}, r"invalidate\('nothing'\): the server keeps no results of it"),
        ("own", {"n": 1}, "a tag has no parameters"),
    ],
)
async def test_what_can_not_be_forgotten(what, params, problem):
    async with running(double, mine):
        with pytest.raises(ServeyError, match=problem):
            invalidate(what, **params)


def test_forgetting_without_an_app():
    with pytest.raises(ServeyError, match="No Servey app is running"):
        invalidate(double)


# -------------------------------------------------------------------------------------------------------- the backend


async def test_memory_is_bounded_in_entries_and_bytes():
    now = [0.0]
    backend = MemoryBackend(max_entries=3, max_bytes=1000, clock=lambda: now[0])
    for n in range(5):
        await backend.set(f"{n}", b"x")
    assert [await backend.get(f"{n}") for n in range(5)] == [None, None, b"x", b"x", b"x"]
    await backend.get("2")
    await backend.set("5", b"x")  # the one that was asked for longest ago goes
    assert [await backend.get(each) for each in "2345"] == [b"x", None, b"x", b"x"]
    await backend.set("large", b"x" * 996)
    assert await backend.get("large") is None
    assert backend.size == (3, 6)
    await backend.set("a", b"x" * 900)
    await backend.set("b", b"x" * 900)
    assert backend.size == (1, 901)
    await backend.set("c", b"y", 10)
    assert await backend.get_with_ttl("c") == (10, b"y")
    now[0] = 10.0
    assert (await backend.get_with_ttl("c"), await backend.get_with_ttl("b")) == ((0, None), (-1, b"x" * 900))
    await backend.set("n:1", b"", 5)
    await backend.set("n:2", b"", 5)
    assert (await backend.clear("n"), await backend.clear(key="b"), await backend.clear(key="b")) == (2, 1, 0)
    assert backend.size == (0, 0)


async def test_the_settings_bound_it():
    async with running(double, cache_max_entries=5) as call:
        for n in range(20):
            await call(double, n=n)
        assert call.app.runtime.cache.backend.size[0] <= 5
        await call(double, n=19)
        assert RUNS[19, 2] == 1
    async with running(double, cache_max_bytes=0) as call:
        assert [await call(double, n=77) for _ in range(2)] == [154, 154]
        assert RUNS[77, 2] == 2


async def test_everything_that_is_kept_ends(where):
    @action(cache_control=TtlCacheControl(30))
    async def one() -> int:
        return 1

    async with running(one, **where) as call:
        await call(one)
        await invalidate(one)
        await call(one)
        backend = call.app.runtime.cache.backend
        if where:
            keys = [key async for key in backend.client.scan_iter(match=f"{where['cache_prefix']}:*")]
            assert len(keys) == 2
            assert all(0 < left <= 30 + 15 + 60 for left in [await backend.client.ttl(key) for key in keys])
            assert await backend.clear(where["cache_prefix"]) == 2
        else:
            assert backend.size[0] == 2


async def test_a_backend_of_ones_own():
    store: dict[str, bytes] = {}

    class Mine:
        async def get(self, key: str) -> bytes | None:
            return store.get(key)

        async def set(self, key: str, value: bytes, expire: float | None = None) -> None:
            store[key] = value

    async with running(double, parts=Parts(cache=lambda _: Mine())) as call:
        assert [await call(double, n=2) for _ in range(2)] == [4, 4]
        assert (len(store), RUNS[2, 2]) == (1, 1)
        for key in store:
            store[key] = b"garbage"
        assert await call(double, n=2) == 4
        for key in store:
            store[key] = store[key].replace(b"\n4", b'\n"no number"')  # another version of the app has kept it
        assert await call(double, n=2) == 4
        assert RUNS[2, 2] == 3


async def test_without_its_library(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "servey.backends", None)
    with pytest.raises(ConfigError, match='keeping results on the server needs Servey\'s extra "standard" or "jobs"'):
        async with running(double):
            pass


# ---------------------------------------------------------------------------------------------------- what HTTP is told


def test_over_http_a_kept_result_says_what_is_left():
    @action(triggers=(WEB_GET, WEB_POST), cache_control=TtlCacheControl(30))
    def now() -> datetime:
        RUNS["now"] += 1
        return datetime.now()

    app = create_app(actions=[now], settings=Settings(env="dev"))
    with client(app) as http:
        first = http.get("/actions/now")
        assert first.headers["cache-control"] == "private, max-age=30"
        with pytest.MonkeyPatch.context() as patch:
            real = time.time
            patch.setattr(time, "time", lambda: real() + 12.5)
            second = http.get("/actions/now")
            assert second.headers["cache-control"] == "private, max-age=17"
            assert second.content == first.content
            same = http.get("/actions/now", headers={"If-None-Match": first.headers["etag"]})
            assert (same.status_code, same.content, same.headers["cache-control"]) == (304, b"", "private, max-age=17")
            assert http.head("/actions/now").headers["etag"] == first.headers["etag"]
            posted = http.post("/actions/now")
            assert (posted.content, posted.headers["cache-control"]) == (first.content, "private, max-age=17")
        other = http.get("/actions/now", headers={"Authorization": f"Bearer {token_for(app, Authorization('ada'))}"})
        assert other.content != first.content
        bad = [http.get("/actions/now", headers={"Authorization": f"Bearer {each}"}).content for each in ("a", "b")]
        assert bad[0] == bad[1] != first.content
    assert RUNS["now"] == 3


def test_a_request_can_not_go_around_the_cache():
    with client(create_app(actions=[double], settings=Settings(env="dev"))) as http:
        for said in ({}, {"Cache-Control": "no-cache"}, {"Cache-Control": "no-store"}, {"Pragma": "no-cache"}):
            assert http.get("/actions/double?n=5&x=1", headers=said).json() == 10
        for same in ("n=5&by=2", "by=2&n=5", "n=4&n=5", "n=%35", "n=5&unknown=1"):
            assert http.get(f"/actions/double?{same}", headers={"X-Forwarded-Host": "evil.example"}).json() == 10
    assert RUNS == {(5, 2): 1}


def test_the_operator_is_told_what_is_not_kept(caplog):
    @action(triggers=WEB_GET, cache_control=PUBLIC)
    async def stream() -> AsyncIterator[int]:
        yield 1

    from servey.app import exposure_of

    app = create_app(actions=[stream, double, mine], settings=Settings(env="dev"))
    shown = {action.name: exposure_of(app.runtime, action) for action in app.runtime.catalog}
    assert shown["stream"].cache == "60 s, public"
    assert shown["stream"].absences == ("not kept on the server: it streams",)
    assert (shown["double"].cache, shown["mine"].cache) == ("60 s, public, kept", "60 s, private, kept")
