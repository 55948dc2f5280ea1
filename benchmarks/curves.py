"""Measures what happens as the work grows: python3 dev.py bench curves [--quick] [--write].

More actions, more linked models, longer results: each figure is the CPU time of a child process, beside FastAPI.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import curves_apps as apps
from benchmarks.cases import Case
from benchmarks.command import parser_of, print_report
from benchmarks.inprocess import _sent, run, scope_of

RESULTS = Path(__file__).parent / "CURVES.md"
ACTIONS = (10, 100, 1000, 3000)
MODELS = (2, 5, 10, 20, 40)
ITEMS = (10, 100, 1000, 10_000, 100_000)
STARTS = 3
REQUESTS = {
    "first route": "first",
    "last route": "last",
    "with `Depends`": "depends",
    "with a cache": "cached",
    "HEAD": "head",
    "`Prefer`": "prefer",
    "/health/live": "health",
    "websocket, connect": "socket",
    "405": "wrong",
    "404": "nowhere",
}


def measure(*words: object) -> dict[str, float]:
    """Return what a child process found."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.curves", "--child", *map(str, words)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def start_of(what: str, count: int) -> list[dict[str, float]]:
    """Return what was found for FastAPI and Servey in the runs with the shortest starts; they take turns."""
    turns = [[measure(what, peer, count) for peer in ("fastapi", "servey")] for _ in range(STARTS)]
    return [min(found, key=lambda each: each["start"]) for found in zip(*turns, strict=True)]


def report(quick: bool) -> Iterator[str]:
    counts, models, items = (ACTIONS[:2], MODELS[:2], ITEMS[:3]) if quick else (ACTIONS, MODELS, ITEMS)
    packages = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "starlette", "pydantic"))
    yield from (
        "# As the work grows",
        "",
        "Made by `python3 dev.py bench curves --write`. CPU time of one process each; the best of 5 for requests.",
        "",
        f"Python {platform.python_version()}, {packages}.",
        "",
        "## Actions",
        "",
        "Start is everything that the process does until its first response: the interpreter, all imports (also those of",
        "this benchmark), the actions, the app with the fields of GraphQL, the lifespan and the first request. The OpenAPI",
        "document is made later, on its first use, and has its own column. Memory is what the app adds to the imports.",
        "Three of four actions return a string, one takes a model. `host` is Servey installed in a FastAPI app with one",
        "route of its own. Requests in microseconds.",
        "",
        f"| actions | peer | start, s | memory, MB | OpenAPI, s | {' | '.join(REQUESTS)} |",
        f"|---|---|---|---|---|{'---|' * len(REQUESTS)}",
    )
    for count in counts:
        for peer in ("fastapi", "servey", "host"):
            found = measure("actions", peer, count)
            cells = [f"{found[name]:.0f}" if name in found else "" for name in REQUESTS.values()]
            yield (
                f"| {count} | {peer} | {found['start']:.2f} | {found['memory']:.0f} | {found['openapi']:.2f} "
                f"| {' | '.join(cells)} |"
            )
    yield from (
        "",
        "With 10 dependencies each, which are functions of their own without parameters; the best of 3 starts:",
        "",
        "| actions | peer | start, s | process, MB |",
        "|---|---|---|---|",
    )
    for count in counts[:3]:
        for peer, found in zip(("fastapi", "servey"), start_of("dependencies", count), strict=True):
            yield f"| {count} | {peer} | {found['start']:.2f} | {found['process']:.0f} |"
    yield from (
        "",
        "## Linked models",
        "",
        "One action returns a model that refers to all others, as they all do. Start is the app, the lifespan and the first",
        "request, without the imports; Servey also makes the GraphQL types. The best of 3.",
        "",
    )
    yield from ("| models | FastAPI's start, ms | Servey's, ms |", "|---|---|---|")
    for count in models:
        each = [found["start"] * 1e3 for found in start_of("models", count)]
        yield f"| {count} | {each[0]:.1f} | {each[1]:.1f} |"
    yield from (
        "",
        "## Items of a result",
        "",
        "Milliseconds of CPU time per request, and the longest time for which the event loop was blocked.",
        "",
        "| items | peer | models | blocked | dicts as models | blocked | cache hit | blocked |",
        "|---|---|---|---|---|---|---|---|",
    )
    for count in items:
        for peer in ("fastapi", "servey"):
            found = measure("items", peer, count)
            cells = [
                f"{found[name]:.2f}" if name in found else ""
                for kind in ("models", "dicts", "cached")
                for name in (kind, f"{kind} blocked")
            ]
            yield f"| {count} | {peer} | {' | '.join(cells)} |"


# ------------------------------------------------------------------------------------------------ in the child


