"""What one client, or many, can not do to a server; and how a server ends."""

import asyncio
import contextlib
import json
import socket as sockets
import time
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from servey import Authorization, Settings, create_app, websocket_event_channel
from servey.runtime.parts import Parts
from tests.serving import serve, wait_until
from tests.ws.conftest import APP, ENV, ask, open_socket, publish, run_server
from tests.ws.test_sockets import closed

SERVERS = {"uvicorn": lambda **env: serve(APP, **{**ENV, **env}), "servey run": run_server}


@pytest.fixture(params=SERVERS)
def a_server(request):
    """Starts a server with settings of its own."""
    with contextlib.ExitStack() as stack:
        yield lambda **env: stack.enter_context(SERVERS[request.param](**env))


def test_limits_of_connections_and_subscriptions(a_server):
    server = a_server(SERVEY_CHANNEL_CONNECTIONS="2", SERVEY_CHANNEL_PER_SOCKET="1", SERVEY_CHANNEL_IDLE="1")
    with open_socket(server, "/plain"), open_socket(server) as second:
        with open_socket(server, "/plain") as third:
            assert closed(third)[0] == 4429
        answer = httpx.get(f"{server.url}/subscription/plain")
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        ask(second, type="Subscribe", payload="plain")
        assert ask(second, type="Subscribe", payload="kept")["code"] == "overloaded"
        ask(second, type="Unsubscribe", payload="plain")
        begun = time.monotonic()
        assert closed(second) == (1000, "No subscription")
        assert 0.5 < time.monotonic() - begun < 4
    with open_socket(server, "/plain"):
        pass


def test_connections_whose_token_is_still_verified_count():
    """In a burst, all are checked before the first one is open."""
    waiting = asyncio.Event()

    class Slow:
        async def authorize(self, token: str) -> Authorization:
            await waiting.wait()
            return Authorization("ada", frozenset())

    app = create_app(
        actions=[],
        channels=[websocket_event_channel("news", str)],
        settings=Settings(env="dev", channel_connections=2),
        parts=Parts(authorizer=lambda settings: Slow()),
    )

    async def one(closed: list[int]) -> None:
        leave = asyncio.Event()
        messages = [{"type": "websocket.connect"}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await leave.wait()
            return {"type": "websocket.disconnect", "code": 1000}

        async def send(message: Any) -> None:
            if message["type"] == "websocket.close":
                closed.append(message["code"])
                leave.set()

        headers = [(b"host", b"localhost"), (b"authorization", b"Bearer x")]
        scope = {"type": "websocket", "path": "/subscription/news", "raw_path": b"/subscription/news", "scheme": "ws"}
        await app(
            {**scope, "headers": headers, "query_string": b"", "root_path": "", "subprotocols": []}, receive, send
        )

    async def burst() -> list[int]:
        closed: list[int] = []
        async with app.router.lifespan_context(app):
            tasks = [asyncio.create_task(one(closed)) for _ in range(5)]
            while len([task for task in tasks if task.done()]) < 3:
                await asyncio.sleep(0)
            waiting.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        return closed

    assert asyncio.run(asyncio.wait_for(burst(), 20)) == [4429] * 3 + [1012] * 2


def test_a_socket_of_many_frames(a_server):
    server = a_server(SERVEY_CHANNEL_FRAME_BYTES="200")
    with open_socket(server) as socket:
        for size in (150, 201, 100_000):
            error = ask(socket, type="Subscribe", payload="x" * size)
            assert error["code"] == ("not_found" if size == 150 else "invalid_frame")


def raw_socket(server, path: str) -> sockets.socket:
    """A connected websocket whose client never reads; its buffers are small."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", server.port))
    raw.sendall(
        f"GET /subscription{path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert raw.recv(12) == b"HTTP/1.1 101"
    return raw


def state(server) -> dict[str, int]:
    return httpx.get(f"{server.url}/actions/state").json()


def test_who_does_not_read_is_dropped_and_no_one_else_waits(a_server):
    server = a_server(SERVEY_CHANNEL_QUEUE_BYTES="200000", SERVEY_CHANNEL_QUEUE="20")
    slow = raw_socket(server, "/plain")
    stalled = sockets.create_connection(("127.0.0.1", server.port))
    stalled.sendall(b"GET /subscription/plain HTTP/1.1\r\nHost: x\r\n\r\n")
    with open_socket(server, "/plain") as quick, slow, stalled:
        wait_until(lambda: state(server)["subscriptions"] == 3, "three subscriptions")
        for number in range(120):
            begun = time.monotonic()
            publish(server, "plain", {"n": number, "text": "x" * 100_000})
            assert json.loads(quick.recv(timeout=5))["n"] == number
            assert time.monotonic() - begun < 1
        wait_until(lambda: state(server)["subscriptions"] == 1, "the end of the slow ones")
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_process_ends_at_once_under_open_connections(a_server, count):
    server = a_server()
    codes: list[int] = []
    ended: list[int] = []

    async def one_socket(path: str) -> None:
        async with connect(f"ws://127.0.0.1:{server.port}/subscription{path}", open_timeout=60) as socket:
            if not path:
                await socket.send('{"type": "Subscribe", "payload": "kept"}')
                await socket.recv()
            opened.release()
            await socket.wait_closed()
            codes.append(socket.close_code)

    async def one_stream() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /subscription/kept HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"data: {}\n\n")
        opened.release()
        ended.append((await reader.read()).endswith(b"0\r\n\r\n"))
        writer.close()

    async def main() -> float:
        tasks = [
            asyncio.create_task(one_stream() if number % 3 == 0 else one_socket("/plain" if number % 3 == 1 else ""))
            for number in range(count)
        ]
        for _ in range(count):
            await opened.acquire()
        seconds = await asyncio.to_thread(server.end, within=10)
        await asyncio.gather(*tasks)
        return seconds

    opened = asyncio.Semaphore(0)
    assert asyncio.run(main()) < 2
    assert set(codes) == {1012} and all(ended)
    assert len(codes) + len(ended) == count
    assert "Traceback" not in server.log.read_text(encoding="utf-8")
