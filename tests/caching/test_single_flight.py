"""Concurrent calls share one computation."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends

from servey import (
    ActionError,
    action,
)
from servey.core.errors import ActionTimeout
from tests.caching.results_app import PUBLIC, RUNS, running

pytestmark = pytest.mark.anyio


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

    class Session:
        """As a database session: no plain value, and so no part of the key."""

        def __init__(self) -> None:
            self.name = f"session {RUNS['sessions']}"

    async def session() -> AsyncIterator[Session]:
        made = Session()
        RUNS["sessions"] += 1
        log.append(f"open {made.name}")
        yield made
        log.append(f"close {made.name}")

    @action(cache_control=PUBLIC)
    async def slow(db: Annotated[Any, Depends(session)]) -> str:
        log.append(f"begin with {db.name}")
        try:
            await release.wait()
        finally:
            log.append(f"end with {db.name}")
        return str(db.name)

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
        assert await call(slow) == 2  # the first computation ends with the timeout of the action
        with pytest.raises(ActionTimeout):
            await first
