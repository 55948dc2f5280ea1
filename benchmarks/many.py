"""Measures many actions: the first and the last of a thousand, an unknown path, the start.

Run as ``python -m benchmarks.many servey|fastapi COUNT``, it prints JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Body, FastAPI

from benchmarks.cases import Case
from benchmarks.inprocess import run
from benchmarks.peers.model import Order, Receipt, receipt_of
from servey import WEB_GET, WEB_POST, Settings, action, create_app

TIMES = 400


def measure(name: str, count: int) -> dict[str, float]:
    """Return the CPU seconds of the start without imports, and microseconds: the first route, the last one and a 404."""
    command = [sys.executable, "-m", "benchmarks.many", name, str(count)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def _servey(count: int) -> Any:
    def made(number: int) -> Any:
        if number % 4 == 3 and number != count - 1:

            @action(triggers=WEB_POST, name=f"a{number}")
            async def place(order: Order, note: str = "") -> Receipt:
                return receipt_of(order)

            return place

        @action(triggers=WEB_GET, name=f"a{number}")
        async def hello(name: str, number: int = number) -> str:
            return f"Hello {name}!"

        return hello

    return create_app(actions=[made(number) for number in range(count)], settings=Settings())


def _fastapi(count: int) -> Any:
    app = FastAPI()

    def add(number: int) -> None:
        if number % 4 == 3 and number != count - 1:

            @app.post(f"/actions/a{number}", name=f"a{number}")
            async def place(order: Annotated[Order, Body()], note: Annotated[str, Body()] = "") -> Receipt:
                return receipt_of(order)

            return

        @app.get(f"/actions/a{number}", name=f"a{number}")
        async def hello(name: str, number: int = number) -> str:
            return f"Hello {name}!"

    for number in range(count):
        add(number)
    return app


async def _measure(name: str, count: int) -> dict[str, float]:
    begun = time.process_time()
    app = {"servey": _servey, "fastapi": _fastapi}[name](count)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        first = Case("first", "", "GET", "/actions/a0", "name=World")
        await run(app, first, 1)
        found = {"start": time.process_time() - begun}
        last = Case("last", "", "GET", f"/actions/a{count - 1}", "name=World")
        nowhere = Case("nowhere", "", "GET", "/nowhere")
        for case in (first, last, nowhere):
            await run(app, case, TIMES)
            found[case.name] = min([await run(app, case, TIMES) for _ in range(5)]) * 1e6
        begun = time.perf_counter()
        app.openapi()
        found["openapi"] = time.perf_counter() - begun
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(sys.argv[1], int(sys.argv[2])))))
