"""Redis is restarted, killed, frozen and cut off under subscribers of two servers."""

import asyncio
import contextlib
import itertools
import json
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.serving import redis_server
from tests.ws.conftest import run_server

pytestmark = pytest.mark.slow
SUBSCRIBERS = 500


@dataclass
class Client:
    """A subscriber that comes back with its cursor; ``losses`` says how often it was told that it has missed something,
    and ``holes`` how often it has, without being told.
    """

    port: int
    cursor: str | None = None
    received: list[int] = field(default_factory=list)
    losses: int = 0
    holes: int = 0
    drops: int = 0
    last: float = 0
    known_loss: bool = True
    socket: object = None

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with connect(
                    f"ws://127.0.0.1:{self.port}/subscription", open_timeout=30, ping_interval=None
                ) as socket:
                    self.socket = socket
                    frame = {"type": "Subscribe", "payload": "kept"} | ({"after": self.cursor} if self.cursor else {})
                    await socket.send(json.dumps(frame))
                    with contextlib.suppress(ConnectionClosed):
                        async for text in socket:
                            self.take(json.loads(text))
            self.drops += 1
            await asyncio.sleep(random.uniform(0.01, 0.1))

    def take(self, frame: dict) -> None:
        if frame["type"] == "Subscribed":
            if frame.get("recovered") is False:
                self.losses += 1
                self.known_loss = True
            self.cursor = frame["cursor"]
        elif frame["type"] == "Event":
            number = frame["payload"]
            if self.received and not self.known_loss and number != self.received[-1] + 1:
                self.holes += 1
            assert not self.received or number > self.received[-1], "an event came twice, or out of order"
            self.known_loss = False
            self.received.append(number)
            self.cursor = frame["cursor"]
            self.last = time.monotonic()
        else:
            assert frame["code"] == "overloaded", frame
            raise TimeoutError


class Publisher:
    """Publishes numbers by turns of two servers, one after the other; a number whose answer was an error is given up."""

    def __init__(self, servers, pause: float) -> None:
        self.acknowledged: list[int] = []
        self._servers = servers
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        with httpx.Client(timeout=30) as http:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                body = {"channel": "kept", "event": number}
                server = self._servers[number % len(self._servers)]
                with contextlib.suppress(httpx.HTTPError):
                    if http.post(f"{server.url}/actions/publish", json=body).status_code == 200:
                        self.acknowledged.append(number)
                self._stop.wait(self._pause)


def freeze(redis) -> None:
    redis.freeze()
    threading.Event().wait(10)
    redis.thaw()


def kill(redis) -> None:
    redis.stop(signal.SIGKILL)
    threading.Event().wait(3)
    redis.start()


def lose_everything(redis) -> None:
    redis.stop(signal.SIGKILL)
    for path in redis.folder.glob("appendonlydir/*"):
        path.unlink()
    redis.start()


FAULTS = {
    "restarted": lambda redis: redis.restart(),
    "killed": kill,
    "frozen": freeze,
    "cut": lambda redis: redis.cut(),
    "emptied": lose_everything,
}


async def until(happened, what: str, within: float) -> None:
    end = time.monotonic() + within
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen within {within} s"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(clients):
    tasks = [asyncio.create_task(client.run()) for client in clients]
    try:
        await until(lambda: all(client.cursor for client in clients), "every subscription", 60)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", FAULTS)
def test_redis_is_gone_for_a_while(fault):
    async def main(redis, servers) -> tuple[float, set[int]]:
        async with running(clients):
            drops = sum(client.drops for client in clients)
            with Publisher(servers, 0.02) as publisher:
                await until(lambda: len(publisher.acknowledged) > 20, "some events", 10)
                await asyncio.to_thread(FAULTS[fault], redis)
                back = time.monotonic()
                count = len(publisher.acknowledged)
                await until(lambda: len(publisher.acknowledged) > count + 3, "the next event", 10)
                first = publisher.acknowledged[count + 1]
                await until(lambda: all(client.received[-1] >= first for client in clients), "life of everyone", 20)
                seconds = time.monotonic() - back
                await asyncio.sleep(1)
            last = publisher.acknowledged[-1]
            await until(lambda: all(client.received[-1] >= last for client in clients), "the last event", 20)
            assert sum(client.drops for client in clients) == drops, "a socket was dropped"
            return seconds, set(publisher.acknowledged)

    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        servers = [stack.enter_context(run_server(SERVEY_REDIS_URL=redis.url)) for _ in range(2)]
        clients = [Client(servers[number % 2].port) for number in range(SUBSCRIBERS)]
        seconds, acknowledged = asyncio.run(main(redis, servers))
        assert seconds < 5
        for client in clients:
            if client.losses == 0:
                meant = range(client.received[0], client.received[-1] + 1)
                assert acknowledged & set(meant) <= set(client.received)
        told = sum(client.losses > 0 for client in clients)
        print(f"{fault}: live again after {seconds:.2f} s, {told} of {SUBSCRIBERS} were told of a loss")
        assert told in {"emptied": {SUBSCRIBERS}, "killed": {0, SUBSCRIBERS}}.get(fault, {0})
        for server in servers:
            assert "Traceback" not in server.log.read_text(encoding="utf-8")


@pytest.mark.timeout(180)
def test_resuming_a_hundred_times_while_redis_restarts():
    with redis_server() as redis, run_server(SERVEY_REDIS_URL=redis.url) as server:
        client = Client(server.port)

        async def main() -> list[int]:
            async with running([client]):
                return await reconnecting()

        async def reconnecting() -> list[int]:
            published: list[int] = []
            done = asyncio.Event()

            async def publish() -> None:
                async with httpx.AsyncClient(timeout=30) as http:
                    number, begun = 0, time.monotonic()
                    while not done.is_set():
                        events = list(range(number, number + 25))
                        answer = await http.post(
                            f"{server.url}/actions/publish-many", json={"channel": "kept", "events": events}
                        )
                        assert answer.status_code == 200, answer.text
                        published.extend(events)
                        number += 25
                        await asyncio.sleep(max(0, begun + number / 500 - time.monotonic()))

            publishing = asyncio.create_task(publish())
            restarted = None
            while client.drops < 100:
                await asyncio.sleep(random.uniform(0.02, 0.25))
                client.socket.transport.abort()
                if restarted is None and client.drops > 50:
                    restarted = asyncio.create_task(asyncio.to_thread(redis.restart))
            await restarted
            done.set()
            await publishing
            await until(lambda: client.received[-1] >= published[-1], "the last event", 20)
            return published

        published = asyncio.run(main())
        assert client.drops >= 100
        assert client.losses == 0
        assert client.received == published
