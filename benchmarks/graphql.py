"""Measures GraphQL beside its peers: python3 dev.py bench graphql [--quick] [--write].

Each peer is a child process; their turns are interleaved, and ratios are taken within a round. Documents, variables and
objects vary from request to request.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.command import parser_of, print_report
from benchmarks.peers import APART_PYTHON

RESULTS = Path(__file__).parent / "GRAPHQL.md"
PEERS = ("strawberry", "strawberry_cached", "ariadne", "servey")
TURN_SECONDS = 0.1
FIELDS = ("id", "name", "email", "isActive", "since")


def hello(number: int) -> tuple[str, dict[str, Any]]:
    return f"query Hello{number % 20}($name: String!) {{ hello(name: $name) }}", {"name": f"World {number}"}


def welcome(number: int) -> tuple[str, dict[str, Any]]:
    return f"query Welcome{number % 20}($name: String!) {{ welcome(name: $name) }}", {"name": f"World {number}"}


def people(number: int) -> tuple[str, dict[str, Any]]:
    turned = FIELDS[number % 5 :] + FIELDS[: number % 5]
    query = f"query People{number % 20}($first: Int!) {{ people(count: 100, first: $first) {{ {' '.join(turned)} }} }}"
    return query, {"first": number % 1000}


def nested(number: int) -> tuple[str, dict[str, Any]]:
    return "query($first: Int!) { people(count: 100, first: $first) { id name label } }", {"first": number % 1000}


def cold(number: int) -> tuple[str, dict[str, Any]]:
    return f"query Cold{number} {{ people(count: 1, first: {number}) {{ id name }} }}", {}


def batched(number: int) -> tuple[str, dict[str, Any]]:
    return "query($first: Int!) { people(count: 1000, first: $first) { id points } }", {"first": number % 1000}


CASES = {"hello": hello, "welcome": welcome, "people": people, "nested": nested, "cold": cold, "batched": batched}
WORDS = {
    "hello": "one string, 20 documents in turn",
    "welcome": "one string with a dependency, 20 documents in turn",
    "nested": "100 objects with an async method each",
    "people": "100 objects of 5 fields, 20 documents in turn",
    "cold": "a document that was never seen before",
    "batched": "1,000 objects with a batched field",
}


class Peer:
    """A child process that answers ``check CASE`` and ``run CASE FIRST TIMES``."""

    def __init__(self, name: str) -> None:
        self.name = name
        python = str(APART_PYTHON) if name == "ariadne" else sys.executable
        command = [python, "-W", "ignore", "-m", "benchmarks.graphql", "--child", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        self.asked = 0

    def ask(self, *words: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def run(self, case: str, times: int) -> float:
        """Seconds a request."""
        self.asked += times
        seconds: float = self.ask("run", case, self.asked, times)
        return seconds

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def measure(case: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Return for each peer the median of its microseconds, and of its ratio to Servey's."""
    peers = [Peer(name) for name in PEERS if name != "ariadne" or APART_PYTHON.exists()]
    try:
        answers = {peer.name: peer.ask("check", case) for peer in peers}
        if any(answer != answers["servey"] for answer in answers.values()):
            raise RuntimeError(f"the peers answer {case} differently")
        times = {peer.name: max(3, int(TURN_SECONDS / peer.run(case, 20))) for peer in peers}
        seconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for turn in range(rounds):
            for peer in peers[turn % len(peers) :] + peers[: turn % len(peers)]:
                seconds[peer.name].append(peer.run(case, times[peer.name]))
    finally:
        for peer in peers:
            peer.close()
    ours = seconds["servey"]
    return {
        name: (median(each) * 1e6, median(other / own for other, own in zip(each, ours, strict=True)))
        for name, each in seconds.items()
    }


def report(rounds: int) -> Iterator[str]:
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("strawberry-graphql", "graphql-core", "fastapi", "orjson")
    )
    yield from (
        "# GraphQL",
        "",
        "Made by `python3 dev.py bench graphql --write`.",
        f"Microseconds of CPU time per request in-process, medians of {rounds} interleaved rounds;",
        "the ratio is how many times as long as Servey a peer takes, in the same rounds.",
        "",
        f"Python {platform.python_version()}, {packages}.",
        "",
        "| case | peer | us | x Servey |",
        "|---|---|---|---|",
    )
    for case, what in WORDS.items():
        for name, (own, ratio) in measure(case, rounds).items():
            yield f"| {what} | {name.replace('_', ', ')} | {own:.0f} | {ratio:.1f} |"
            what = ""


# ------------------------------------------------------------------------------------------------ in the child


def scope_of(length: int) -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json"), (b"accept", b"application/json")]
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/graphql", "raw_path": b"/graphql", "query_string": b"", "root_path": "",
        "headers": [*headers, (b"content-length", str(length).encode())], "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip


async def answer(app: Any, body: bytes) -> Any:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope_of(len(body)), receive, send)
    return json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def body_of(case: str, number: int) -> bytes:
    query, variables = CASES[case](number)
    return json.dumps({"query": query, "variables": variables}).encode()


async def run(app: Any, case: str, first: int, times: int) -> float:
    bodies = [body_of(case, number) for number in range(first, first + times)]
    current = b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": current, "more_body": False}

    async def send(message: dict[str, Any]) -> None: ...

    begun = time.process_time()
    for current in bodies:
        await app(scope_of(len(current)), receive, send)
    return (time.process_time() - begun) / times


async def child(name: str) -> None:
    app = importlib.import_module(f"benchmarks.peers.graphql_{name}_app").app
    async with AsyncExitStack() as stack:
        if hasattr(getattr(app, "router", None), "lifespan_context"):
            await stack.enter_async_context(app.router.lifespan_context(app))
        for line in sys.stdin:
            command, case, *numbers = line.split()
            if command == "check":
                print(json.dumps(await answer(app, body_of(case, 7))), flush=True)
            else:
                print(await run(app, case, *map(int, numbers)), flush=True)


def main() -> None:
    parser = parser_of("benchmarks.graphql", __doc__, RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        asyncio.run(child(options.child))
        return
    print_report(report(2 if options.quick else 9), RESULTS, write=options.write)


if __name__ == "__main__":
    main()
