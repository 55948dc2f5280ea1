"""Load for a cluster, and what came of it: requests, events with history, jobs, schedules."""

import asyncio
import json
import ssl
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake


@dataclass
class Found:
    """What clients have seen."""

    answers: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    repeated: int = 0
    slowest: float = 0
    published: list[int] = field(default_factory=list)
    enqueued: list[int] = field(default_factory=list)
    received: list[list[int]] = field(default_factory=list)
    closes: Counter = field(default_factory=Counter)
    unrecovered: int = 0


class Caller:
    """A client that goes to the next address when one fails, as a load balancer or a browser does.

    It repeats what was not sent, and a GET; not a POST that may have arrived.
    """

    def __init__(self, urls: tuple[str, ...], first: int, found: Found, context: ssl.SSLContext | None) -> None:
        self.clients = [httpx.AsyncClient(base_url=url, timeout=15, verify=context or True) for url in urls]
        self.at = first % len(urls)
        self.found = found

    async def send(self, method: str, path: str, **options: object) -> httpx.Response | None:
        """Return the response; None after a failure, which is noted."""
        for left in reversed(range(len(self.clients))):
            try:
                response = await self.clients[self.at].request(method, path, **options)
            except httpx.TransportError as error:
                self.at = (self.at + 1) % len(self.clients)
                if left and (method == "GET" or isinstance(error, httpx.ConnectError)):
                    self.found.repeated += 1
                    continue
                self.found.failures.append(f"{method} {path} {error!r}")
                return None
            self.found.answers[response.status_code] += 1
            if response.status_code == 200:
                return response
            self.found.failures.append(f"{method} {path} {response.status_code} {response.text[:80]}")
            return None
        return None

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()


@asynccontextmanager
async def load(*urls: str, clients: int = 4, sockets: int = 5, context: ssl.SSLContext | None = None):
    """Asks, publishes, enqueues and listens meanwhile, at one address or several of the same cluster."""
    found = Found()
    stop = asyncio.Event()
    callers = [Caller(urls, index, found, context) for index in range(clients + 2)]
    listeners = [asyncio.create_task(_listen(urls, index, found, context)) for index in range(sockets)]
    tasks = [asyncio.create_task(_ask(caller, found, stop)) for caller in callers[2:]]
    await asyncio.sleep(1)
    tasks += [
        asyncio.create_task(_send(callers[0], stop, "tell", found.published, 0.05)),
        asyncio.create_task(_send(callers[1], stop, "have-done", found.enqueued, 0.1)),
    ]
    try:
        yield found
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        # What was published last may still be on its way.
        for _ in range(100):
            if all(len(set(each)) >= len(found.published) for each in found.received):
                break
            await asyncio.sleep(0.1)
        for task in listeners:
            task.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        for caller in callers:
            await caller.close()


async def _ask(caller, found, stop):
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        begun = loop.time()
        await caller.send("GET", "/actions/echo", params={"text": "x"})
        found.slowest = max(found.slowest, loop.time() - begun)
        await asyncio.sleep(0.02)


async def _send(caller, stop, action, sent, pause):
    number = time.time_ns() // 1_000_000  # each run has numbers of its own
    while not stop.is_set():
        if await caller.send("POST", f"/actions/{action}", json={"number": number}) is not None:
            sent.append(number)
        number += 1
        await asyncio.sleep(pause)


async def _listen(urls, first, found, context):
    received: list[int] = []
    found.received.append(received)
    cursor = None
    at = first
    while True:
        place = urls[at % len(urls)].replace("http", "ws", 1) + "/subscription"
        try:
            async with connect(place, open_timeout=10, ping_interval=None, ssl=context) as socket:
                frame = {"type": "Subscribe", "payload": "numbers"}
                await socket.send(json.dumps({**frame, "after": cursor} if cursor else frame))
                async for text in socket:
                    frame = json.loads(text)
                    if frame["type"] == "Subscribed" and cursor and not frame.get("recovered"):
                        found.unrecovered += 1
                    if frame["type"] == "Error":
                        break
                    if frame["type"] == "Event":
                        received.append(frame["payload"])
                    cursor = frame.get("cursor") or cursor
        except ConnectionClosed as closed:
            found.closes[closed.rcvd.code if closed.rcvd else 1006] += 1
        except (OSError, InvalidHandshake, TimeoutError):
            found.closes["refused"] += 1
            at += 1
        await asyncio.sleep(0.1)


async def noted(url, name, wanted=None, within=60):
    """What the actions have noted; waits until all that is ``wanted`` is there."""
    async with httpx.AsyncClient(base_url=url, timeout=15) as client:
        for _ in range(within * 2):
            try:
                answer = await client.get("/actions/noted", params={"name": name})
                if answer.status_code == 200 and (wanted is None or set(wanted) <= set(answer.json())):
                    return answer.json()
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.5)
    return answer.json()


async def hammered(port: int, seconds: float, *, per_second: float | None = None, connections: int = 16) -> int:
    """How many small requests were answered in a time: as many as can be, or so many a second."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    counts = [0] * connections
    request = b"GET /actions/echo?text=x HTTP/1.1\r\nHost: a\r\n\r\n"

    async def ask(index: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while loop.time() - begun < seconds:
            if per_second is not None:
                await asyncio.sleep(begun + counts[index] * connections / per_second - loop.time())
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            counts[index] += 1
        writer.close()

    await asyncio.gather(*map(ask, range(connections)))
    return sum(counts)
