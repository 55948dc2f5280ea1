"""Schedules on a running app: slots, errors, and runs that take too long."""

import asyncio
import sys
import time
from itertools import pairwise

import pytest

from servey import FixedRateTrigger, action
from tests.jobs.conftest import running

pytestmark = pytest.mark.anyio

RUNS: list[float] = []


@action(triggers=FixedRateTrigger(0.5))
def every_half_second() -> None:
    RUNS.append(time.time())
    if len(RUNS) == 2:
        raise RuntimeError("once")


@action(triggers=FixedRateTrigger(0.5))
async def takes_longer() -> None:
    RUNS.append(time.time())
    await asyncio.sleep(0.8)


async def test_a_schedule_runs_in_its_slots_and_goes_on_after_an_error(caplog, dev):
    RUNS.clear()
    async with running(every_half_second, settings=dev), asyncio.timeout(10):
        while len(RUNS) < 4:
            await asyncio.sleep(0.02)
    slots = [round(moment * 2) for moment in RUNS]
    assert slots == list(range(slots[0], slots[0] + len(slots)))
    assert all(moment * 2 - slot >= 0 for moment, slot in zip(RUNS, slots, strict=True))
    assert "schedule 'every_half_second' failed in its slot" in caplog.text


async def test_a_run_that_takes_longer_is_not_overtaken_but_its_slot_skipped(dev):
    RUNS.clear()
    async with running(takes_longer, settings=dev), asyncio.timeout(10):
        while len(RUNS) < 3:
            await asyncio.sleep(0.02)
    assert all(later - earlier > 0.9 for earlier, later in pairwise(RUNS))


@action(triggers=FixedRateTrigger(0.5), timeout=0.1)
def over_its_timeout() -> None:
    RUNS.append(time.time())
    time.sleep(0.8)
    RUNS.append(time.time())


async def test_a_plain_function_that_runs_on_over_its_timeout_is_not_overtaken(dev):
    RUNS.clear()
    async with running(over_its_timeout, settings=dev), asyncio.timeout(20):
        while len(RUNS) < 4:
            await asyncio.sleep(0.02)
    assert all(later - earlier > 0.75 for earlier, later in zip(RUNS[::2], RUNS[1::2], strict=False))
    assert RUNS[2] >= RUNS[1]


@action(triggers=FixedRateTrigger(0.5))
async def exits_in_its_second_slot() -> None:
    RUNS.append(time.time())
    if len(RUNS) == 2:
        sys.exit("no config")


async def test_a_schedule_that_exits_goes_on(caplog, dev):
    RUNS.clear()
    async with running(exits_in_its_second_slot, settings=dev) as runtime, asyncio.timeout(20):
        while len(RUNS) < 3:
            await asyncio.sleep(0.02)
        assert not runtime.failed_tasks
    assert "schedule 'exits_in_its_second_slot' failed in its slot" in caplog.text


TICKS = {"paused": 0, "other": 0}


@action(triggers=FixedRateTrigger(0.5))
async def paused() -> None:
    TICKS["paused"] += 1


@action(triggers=FixedRateTrigger(0.5))
async def other() -> None:
    TICKS["other"] += 1


async def another(name: str) -> None:
    count = TICKS[name]
    while TICKS[name] == count:
        await asyncio.sleep(0.01)


async def test_a_paused_schedule_skips_its_slots_until_it_is_resumed(dev):
    async with running(paused, other, settings=dev) as runtime, asyncio.timeout(10):
        await runtime.queue.pause_schedule("paused")
        assert await runtime.queue.paused_schedules() == {"paused"}
        await another("other")  # a slot of both that had begun has ended
        before = TICKS["paused"]
        await another("other")
        await another("other")
        assert TICKS["paused"] == before
        await runtime.queue.resume_schedule("paused")
        await another("paused")
