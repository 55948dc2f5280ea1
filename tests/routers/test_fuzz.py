"""Random requests, documents and frames against the tour: no internal error, no long hold of the event loop, flat memory.

They are sent in process. A probe measures the CPU time of each callback of the event loop, which is how long
it holds the loop; other programs of the machine do not count.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from servey import Authorization, Servey, Settings, create_app
from servey.testing import token_for
from tests.routers.generated import any_document, any_frame, any_json, any_request, scope_of
from tests.serving import ROOT

LOOP_SECONDS = 0.25

MEMORY_KB = 24_000
"""How much memory may grow after the first fifth of a run, which fills the caches."""


@dataclass
class Run:
    """What a run has seen. Units: seconds, KB."""

    seen: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    slowest: str = ""
    memory: list[int] = field(default_factory=list)

    def check(self, began: float) -> None:
        grown = self.memory[-1] - self.memory[0]
        seconds = time.monotonic() - began
        print(f"{dict(self.seen)}, {seconds:.0f} s, longest {self.longest * 1000:.0f} ms, grown by {grown} KB")
        assert self.longest < LOOP_SECONDS, self.slowest
        assert grown < MEMORY_KB


def resident_kb() -> int:
    gc.collect()
    return int(Path("/proc/self/status").read_text(encoding="ascii").split("VmRSS:")[1].split()[0])


@contextmanager
def loop_probe() -> Iterator[list[float]]:
    """Yield a list of one number: the longest time that a callback has held the loop, until somebody resets it.

    Collections of garbage do not count: with the modules of all tests in memory they are rare and long.
    """
    longest, collecting = [0.0], [0.0]
    original: Any = asyncio.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        began = time.thread_time() - collecting[0]
        original(handle)
        longest[0] = max(longest[0], time.thread_time() - collecting[0] - began)

    def collect(phase: str, info: dict[str, int]) -> None:
        collecting[0] += time.thread_time() * (1 if phase == "stop" else -1)

    asyncio.Handle._run = measured  # type: ignore[method-assign, assignment]
    gc.callbacks.append(collect)
    try:
        yield longest
    finally:
        gc.callbacks.remove(collect)
        asyncio.Handle._run = original  # type: ignore[method-assign]


Send = Callable[[random.Random], Awaitable[tuple[str, str]]]


async def drive(count: int, send_one: Send, seed: int, *, at_once: int = 1) -> Run:
    """Send so many; ``send_one`` returns a kind of outcome and a description of what it sent."""
    run, numbers = Run(), iter(range(count))
    fifth = max(count // 5, 1)

    async def send_some(generator: random.Random) -> None:
        for number in numbers:
            kind, what = await asyncio.wait_for(send_one(generator), 60)
            run.seen[kind] += 1
            if longest[0] > run.longest:
                run.longest, run.slowest = longest[0], f"{longest[0]:.3f} s: {what[:500]}"
            if number % fifth == fifth - 1:
                run.memory.append(resident_kb())
                await asyncio.sleep(0)
                longest[0] = 0.0  # the collection of garbage just now

    with loop_probe() as longest:
        async with asyncio.TaskGroup() as group:
            for place in range(at_once):
                group.create_task(send_some(random.Random(seed * 1000 + place)))
    return run


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servey]:
    monkeypatch.chdir(ROOT / "examples" / "tour")
    monkeypatch.syspath_prepend(".")
    with _without_project_modules():
        yield create_app(settings=Settings(jwt_secret_key="a-secret-of-more-than-32-bytes-for-tests", docs=True))


@contextmanager
def _without_project_modules() -> Iterator[None]:
    """Other tests import modules of the same names, from other folders."""
    before = {name: sys.modules.pop(name) for name in _project_modules()}
    yield
    for name in _project_modules():
        del sys.modules[name]
    sys.modules.update(before)


def _project_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in ("actions", "event_channels", "shop")]


@asynccontextmanager
async def served(app: Servey) -> AsyncIterator[bytes]:
    """Run the app; the token of a known caller."""
    gc.collect()
    gc.freeze()  # a collection looks at what the requests made, not at all modules of the test run
    async with app.router.lifespan_context(app):
        yield b"Bearer " + token_for(app, Authorization("ada", frozenset({"root"}))).encode()


async def request(app: Servey, scope: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    """Send one request; a client that has received 64 KB, or nothing for 50 ms, leaves."""
    status, chunks = 0, bytearray()
    gone = asyncio.Event()
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    leave = asyncio.get_running_loop().call_later(2, gone.set)

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status, leave
        if message["type"] == "http.response.start":
            status = message["status"]
            leave.cancel()
            leave = asyncio.get_running_loop().call_later(0.05, gone.set)
        else:
            chunks.extend(message.get("body", b""))
            if len(chunks) > 1 << 16:
                gone.set()

    try:
        await app(scope, receive, send)
    finally:
        leave.cancel()
    return status, bytes(chunks)


async def fuzz_requests(app: Servey, count: int) -> None:
    began = time.monotonic()
    async with served(app) as token:
        document = app.openapi()

        async def send_one(generator: random.Random) -> tuple[str, str]:
            scope, body = any_request(generator, document, token)
            status, answer = await request(app, scope, body)
            what = f"{scope['method']} {scope['path']}?{scope['query_string']!r} {scope['headers']} {body[:200]!r}"
            assert status in (*range(200, 500), 503), f"{status} for {what}: {answer[:500]!r}"
            return str(status), what

        run = await drive(count, send_one, 1, at_once=50)
    run.check(began)
    assert run.seen["200"]
    assert run.seen["422"]


async def fuzz_documents(app: Servey, count: int) -> None:
    began = time.monotonic()
    async with served(app) as token:

        async def send_one(generator: random.Random) -> tuple[str, str]:
            document = any_document(generator)
            body: Any = {"query": document, "variables": generator.choice([None, {}, {"x": any_json(generator)}])}
            headers = [(b"content-type", b"application/json"), (b"authorization", token)]
            status, answer = await request(
                app, scope_of("http", "POST", "/graphql", b"", headers), json.dumps(body).encode()
            )
            assert status in (*range(200, 500), 503), f"{status} for {document}: {answer[:500]!r}"
            assert b'"internal"' not in answer, f"{document}: {answer[:500]!r}"
            return ("with errors" if b'"errors"' in answer[:20] or status != 200 else "good"), document

        run = await drive(count, send_one, 2)
    run.check(began)
    assert len(run.seen) == 2


async def fuzz_frames(app: Servey, count: int) -> None:
    """Each connection sends up to 20 frames, until the server closes it."""
    began = time.monotonic()
    sent = 0
    async with served(app):

        async def send_one(generator: random.Random) -> tuple[str, str]:
            nonlocal sent
            path = generator.choice(["/graphql", "/subscription", "/subscription/chat", "/subscription/none"])
            scope = scope_of("websocket", "GET", path, b"", [])
            if path == "/graphql":
                scope["subprotocols"] = [generator.choice(["graphql-transport-ws", "graphql-ws"])]
            frames = [{"type": "websocket.connect"}]
            if path == "/graphql" and generator.random() < 0.8:
                frames.append({"type": "websocket.receive", "text": '{"type":"connection_init"}'})
            frames += [any_frame(generator) for _ in range(20)]
            what, left = str(frames), iter(frames)
            code: int | None = None

            async def receive() -> dict[str, Any]:
                nonlocal sent
                for frame in left:
                    if code is None:
                        await asyncio.sleep(0)
                        sent += 1
                        return frame
                await asyncio.sleep(0.001)
                return {"type": "websocket.disconnect", "code": 1000}

            async def send(message: Any) -> None:
                nonlocal code
                if message["type"] == "websocket.close":
                    code = message.get("code", 1000)

            await app(scope, receive, send)
            assert code not in (1011, 4500), what
            return str(code), what

        run = await drive(1, send_one, 3)
        while sent < count:
            before = sent
            more = await drive(max(count // 100, 1), send_one, sent)
            assert sent > before
            run.seen += more.seen
            run.memory.append(more.memory[-1])
            if more.longest > run.longest:
                run.longest, run.slowest = more.longest, more.slowest
    run.memory = run.memory[len(run.memory) // 5 :]
    print(f"{sent} frames")
    run.check(began)
    assert len(run.seen) > 2


Fuzz = Callable[[Servey, int], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("fuzz", [fuzz_requests, fuzz_documents, fuzz_frames])
def test_some(app: Servey, fuzz: Fuzz) -> None:
    asyncio.run(fuzz(app, 300))


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("fuzz", "count"), [(fuzz_requests, 100_000), (fuzz_documents, 20_000), (fuzz_frames, 20_000)])
def test_many(app: Servey, fuzz: Fuzz, count: int) -> None:
    asyncio.run(fuzz(app, count))
