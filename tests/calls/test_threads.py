"""The worker threads of plain functions: what runs in them, how many there are, what becomes of calls given up on."""

import asyncio
import gc
import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import pytest

from servey import WEB_GET, Settings, action, create_app
from servey.calls.threads import Threads
from servey.core.errors import Overloaded
from servey.testing import client

pytestmark = pytest.mark.anyio
VARIABLE: ContextVar[str] = ContextVar("threads_variable", default="unset")


async def run(threads: Threads, call: Any) -> Any:
    return await threads.run(call, lambda: None)


async def until(happened: Any) -> None:
    async with asyncio.timeout(5):
        while not happened():
            await asyncio.sleep(0.001)


async def test_results_and_errors_come_back():
    threads = Threads(4)

    def fails() -> None:
        raise LookupError("mine")

    def stops() -> None:
        raise StopIteration

    assert await run(threads, lambda: threading.current_thread() is not threading.main_thread())
    with pytest.raises(LookupError, match="mine"):
        await run(threads, fails)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await run(threads, stops)
    assert (threads.busy, threads.overdue) == (0, 0)


async def test_calls_see_the_variables_of_their_task_and_keep_theirs_to_themselves():
    threads = Threads(1)

    def both() -> str:
        seen = VARIABLE.get()
        VARIABLE.set("of the thread")
        return seen

    VARIABLE.set("of the task")
    assert [await run(threads, both), await run(threads, both)] == ["of the task"] * 2
    assert VARIABLE.get() == "of the task"


async def test_as_many_run_at_once_as_the_limit_says():
    threads = Threads(3)
    release, running, most = threading.Event(), [], []

    def hold(number: int) -> int:
        running.append(number)
        most.append(len(running))
        release.wait(5)
        running.remove(number)
        return number

    calls = [asyncio.create_task(run(threads, lambda number=number: hold(number))) for number in range(8)]
    await until(lambda: len(running) == 3)
    assert threads.busy == 8
    release.set()
    assert await asyncio.gather(*calls) == list(range(8))
    assert max(most) == 3


async def test_many_results_wake_the_loop_few_times(monkeypatch):
    threads, woken = Threads(1), []
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe

    def counted(callback: Any, *words: Any, **more: Any) -> Any:
        woken.append(callback)
        return wake(callback, *words, **more)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    calls = [asyncio.create_task(run(threads, lambda: None)) for _ in range(200)]
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - the loop is busy while the thread works
    await asyncio.gather(*calls)
    assert len(woken) < 20


async def test_anyio_works_in_them():
    threads = Threads(1)

    async def on_the_loop() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    def calls() -> tuple[str, str, str]:
        anyio.from_thread.check_cancelled()
        return (
            anyio.from_thread.run(on_the_loop),
            anyio.from_thread.run_sync(lambda: threading.current_thread().name),
            anyio.run(on_the_loop),
        )

    names = await run(threads, calls)
    assert names[:2] == (threading.current_thread().name,) * 2
    assert names[2].startswith("servey worker")


async def test_a_call_that_is_given_up_on_keeps_its_place_and_is_told():
    threads, told = Threads(1), threading.Event()

    def listens() -> None:
        while True:
            time.sleep(0.001)
            if told.is_set():
                anyio.from_thread.check_cancelled()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run(threads, listens)
    assert (threads.busy, threads.overdue) == (1, 1)
    with pytest.raises(Overloaded, match="overdue call"):
        await run(threads, lambda: None)
    told.set()
    await until(lambda: threads.overdue == 0)
    assert await run(threads, lambda: 1) == 1


async def test_a_call_that_never_got_its_thread_never_runs():
    threads, release, ran = Threads(1), threading.Event(), []
    first = asyncio.create_task(run(threads, lambda: release.wait(5)))
    await until(lambda: threads.busy == 1)
    second = asyncio.create_task(run(threads, lambda: ran.append(1)))
    await until(lambda: threads.busy == 2)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert threads.overdue == 0
    release.set()
    assert await first
    await until(lambda: threads.busy == 0)
    assert ran == []


async def test_idle_threads_end(monkeypatch):
    monkeypatch.setattr("servey.calls.threads.IDLE_SECONDS", 0.02)
    threads = Threads(4)
    before = threading.active_count()
    for _ in range(3):
        await asyncio.gather(*(run(threads, lambda: time.sleep(0.01)) for _ in range(4)))
        assert threading.active_count() > before
        await until(lambda: threading.active_count() == before)


def test_they_do_not_keep_their_loop(monkeypatch):
    monkeypatch.setattr("servey.calls.threads.IDLE_SECONDS", 0.02)

    async def once() -> Any:
        await run(Threads(2), lambda: None)
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(once())
    end = time.monotonic() + 5
    while loop() is not None and time.monotonic() < end:
        gc.collect()
    assert loop() is None


def test_the_setting_is_their_limit():
    running, most = [], []

    @action(triggers=WEB_GET)
    def hold() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()

    app = create_app(actions=[hold], settings=Settings(env="dev", threads=2))
    with client(app) as http:
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: http.get("/actions/hold").status_code, range(12)))
    assert answers == [200] * 12
    assert max(most) == 2
