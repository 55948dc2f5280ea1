"""Nothing grows with the number of calls: neither the objects of a process, by their type, nor its memory."""

import asyncio
import gc
import json
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import Depends

from servey import (
    WEB_GET,
    WEB_POST,
    Context,
    NotFound,
    Servey,
    Settings,
    TtlCacheControl,
    action,
    create_app,
    websocket_event_channel,
)
from servey.events.subscriptions import open_subscription

pytestmark = pytest.mark.anyio

RARELY = 20
WARM_UP = 5_000
"""Fills what is bounded: caches, the jobs that have ended, the recorded calls."""
MOST_NEW, MOST_NEW_BLOCKS = 200, 20_000
"""Objects of one type, and blocks of memory, however many calls there were: what is under way differs a little from one
moment to the next.
"""

news = websocket_event_channel("news", int, history=10)
done = 0


class Bug(Exception):
    """A defect of an action."""


async def opened() -> AsyncIterator[dict[str, int]]:
    yield {"seven": 7}


@action(triggers=WEB_GET)
async def plain(n: int) -> int:
    return n


@action(triggers=WEB_GET)
def threaded(n: int) -> int:
    return n


@action(triggers=WEB_GET)
async def depends(n: int, session: Annotated[dict[str, int], Depends(opened)]) -> int:
    return n + session["seven"]


@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def cached(n: int) -> int:
    return n


@action(triggers=WEB_GET)
async def field(n: int) -> int:
    return n


@action(triggers=WEB_GET)
async def refuses(n: int) -> int:
    raise NotFound(f"There is no {n}")


@action(triggers=WEB_GET)
async def breaks(n: int) -> int:
    raise Bug(n)


@action
async def job(n: int) -> None:
    global done
    done += 1


@action(triggers=WEB_POST)
async def later(n: int, context: Context) -> str:
    return await context.enqueue(job, {"n": n})


@action(triggers=WEB_POST)
async def tell(n: int) -> None:
    await news.publish(n)


@action(triggers=WEB_GET)
async def stream(n: int) -> AsyncIterator[int]:
    for number in range(n % 3):
        yield number


def requests_of(n: int) -> list[tuple[str, str, str, bytes, int]]:
    """One request of each kind, those that take a millisecond rarely: the method, path, query, body and status."""
    body = json.dumps({"n": n}).encode()
    document = {"query": "query($n: Int!) { field(n: $n) }", "variables": {"n": n}}
    often = [
        ("GET", "/actions/plain", f"n={n}", b"", 200),
        ("GET", "/actions/threaded", f"n={n}", b"", 200),
        ("GET", "/actions/depends", f"n={n}", b"", 200),
        ("GET", "/actions/cached", f"n={n % 300}", b"", 200),
        ("GET", "/actions/refuses", f"n={n}", b"", 404),
        ("GET", "/actions/plain", f"n=x{n}", b"", 422),
        ("GET", f"/actions/none-{n}", "", b"", 404),
        ("DELETE", "/actions/plain", "", b"", 405),
        ("POST", "/graphql", "", json.dumps(document).encode(), 200),
        ("POST", "/actions/later", "", body, 200),
        ("POST", "/actions/tell", "", body, 200),
    ]
    if n % RARELY:
        return often
    valid, invalid = f"{{ f{n // RARELY % 5}: field(n: 7) }}", f"{{ f{n} }}"
    return [
        *often,
        ("GET", "/actions/stream", f"n={n}", b"", 200),
        ("GET", "/actions/breaks", f"n={n}", b"", 500),
        ("POST", "/graphql", "", json.dumps({"query": valid}).encode(), 200),
        ("POST", "/graphql", "", json.dumps({"query": invalid}).encode(), 200),
    ]


async def call(app: Servey, method: str, path: str, query: str, body: bytes) -> int:
    """Send one request without a client, and return its status."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")] + [(b"content-type", b"application/json")] * bool(body),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    status, unread, ended = 0, [{"type": "http.request", "body": body, "more_body": False}], asyncio.Event()

    async def receive() -> dict[str, Any]:
        if unread:
            return unread.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif not message.get("more_body"):
            ended.set()

    with suppress(Bug):  # it is raised after the response, for the server's log
        await app(scope, receive, send)
    return status


async def run(app: Servey, first: int, times: int) -> int:
    """Make so many calls of all kinds, ten at once, and wait for their jobs; return the number of the next one."""
    last = first + times * RARELY // sum(len(requests_of(n)) for n in range(RARELY))

    async def caller(start: int) -> None:
        for n in range(start, last, 10):
            for method, path, query, body, expected in requests_of(n):
                assert await call(app, method, path, query, body) == expected, (method, path, query)

    async with asyncio.TaskGroup() as group:
        for start in range(first, first + 10):
            group.create_task(caller(start))
    while done < last:
        await asyncio.sleep(0.01)
    return last


def objects() -> Counter[object]:
    """The number of live objects of each type, as far as they can refer to others."""
    gc.collect()
    return Counter(map(type, gc.get_objects()))


def resident_mb() -> float:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


async def grown(times: int, rounds: int) -> tuple[Counter[object], list[float]]:
    """Return by how many the objects of each type have grown after so many calls, and the memory after each round."""
    global done
    done = 0
    app = create_app(
        actions=[plain, threaded, depends, cached, field, refuses, breaks, job, later, tell, stream],
        channels=[news],
        settings=Settings(env="dev", cache_max_entries=100, job_max_entries=100, log_level="CRITICAL"),
    )
    async with app.router.lifespan_context(app):
        subscription = await open_subscription(app.runtime, "news", None)
        subscription.attach(lambda item: None, lambda error: None)
        number = await run(app, 0, WARM_UP)
        before, memory, blocks = objects(), [], sys.getallocatedblocks()
        for _ in range(rounds):
            number = await run(app, number, times // rounds)
            memory.append(resident_mb())
        gc.collect()
        new_blocks = sys.getallocatedblocks() - blocks
        return (objects() - before) + Counter({"blocks": new_blocks}), memory


def too_many(new: Counter[object]) -> dict[object, int]:
    return {kind: count for kind, count in new.items() if count > (MOST_NEW_BLOCKS if kind == "blocks" else MOST_NEW)}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(
        logging.getLogger("servey"), "disabled", True
    )  # an exception of each kind is logged with a traceback


@pytest.mark.timeout(180)
async def test_no_type_of_object_grows():
    new, _ = await grown(15_000, 1)
    assert too_many(new) == {}


@pytest.mark.drill
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_million_calls_need_no_more_memory():
    new, memory = await grown(1_000_000, 10)
    print(f"MB after each 100,000 calls: {[round(each, 1) for each in memory]}; new objects: {new.most_common(5)}")
    assert too_many(new) == {}
    # The allocator needs a while to settle; a leak of 10 bytes a call would add 8 MB.
    assert memory[-1] - memory[1] < 4
