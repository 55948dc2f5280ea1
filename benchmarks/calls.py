"""Measures a call without a transport: `invoke` beside the bare function and FastAPI's own handler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median

from starlette.requests import Request

from benchmarks.cases import CASES
from benchmarks.inprocess import scope_of
from benchmarks.peers import fastapi_app, servey_app
from servey.calls.invoke import invoke


def measure(rounds: int, times: int) -> dict[str, float]:
    """Median microseconds: the bare function, `invoke`, `invoke` with a context of its own, FastAPI's handler."""
    return asyncio.run(_measure(rounds, times))


async def _measure(rounds: int, times: int) -> dict[str, float]:
    action, runtime = servey_app.hello.servey_action, servey_app.app.runtime  # type: ignore[attr-defined]
    route = next(route for route in fastapi_app.app.routes if getattr(route, "path", "") == "/actions/hello")
    handler = route.get_route_handler()  # type: ignore[union-attr]
    scope = scope_of(CASES["text"]) | {"path_params": {}}

    async def bare() -> None:
        await servey_app.hello("World")

    async with runtime.lifespan(), runtime.context("test") as context, AsyncExitStack() as stack:

        async def inside() -> None:
            await invoke(action, {"name": "World"}, context)

        async def whole() -> None:
            async with runtime.context("test") as own:
                await invoke(action, {"name": "World"}, own)

        async def fastapis() -> None:
            stacks = dict.fromkeys(
                ("fastapi_inner_astack", "fastapi_function_astack", "fastapi_middleware_astack"), stack
            )
            await handler(Request(scope | stacks))

        calls: dict[str, Callable[[], Awaitable[None]]] = {
            "the bare function": bare,
            "invoke": inside,
            "invoke, with its context": whole,
            "FastAPI's handler": fastapis,
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                begun = time.perf_counter()
                for _ in range(times):
                    await call()
                seconds[name].append((time.perf_counter() - begun) / times)
    return {name: median(each) * 1e6 for name, each in seconds.items()}