def resident_mb() -> float:
    """The memory of this process, in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


async def best(app: Any, case: Case) -> float:
    """Microseconds of CPU time per request, the best of 5 turns."""
    once = await run(app, case, 3)
    times = max(3, min(400, int(0.02 / max(once, 1e-6))))
    return min([await run(app, case, times) for _ in range(5)]) * 1e6


async def connect(app: Any, path: str) -> float:
    """Microseconds of CPU time per websocket that is accepted and closed by the client."""
    scope = scope_of(Case("socket", "", "GET", path))
    del scope["method"]
    scope |= {"type": "websocket", "scheme": "ws", "subprotocols": []}

    async def once() -> None:
        messages = [{"type": "websocket.disconnect", "code": 1000}, {"type": "websocket.connect"}]

        async def receive() -> dict[str, Any]:
            return messages.pop()

        async def send(message: dict[str, Any]) -> None:
            assert message["type"] != "websocket.close", message

        await app({**scope, "state": {}}, receive, send)

    async def turn() -> float:
        begun = time.process_time()
        for _ in range(30):
            await once()
        return (time.process_time() - begun) / 30 * 1e6

    await once()
    return min([await turn() for _ in range(5)])


async def of_actions(peer: str, count: int) -> dict[str, float]:
    before = resident_mb()
    app = apps.MANY[peer](count)
    async with app.router.lifespan_context(app):
        first = Case("first", "", "GET", "/actions/a0", "name=World")
        await run(app, first, 1)
        found = {"start": time.process_time(), "memory": resident_mb() - before}
        for case in (
            first,
            Case("last", "", "GET", f"/actions/a{count - 1}", "name=World"),
            Case("depends", "", "GET", "/actions/depends", "name=World"),
            Case("cached", "", "GET", "/actions/cached", "name=World"),
            Case("head", "", "HEAD", f"/actions/a{count - 1}", "name=World"),
            Case("prefer", "", "GET", f"/actions/a{count - 1}", "name=World", headers=((b"prefer", b"respond-async"),)),
            Case("health", "", "GET", "/health/live"),
            Case("wrong", "", "DELETE", f"/actions/a{count - 1}"),
            Case("nowhere", "", "GET", "/nowhere"),
        ):
            if peer != "fastapi" or case.name not in ("cached", "head", "prefer"):
                found[case.name] = await best(app, case)
        found["socket"] = await connect(app, "/subscription")
        begun = time.process_time()
        app.openapi()
        found["openapi"] = time.process_time() - begun
    return found


async def of_dependencies(peer: str, count: int) -> dict[str, float]:
    app = apps.WITH_DEPENDENCIES[peer](count)
    async with app.router.lifespan_context(app):
        await run(app, Case("first", "", "GET", "/actions/a0", "name=World"), 1)
    return {"start": time.process_time(), "process": resident_mb()}


async def of_models(peer: str, count: int) -> dict[str, float]:
    model = apps.linked_models(count)
    if peer == "servey":
        import_module("servey.app")  # as `benchmarks.curves_apps` has imported FastAPI
    begun = time.process_time()
    app = apps.RETURNS[peer](model)
    async with app.router.lifespan_context(app):
        await run(app, Case("linked", "", "GET", "/actions/linked"), 1)
    return {"start": time.process_time() - begun}


async def of_items(peer: str, count: int) -> dict[str, float]:
    app = apps.ITEMS[peer](count)
    found = {}
    async with app.router.lifespan_context(app):
        for kind in ("models", "dicts", *(("cached",) if peer == "servey" else ())):
            case = Case(kind, "", "GET", f"/actions/{kind}")
            for _ in range(2):
                await _sent(app, case)
            times = max(1, min(50, 20_000 // count))
            found[kind] = min([await run(app, case, times) for _ in range(3)]) * 1e3
            found[f"{kind} blocked"] = min([await blocked(app, case) for _ in range(3)])
    return found


async def blocked(app: Any, case: Case) -> float:
    """Milliseconds of CPU time of this thread in the longest iteration of the event loop while a request is served."""
    longest, last, done = 0.0, time.thread_time(), False

    async def watch() -> None:
        nonlocal longest, last
        while not done:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await _sent(app, case)
    await asyncio.sleep(0)
    done = True
    await watching
    return longest * 1e3


CHILDREN = {"actions": of_actions, "dependencies": of_dependencies, "models": of_models, "items": of_items}


def main() -> None:
    parser = parser_of("benchmarks.curves", __doc__, RESULTS, "small numbers only; a few seconds")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, peer, count = options.child
        print(json.dumps(asyncio.run(CHILDREN[what](peer, int(count)))))
        return
    print_report(report(options.quick), RESULTS, write=options.write)


if __name__ == "__main__":
    main()
