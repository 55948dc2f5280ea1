"""Microseconds of CPU time per request inside one process: a child for each peer, in turns of a few tens of milliseconds.

The turns are interleaved, and each round's ratio is taken within the round, so that a busy machine slows
all peers alike.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.peers import python_of

TURN_SECONDS = 0.06


@dataclass
class Peer:
    """A child process that answers commands: ``check CASE`` and ``run CASE TIMES``."""

    name: str

    def __post_init__(self) -> None:
        command = [python_of(self.name), "-m", "benchmarks.inprocess", self.name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def ask(self, *words: object) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer {self.name} ended")
        return answer.strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def measure(names: Sequence[str], case: Case, rounds: int) -> dict[str, tuple[float, list[float]]]:
    """Return for each peer the median of its microseconds, and its ratio to the first peer in every round."""
    peers = [Peer(name) for name in names]
    try:
        answers = {peer.name: json.loads(peer.ask("check", case.name)) for peer in peers}
        bodies = {name: (status, case.read(body.encode())) for name, (status, body) in answers.items()}
        if not case.revalidates and any(each != bodies[names[0]] for each in bodies.values()):
            raise RuntimeError(f"the peers answer {case.name} differently: {bodies}")
        times = {}
        for peer in peers:
            once = float(peer.ask("run", case.name, 10))
            once = float(peer.ask("run", case.name, min(200, max(5, int(TURN_SECONDS / once)))))
            times[peer.name] = max(3, int(TURN_SECONDS / once))
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds):
            for peer in peers[turn % len(peers) :] + peers[: turn % len(peers)]:
                seconds[peer.name].append(float(peer.ask("run", case.name, times[peer.name])))
    finally:
        for peer in peers:
            peer.close()
    first = seconds[names[0]]
    return {
        name: (median(each) * 1e6, [base / own for base, own in zip(first, each, strict=True)])
        for name, each in seconds.items()
    }


class _Connection:
    """A client that sends its request and stays connected until the response ends."""

    def __init__(self, body: bytes) -> None:
        self._request = {"type": "http.request", "body": body, "more_body": False}
        self.is_read = False
        self._ended: asyncio.Future[None] | None = None

    async def receive(self) -> dict[str, Any]:
        if self.is_read:
            if self._ended is None:
                self._ended = asyncio.get_running_loop().create_future()
            await self._ended
            return {"type": "http.disconnect"}
        self.is_read = True
        return self._request

    async def send(self, message: dict[str, Any]) -> None:
        """Note the end of a response that waits for its client to disconnect."""
        if self._ended is not None and message["type"] == "http.response.body" and not message.get("more_body"):
            if not self._ended.done():
                self._ended.set_result(None)
            self._ended = None


def scope_of(case: Case) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": case.method,
        "scheme": "http",
        "path": case.path,
        "raw_path": case.path.encode(),
        "query_string": case.query.encode(),
        "root_path": "",
        "headers": case.all_headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def answer(app: Any, case: Case) -> tuple[int, bytes]:
    """One request to an app; its status and its body."""
    status, _, body = await _sent(app, case)
    return status, body


async def _sent(app: Any, case: Case) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[dict[str, Any]] = []
    connection = _Connection(case.body)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        await connection.send(message)

    await app(scope_of(case), connection.receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


async def run(app: Any, case: Case, times: int) -> float:
    """Seconds of CPU time per request."""
    base = scope_of(case)
    headers: list[tuple[bytes, bytes]] = base["headers"]
    if case.revalidates:
        etag = (await _sent(app, case))[1].get(b"etag")
        headers += [(b"if-none-match", etag)] if etag else []
    connection = _Connection(case.body)

    begun = time.process_time()
    for _ in range(times):
        connection.is_read = False
        await app({**base, "headers": [*headers], "state": {}}, connection.receive, connection.send)
    return (time.process_time() - begun) / times


async def child(name: str) -> None:
    app = importlib.import_module(f"benchmarks.peers.{name}_app").app
    async with AsyncExitStack() as stack:
        if hasattr(app, "start"):
            await app.start()
        elif hasattr(getattr(app, "router", None), "lifespan_context"):
            await stack.enter_async_context(app.router.lifespan_context(app))
        for line in sys.stdin:
            command, case, *times = line.split()
            if command == "check":
                status, body = await answer(app, CASES[case])
                print(json.dumps([status, body.decode()]), flush=True)
            else:
                print(await run(app, CASES[case], int(times[0])), flush=True)


if __name__ == "__main__":
    asyncio.run(child(sys.argv[1]))
