"""`invalidate` removes cached results."""

import asyncio

import pytest

from servey import (
    WEB_GET,
    WEB_POST,
    ServeyError,
    Settings,
    TtlCacheControl,
    action,
    create_app,
    invalidate,
)
from servey.testing import client
from tests.caching.results_app import CALLERS, PUBLIC, RUNS, double, mine, running

pytestmark = pytest.mark.anyio


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
        (len, {}, "that is not an action; pass an action or a tag"),
        ("nothing", {}, r"invalidate\('nothing'\): the server does not cache results of it"),
        ("own", {"n": 1}, "a tag has no parameters"),
    ],
)
async def test_what_can_not_be_forgotten(what, params, problem):
    async with running(double, mine):
        with pytest.raises(ServeyError, match=problem):
            invalidate(what, **params)


def test_forgetting_without_an_app():
    with pytest.raises(ServeyError, match="running"):
        invalidate(double)
