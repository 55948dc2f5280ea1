"""Measures CPU microseconds a request behind a real uvicorn on loopback: the figure that a noisy machine affects least.

The server is pinned to one processor and the clients to another, where there are two. 32 connections each send the next
request when they have the response to the last one: with wrk, or else with asyncio. The asyncio client is slower than some
servers, which then wait between requests and cost more for each request. Install wrk (https://github.com/wg/wrk,
``apt install wrk``) for meaningful figures.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.cases import Case
from benchmarks.peers import python_of

CONNECTIONS = 32
WRK = shutil.which("wrk")


def measure(names: Sequence[str], case: Case, rounds: int, seconds: float) -> dict[str, tuple[float, list[float]]]:
    """Return for each peer the median of its CPU microseconds a request, and its ratio to the first peer in every round."""
    servers = {name: serve(name) for name in names}
    try:
        for name, (_, port) in servers.items():
            wait_for(port, name)
        costs: dict[str, list[float]] = {name: [] for name in names}
        for _, port in servers.values():
            load(port, case, seconds / 2)
        for turn in range(rounds):
            order = list(servers.items())
            for name, (process, port) in order[turn % len(order) :] + order[: turn % len(order)]:
                before = cpu_seconds(process.pid)
                requests = load(port, case, seconds)
                costs[name].append((cpu_seconds(process.pid) - before) / requests)
    finally:
        for process, _ in servers.values():
            process.terminate()
        for process, _ in servers.values():
            process.wait(10)
    first = costs[names[0]]
    return {
        name: (median(each) * 1e6, [base / own for base, own in zip(first, each, strict=True)])
        for name, each in costs.items()
    }


def serve(name: str) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python_of(name), "-m", "uvicorn", f"benchmarks.peers.{name}_app:app", "--port", str(port)]
    lifespan = ["--lifespan", "off"] if name in ("raw", "promises") else []
    process = subprocess.Popen(
        [*command, *lifespan, "--no-access-log", "--log-level", "error", "--loop", "uvloop", "--http", "httptools"]
    )
    _pin(process.pid, 0)
    _pin(0, 1)
    return process, port


def _pin(pid: int, processor: int) -> None:
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(os.sched_getaffinity(pid)) > 1 and len(allowed) > 1:
        os.sched_setaffinity(pid, {allowed[processor]})


def wait_for(port: int, name: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the peer {name} does not listen")


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process, from the scheduler, in nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text(encoding="utf-8").split()[0])
    return total / 1e9


def load(port: int, case: Case, seconds: float) -> int:
    """Return how many requests were answered in this many seconds; every response must be a 200."""
    return _load_by_wrk(port, case, seconds) if WRK else asyncio.run(_load_by_hand(port, case, seconds))


def _load_by_wrk(port: int, case: Case, seconds: float) -> int:
    lines = [f'wrk.method = "{case.method}"']
    lines += [f'wrk.headers["{name.decode()}"] = "{value.decode()}"' for name, value in case.sent_headers]
    if case.body:
        lines.append(f"wrk.body = [==[{case.body.decode()}]==]")
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        url = f"http://127.0.0.1:{port}{case.path}" + (f"?{case.query}" if case.query else "")
        command = [str(WRK), "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", script.name, url]
        told = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=60).stdout
    counted = re.search(r"(\d+) requests in", told)
    if counted is None or "Non-2xx" in told:
        raise RuntimeError(f"{case.name}: {told}")
    return int(counted[1])


async def _load_by_hand(port: int, case: Case, seconds: float) -> int:
    path = case.path + (f"?{case.query}" if case.query else "")
    lines = [f"{case.method} {path} HTTP/1.1".encode(), *(name + b": " + value for name, value in case.all_headers)]
    request = b"\r\n".join([*lines, b"", b""]) + case.body
    end = time.monotonic() + seconds
    answered = 0

    async def client() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{case.name}: {head.splitlines()[0].decode()}")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            answered += 1
        writer.close()
        await writer.wait_closed()

    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return answered
