"""Measures one publisher and many subscribers beside peers: python3 dev.py bench fanout [--quick] [--write]."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.command import A_MINUTE, parser_of, print_report
from benchmarks.peers import APART_PYTHON

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "FANOUT.md"
SERVEY = ["-m", "servey", "run", "benchmarks.peers.fanout_servey:servey_app", "--port"]
PLAIN = ["-m", "uvicorn", "benchmarks.peers.fanout_servey:servey_app", "--log-level", "warning", "--port"]
PEERS = ["-m", "benchmarks.peers.fanout_peers"]
MEMORY = {
    "servey run": SERVEY,
    "servey, plain uvicorn": PLAIN,
    "servey run, server-sent events": SERVEY,
    "FastAPI, send_json for each": [*PEERS, "send_json"],
    "FastAPI, send_text, encoded once": [*PEERS, "send_text"],
    "FastAPI and Broadcaster": [*PEERS, "broadcaster"],
    "websockets, broadcast()": [*PEERS, "websockets"],
    "picows": [*PEERS, "picows"],
}
REDIS = ("servey run", "servey run, server-sent events", "FastAPI and Broadcaster")
UPGRADE = (
    b"GET /subscription/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SSE = b"GET /subscription/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
MARK = b'{"sent":'


class Client(asyncio.Protocol):
    """Counts events and records the delay of each."""

    def __init__(self, found: dict[str, Any], request: bytes) -> None:
        self._found, self._request, self._open = found, request, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._open = True
            self._found["open"] += 1
        at, now = data.find(MARK), time.time_ns()
        while at >= 0:
            self._found["count"] += 1
            sent = data[at + len(MARK) : at + len(MARK) + 19]
            if len(sent) == 19:
                self._found["waits"].append(now - int(sent))
            at = data.find(MARK, at + 1)


@contextlib.contextmanager
def served(words: list[str], redis_url: str | None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a peer in a separate process; yield once it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SERVEY_LOG_LEVEL": "WARNING"}
    if redis_url:
        env["FANOUT_REDIS"] = redis_url
    python = str(APART_PYTHON) if "picows" in words else sys.executable
    process = subprocess.Popen([python, *words, str(port)], cwd=ROOT, env=env, stdin=subprocess.PIPE)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measure(name: str, words: list[str], count: int, deliveries: int, redis_url: str | None) -> dict[str, float]:
    """Return a peer's CPU time for each delivery, the delays of paced events, and the memory of a connection."""
    loop, request = asyncio.get_running_loop(), SSE if "server-sent" in name else UPGRADE
    found: dict[str, Any] = {"open": 0, "count": 0, "waits": []}
    with served(words, redis_url) as (process, port):
        await asyncio.sleep(0.5)
        before = resident_bytes(process.pid)
        for _ in range(count):
            await loop.create_connection(lambda: Client(found, request), "127.0.0.1", port)
        while found["open"] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        memory = (resident_bytes(process.pid) - before) / count

        async def burst(events: int, pause: float) -> float:
            found["count"], found["waits"] = 0, []
            begun = cpu_seconds(process.pid)
            assert process.stdin is not None
            process.stdin.write(f"{events} {pause}\n".encode())
            process.stdin.flush()
            async with asyncio.timeout(120):
                while found["count"] < events * count:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            return (cpu_seconds(process.pid) - begun) / (events * count)

        await burst(max(1, 2000 // count), 0)
        cost = await burst(max(50, deliveries // count), 0)
        await burst(40, 0.05)
        waits = sorted(found["waits"])
    return {
        "cpu": cost * 1e6,
        "memory": memory / 1024,
        "p50": waits[len(waits) // 2] / 1e6,
        "p99": waits[len(waits) * 99 // 100] / 1e6,
    }


@contextlib.contextmanager
def a_redis() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


def report(*, quick: bool) -> Iterator[str]:
    rounds, deliveries = (1, 20_000) if quick else (3, 200_000)
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "websockets", "broadcaster", "redis")
    )
    yield from (
        "# Fan-out",
        "",
        "Made by `python3 dev.py bench fanout --write`. One publisher, an event of 170 bytes, one process under uvloop;",
        f"the median of {rounds} rounds. CPU is the server's, in microseconds a delivery, without a pause between",
        "events; its inverse is the deliveries a second of one core. p50 and p99 are the delays from the publisher to a",
        "client in another process, at 20 events/s, on one busy machine. Memory is what each idle connection adds.",
        "",
        f"Python {platform.python_version()}, {packages}.",
    )
    with a_redis() as url:
        for title, peers, redis_url in (
            ("In memory", tuple(MEMORY), None),
            ("Through Redis", REDIS, url),
        ):
            yield from ("", f"## {title}", "", "| peer | subscribers | CPU us | p50 ms | p99 ms | KiB a connection |")
            yield "|---|---|---|---|---|---|"
            for count in (10, 100, 1000):
                names = [name for name in peers if name != "picows" or APART_PYTHON.exists()]
                rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
                for _ in range(rounds):
                    for name in names:
                        found = asyncio.run(measure(name, MEMORY[name], count, deliveries, redis_url))
                        rows[name].append(found)
                for name, found_rows in rows.items():
                    cells = {key: median(row[key] for row in found_rows) for key in found_rows[0]}
                    yield (
                        f"| {name} | {count} | {cells['cpu']:.1f} | {cells['p50']:.1f} | {cells['p99']:.1f} | "
                        f"{cells['memory']:.0f} |"
                    )


def main() -> None:
    parser = parser_of("benchmarks.fanout", __doc__, RESULTS, A_MINUTE)
    options = parser.parse_args()
    print_report(report(quick=options.quick), RESULTS, write=options.write)


if __name__ == "__main__":
    main()
