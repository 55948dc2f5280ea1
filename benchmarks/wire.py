"""Measures CPU microseconds a request behind a real server on loopback: the figure that a noisy machine affects least.

The server is pinned to one processor and the client to another, where there are two. 64 connections each send the next
request when they have the response to the last one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.cases import Case
from benchmarks.load import load
from benchmarks.peers import python_of

CONNECTIONS = 64

Measured = tuple[float, list[float], float]
"""The median of the CPU microseconds a request, the ratio to the first peer in every round, and the median p99 in ms."""


def measure(names: Sequence[str], case: Case, rounds: int, seconds: float) -> dict[str, Measured]:
    """Return what was measured of each peer."""
    return compare({name: serve(name) for name in names}, case, rounds, seconds)


def compare(
    servers: dict[str, tuple[subprocess.Popen[bytes], int]], case: Case, rounds: int, seconds: float
) -> dict[str, Measured]:
    """Return what was measured of each server, in turns; the servers end."""
    costs: dict[str, list[float]] = {name: [] for name in servers}
    p99: dict[str, list[float]] = {name: [] for name in servers}
    try:
        for name, (_, port) in servers.items():
            wait_for(port, name)
        for _, port in servers.values():
            load(port, case, seconds / 2, CONNECTIONS)
        for turn in range(rounds):
            order = list(servers.items())
            for name, (process, port) in order[turn % len(order) :] + order[: turn % len(order)]:
                before = cpu_seconds(process.pid)
                found = load(port, case, seconds, CONNECTIONS)
                costs[name].append((cpu_seconds(process.pid) - before) / found.requests)
                p99[name].append(found.p99)
    finally:
        for process, _ in servers.values():
            process.terminate()
        for process, _ in servers.values():
            process.wait(30)
    first = next(iter(costs.values()))
    return {
        name: (median(each) * 1e6, [base / own for base, own in zip(first, each, strict=True)], median(p99[name]) * 1e3)
        for name, each in costs.items()
    }


def behind(server: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the app of actions by `servey run` behind a server."""
    port = free_port()
    app = "benchmarks.peers.servey_app:app"
    command = [sys.executable, "-m", "servey", "run", app, "--server", server, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _pin(process.pid, 0)
    _pin(0, 1)
    return process, port


def megabytes(pid: int) -> float:
    """The resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve(name: str) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
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
