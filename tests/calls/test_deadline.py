"""Deadlines behave as `asyncio.timeout` does, however many calls share one timer."""

import asyncio
import weakref

import pytest

from servey.calls.deadline import Deadline


async def within(timeout: float, seconds: float) -> str:
    when = asyncio.get_running_loop().time() + timeout
    with Deadline(timeout, when):
        await asyncio.sleep(seconds)
    return "done"


async def outcome(timeout: float, seconds: float) -> str:
    try:
        return await within(timeout, seconds)
    except TimeoutError:
        return "over"


def test_what_ends_in_time_ends_and_the_rest_is_over():
    async def main() -> list[str]:
        return await asyncio.gather(outcome(0.05, 0), outcome(0.05, 30), outcome(30, 0.01), outcome(0.05, 30))

    assert asyncio.run(main()) == ["done", "over", "done", "over"]


def test_each_call_has_its_own_deadline():
    async def main() -> tuple[list[float], float]:
        loop = asyncio.get_running_loop()
        begun, ended = loop.time(), []

        async def call() -> None:
            assert await outcome(0.1, 30) == "over"
            ended.append(loop.time() - begun)

        first = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        second = asyncio.create_task(call())
        await asyncio.gather(first, second)
        return ended, begun

    (first, second), _ = asyncio.run(main())
    assert 0.1 <= first < second
    assert second - first >= 0.03


def test_a_cancellation_from_outside_stays_one():
    async def main() -> bool:
        task = asyncio.create_task(within(30, 30))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return task.cancelled()
        return False

    assert asyncio.run(main())


def test_an_outer_deadline_is_not_taken_for_an_inner_one():
    async def main() -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(0.02):
                with Deadline(30, loop.time() + 30):
                    await asyncio.sleep(30)
        except TimeoutError:
            task = asyncio.current_task()
            assert task is not None
            return f"outer, {task.cancelling()} left"
        return "none"

    assert asyncio.run(main()) == "outer, 0 left"


def test_errors_of_the_block_are_its_own():
    async def main() -> None:
        with Deadline(30, asyncio.get_running_loop().time() + 30):
            raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        asyncio.run(main())


def test_thousands_of_calls_arm_one_timer(monkeypatch):
    async def main() -> int:
        loop = asyncio.get_running_loop()
        armed = 0
        call_at = loop.call_at

        def counted(*args, **kwargs):
            nonlocal armed
            armed += 1
            return call_at(*args, **kwargs)

        monkeypatch.setattr(loop, "call_at", counted)
        for _ in range(5000):
            with Deadline(30, loop.time() + 30):
                await asyncio.sleep(0)
        return armed

    assert asyncio.run(main()) == 1


def test_ended_calls_do_not_pile_up_behind_a_long_one():
    async def main() -> int:
        loop = asyncio.get_running_loop()
        gone = []

        class Watched(Deadline):
            __slots__ = ("__weakref__",)

        long = asyncio.create_task(within(30, 20))
        await asyncio.sleep(0)
        for _ in range(5000):
            deadline = Watched(30, loop.time() + 30)
            gone.append(weakref.ref(deadline))
            with deadline:
                await asyncio.sleep(0)
        long.cancel()
        return sum(each() is not None for each in gone)

    assert asyncio.run(main()) < 2500
