"""Progress of running calls, and calls that their clients cancel."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from servey import MCP_TOOL, ActionError, Context, Settings, action, create_app
from tests.mcp.agents import Call, agent

pytestmark = pytest.mark.anyio
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


def app_of(*actions: Any, **settings: Any) -> Any:
    return create_app(actions=actions, settings=Settings(**{"env": "dev"} | settings))


@asynccontextmanager
async def agent_of(*actions: Any, mode: str = "auto"):
    app = app_of(*actions)
    async with app.running(), agent(app, mode=mode) as client:
        yield client


class Told:
    """What a client is told."""

    def __init__(self) -> None:
        self.progress: list[tuple[float, float | None, str | None]] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, total, message))


@MODES
async def test_an_action_reports_its_progress(mode):
    @action(triggers=MCP_TOOL)
    async def resize(context: Context) -> str:
        for done in (1, 1, float("nan"), 0, 2):
            context.progress(done, 3)
        return "done"

    @action(triggers=MCP_TOOL)
    def in_a_thread(context: Context) -> str:
        context.progress(7)
        return threading.current_thread().name

    async with agent_of(resize, in_a_thread, mode=mode) as client:
        told = Told()
        result = await client.call_tool("resize", progress_callback=told)
        assert result.structured_content == {"result": "done"}
        assert told.progress == [(2, 3, None)]  # the latest of those that come at once
        told = Told()
        result = await client.call_tool("in_a_thread", progress_callback=told)
        assert "MainThread" not in result.structured_content["result"]
        assert told.progress == [(7, None, None)]
        # Nobody is told who does not ask.
        assert (await client.call_tool("resize")).structured_content == {"result": "done"}


async def test_progress_comes_while_the_call_runs():
    go_on = asyncio.Event()

    @action(triggers=MCP_TOOL)
    async def slow(context: Context) -> str:
        context.progress(1, 2)
        await go_on.wait()
        context.progress(2, 2)
        raise ActionError(409, "conflict", "Too late")

    app = app_of(slow)
    async with app.running():
        call = Call(app, "tools/call", {"name": "slow"}, {"progressToken": "p"})
        assert await call.message() == {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": "p", "progress": 1, "total": 2},
        }
        assert call.headers[b"content-type"] == b"text/event-stream"
        go_on.set()
        assert (await call.message())["params"]["progress"] == 2
        last = await call.message()
        assert (last["id"], last["result"]["content"][0]["text"]) == (1, "Too late (conflict)")
        await call.task


async def test_the_items_of_a_stream_are_progress():
    @action(triggers=MCP_TOOL)
    async def count(upto: int) -> AsyncIterator[str]:
        for n in range(upto):
            yield f"item {n}"

    @action(triggers=MCP_TOOL)
    async def own(context: Context) -> AsyncIterator[int]:
        context.progress(50, 100)
        yield 1

    async with agent_of(count, own) as client:
        told = Told()
        result = await client.call_tool("count", {"upto": 3}, progress_callback=told)
        assert result.structured_content == {"result": ["item 0", "item 1", "item 2"]}
        assert told.progress == [(3, None, '"item 2"')]
        told = Told()
        await client.call_tool("own", progress_callback=told)
        assert told.progress == [(50, 100, None)]


async def test_a_refusal_is_no_event_stream():
    @action(triggers=MCP_TOOL)
    async def plain(context: Context) -> None: ...

    app = app_of(plain)
    async with app.running():
        call = Call(app, "tools/call", {"name": "other"}, {"progressToken": 1})
        await call.task
        assert (call.status, call.headers[b"content-type"]) == (400, b"application/json")
        # A token that is none, and a client that does not read events.
        for meta, accept in (({"progressToken": [1]}, "text/event-stream"), ({"progressToken": 1}, "application/json")):
            call = Call(app, "tools/call", {"name": "plain"}, meta, accept=accept)
            await call.task
            assert (call.status, call.headers[b"content-type"]) == (200, b"application/json")


async def test_a_client_that_disconnects_cancels_its_call():
    started, seen = asyncio.Event(), list[str]()
    stopped = threading.Event()

    @action(triggers=MCP_TOOL)
    async def slow() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @action(triggers=MCP_TOOL)
    def in_a_thread(context: Context) -> None:
        context.runtime.submit(noted)
        while not context.cancelled:
            stopped.wait(0.01)
        stopped.set()

    async def noted() -> None:
        started.set()

    app = app_of(slow, in_a_thread)
    async with app.running():
        for name in ("slow", "in_a_thread"):
            started.clear()
            call = Call(app, "tools/call", {"name": name})
            await asyncio.wait_for(started.wait(), 5)
            call.gone.set()
            await asyncio.wait_for(call.task, 5)
    assert seen == ["cancelled"]
    assert stopped.wait(5)


async def test_the_action_decides_for_clients_before_2026():
    """In those versions of the protocol a client that disconnects cancels nothing."""
    started, go_on, seen = asyncio.Event(), asyncio.Event(), list[str]()

    async def wait(name: str) -> None:
        started.set()
        await go_on.wait()
        seen.append(name)

    @action(triggers=MCP_TOOL)
    async def keeps_on() -> None:
        await wait("keeps_on")

    @action(triggers=MCP_TOOL, cancel_on_disconnect=True)
    async def ends() -> None:
        await wait("ends")

    app = app_of(keeps_on, ends)
    async with app.running():
        calls = []
        for name in ("keeps_on", "ends"):
            started.clear()
            call = Call(app, "tools/call", {"name": name}, version="2025-11-25")
            calls.append(call)
            await asyncio.wait_for(started.wait(), 5)
            call.gone.set()
        await asyncio.wait_for(calls[1].task, 5)
        go_on.set()
        await asyncio.wait_for(calls[0].task, 5)
    assert seen == ["keeps_on"]
