"""Dependencies of calls that time out, are cancelled or hold a thread."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends

from servey import WEB_GET, Context, Settings, action, create_app
from servey.calls.invoke import invoke
from servey.core.errors import ActionTimeout, InvalidParams, Overloaded
from servey.testing import client
from tests.calls.dependencies_app import DEV, LOG, outer


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    LOG.clear()


@pytest.mark.parametrize("held", [True, False])
def test_a_def_over_time_answers_at_once_and_keeps_what_it_holds(held):
    release, finished = threading.Event(), threading.Event()

    def slow(text: Annotated[str, Depends(outer)] = "") -> str:
        release.wait(20)
        LOG.append("thread done")
        finished.set()
        return text

    def slow_bare() -> str:
        return slow()

    act = action(name="slow", triggers=WEB_GET, timeout=0.1)(slow if held else slow_bare)
    with client(create_app(actions=[act], settings=DEV)) as http:
        answer = http.get("/actions/slow")
        assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
        assert LOG == (["outer open"] if held else [])
        release.set()
        assert finished.wait(20)
    # The app's end waits for what was left open.
    assert LOG == (["outer open", "thread done", "outer close"] if held else ["thread done"])


@pytest.mark.anyio
async def test_a_full_pool_answers_503():
    release = asyncio.Event()

    @action(timeout=0.2)
    def hold() -> None:
        while not release.is_set():
            time.sleep(0.01)

    @action(timeout=0.2)
    def quick(text: Annotated[str, Depends(outer)]) -> str:
        LOG.append("quick ran")
        return text

    app = create_app(actions=[hold, quick], settings=Settings(env="dev", threads=1))

    async def call(act: Any) -> Any:
        async with app.runtime.context("test", trusted=True) as context:
            return await invoke(act.servey_action, {}, context)

    async with app.runtime.lifespan():
        first = asyncio.create_task(call(hold))
        while app.runtime.threads.busy == 0:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="became free"):
            await call(quick)
        with pytest.raises(ActionTimeout):
            await first
        with pytest.raises(Overloaded, match="overdue call"):
            await call(quick)
        release.set()
        while app.runtime.threads.overdue:
            await asyncio.sleep(0.01)
        LOG.clear()
        assert await call(quick) == "outer"
    assert LOG == ["outer open", "quick ran", "outer close"]


@pytest.mark.anyio
async def test_an_async_action_over_time_is_cancelled_and_rolled_back():
    @action(timeout=0.05)
    async def slow(text: Annotated[str, Depends(outer)], context: Context) -> str:
        await asyncio.sleep(30)
        return text

    app = create_app(actions=[slow], settings=DEV)
    with pytest.raises(ActionTimeout):
        async with app.runtime.context("test", trusted=True) as context:
            await invoke(slow.servey_action, {}, context)
    assert LOG == ["outer open", "outer sees CancelledError", "outer close"]


@pytest.mark.anyio
async def test_a_dependency_over_time_is_a_timeout_too():
    async def stuck() -> None:
        await asyncio.sleep(30)

    @action(timeout=0.05)
    async def slow(nothing: Annotated[None, Depends(stuck)]) -> None: ...

    app = create_app(actions=[slow], settings=DEV)
    with pytest.raises(ActionTimeout):
        async with app.runtime.context("test", trusted=True) as context:
            await invoke(slow.servey_action, {}, context)


@pytest.mark.anyio
async def test_invalid_parameters_open_nothing():
    @action
    async def act(number: int, text: Annotated[str, Depends(outer)]) -> None: ...

    app = create_app(actions=[act], settings=DEV)
    with pytest.raises(InvalidParams):
        async with app.runtime.context("test", trusted=True) as context:
            await invoke(act.servey_action, {"number": "x"}, context)
    assert LOG == []


def test_another_request_is_answered_while_a_def_sleeps(tmp_path):
    from tests.serving import serve

    (tmp_path / "app.py").write_text(
        "import time\n"
        "from servey import WEB_GET, action, create_app\n"
        "@action(triggers=WEB_GET)\n"
        "def sleep() -> int:\n    time.sleep(3)\n    return 1\n"
        "@action(triggers=WEB_GET)\n"
        "def quick() -> int:\n    return 2\n"
        "servey_app = create_app(actions=[sleep, quick])\n",
        encoding="utf-8",
    )

    async def main(url: str) -> float:
        async with httpx.AsyncClient(timeout=10) as http:
            await http.get(f"{url}/actions/quick")  # the first one also warms the threads
            asleep = asyncio.create_task(http.get(f"{url}/actions/sleep"))
            await asyncio.sleep(0.3)  # its request is on its way; nothing tells us from outside that it has begun
            took = []
            while not asleep.done() and len(took) < 10:
                begun = time.monotonic()
                assert (await http.get(f"{url}/actions/quick")).json() == 2
                took.append(time.monotonic() - begun)
            assert not asleep.done()
            assert (await asleep).json() == 1
            return min(took)  # this machine has other things to do as well

    with serve("app:servey_app", cwd=tmp_path) as server:
        assert asyncio.run(main(server.url)) < 0.1


@pytest.mark.anyio
async def test_a_stream_that_is_left_closes_before_its_dependencies():
    @action
    async def numbers(held: Annotated[str, Depends(outer)]) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            LOG.append("stream close")

    app = create_app(actions=[numbers], settings=DEV)
    async with app.runtime.lifespan(), app.runtime.context("cli", trusted=True) as context:
        async for number in await invoke(app.runtime.catalog["numbers"], {}, context):
            assert number == 1
            break
    assert LOG == ["outer open", "stream close", "outer close"]
