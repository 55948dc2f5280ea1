"""CPU microseconds a request behind a real uvicorn on loopback: what a server costs, which a noisy machine blurs least.

The server is pinned to one processor and the clients to another, where there are two. The client is asyncio of our own:
32 connections that each send the next request when they have the answer to the last.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.cases import Case

CONNECTIONS = 32


def measure(names: list[str], case: Case, rounds: int, requests: int) -> dict[str, tuple[float, list[float]]]:
    """For each peer the median of its CPU microseconds a request, and its ratio to the first peer in every round."""
    servers = {name: _serve(name) for name in names}
    try:
        for name, (_, port) in servers.items():
            _wait(port, name)
        costs: dict[str, list[float]] = {name: [] for name in names}
        for _, port in servers.values():
            asyncio.run(_load(port, case, requests // 10))
        for _ in range(rounds):
            for name, (process, port) in servers.items():
                before = _cpu_seconds(process.pid)
                asyncio.run(_load(port, case, requests))
                costs[name].append((_cpu_seconds(process.pid) - before) / requests)
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


def _serve(name: str) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.peers.{name}_app:app", "--port", str(port)]
    process = subprocess.Popen([*command, "--no-access-log", "--log-level", "error"])
    _pin(process.pid, 0)
    _pin(0, 1)
    return process, port


def _pin(pid: int, processor: int) -> None:
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(os.sched_getaffinity(pid)) > 1 and len(allowed) > 1:
        os.sched_setaffinity(pid, {allowed[processor]})


def _wait(port: int, name: str) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the peer {name} does not listen")


def _cpu_seconds(pid: int) -> float:
    """What all threads of a process have used, by the scheduler's own account, in nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


async def _load(port: int, case: Case, requests: int) -> None:
    """So many requests, over a few connections; every answer must be a 200."""
    path = case.path + (f"?{case.query}" if case.query else "")
    lines = [f"{case.method} {path} HTTP/1.1".encode(), *(name + b": " + value for name, value in case.all_headers)]
    request = b"\r\n".join([*lines, b"", b""]) + case.body
    left = requests

    async def client() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            left -= 1
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{case.name}: {head.splitlines()[0].decode()}")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()
        await writer.wait_closed()

    async with asyncio.timeout(120):
        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
