"""A server and a worker at half of what they can do, with churn: memory, descriptors and tasks stay where they are.

SOAK_SECONDS makes it longer: 600 is what docs/operating.md tells of.
"""

import asyncio
import json
import os
import statistics
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.cluster.load import hammered, load
from tests.serving import free_port, started

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
PROJECT = Path(__file__).parent / "project"
pytestmark = [pytest.mark.slow, pytest.mark.drill, pytest.mark.timeout(SECONDS + 120)]


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def churn(url: str, stop: asyncio.Event) -> None:
    """Clients that come and go, ask for what fails, and leave before they are answered."""
    while not stop.is_set():
        async with httpx.AsyncClient(base_url=url, timeout=10) as client:
            with suppress(httpx.TransportError):
                await client.get("/actions/fail")
                await client.get("/actions/echo")
                await client.get("/nowhere")
                await client.post("/actions/tell", content=b"{")
                await client.get("/actions/in-thread?seconds=0.01")
            with suppress(httpx.TransportError):
                await client.get("/actions/slow?seconds=3", timeout=0.2)
        with suppress(OSError, WebSocketException):
            async with connect(url.replace("http", "ws", 1) + "/subscription") as socket:
                await socket.send('{"type": "Subscribe", "payload": "numbers"}')
                await socket.recv()
                await socket.send("no frame")
                await socket.recv()
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(b"GET /actions/echo HTTP/1.1\r\nHost: a\r\nX-")
            await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.1)


def test_nothing_grows(redis):
    port, status = free_port(), free_port()
    env = {"SERVEY_REDIS_URL": redis.url, "SERVEY_METRICS": "1"}
    web = started(["-m", "servey", "run", "--port", str(port)], port, cwd=PROJECT, **env)
    working = started(["-m", "servey", "worker"], status, cwd=PROJECT, SERVEY_WORKER_PORT=str(status), **env)
    with web as server, working as worker:
        pids = {"web": server.process.pid, "worker": worker.process.pid}
        samples, most, calls = asyncio.run(soak(server.url, pids))
    shown = {name: few(each) for name, each in samples.items()}
    print(json.dumps({"test": "soak", "seconds": SECONDS, "capacity": most, "calls": calls, **shown}))
    for name, each in samples.items():
        third = len(each) // 3
        before, after = statistics.median(each[third : 2 * third]), statistics.median(each[2 * third :])
        slack = 2 if name.endswith(("descriptors", "tasks")) else 0
        assert after <= before * 1.05 + slack, (name, each)


def few(values: list[float]) -> list[float]:
    return values[:: max(1, len(values) // 12)]


async def soak(url: str, pids: dict[str, int]) -> tuple[dict[str, list[float]], float, int]:
    samples: dict[str, list[float]] = {}
    stop = asyncio.Event()
    port = int(url.rpartition(":")[2])
    most = await hammered(port, 5) / 5
    async with load(url, clients=4, sockets=5) as found, httpx.AsyncClient(base_url=url, timeout=30) as client:
        churning = [asyncio.create_task(churn(url, stop)) for _ in range(2)]
        steady = asyncio.create_task(hammered(port, SECONDS, per_second=most / 2))
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        while loop.time() < end:
            await asyncio.sleep(SECONDS / 60)
            for name, pid in pids.items():
                samples.setdefault(f"{name} kB", []).append(resident_kb(pid))
                samples.setdefault(f"{name} descriptors", []).append(descriptors(pid))
            samples.setdefault("web tasks", []).append((await client.get("/actions/tasks")).json())
        stop.set()
        await asyncio.gather(*churning)
        calls = await steady
    assert found.failures == []
    return samples, most, calls + sum(found.answers.values())
