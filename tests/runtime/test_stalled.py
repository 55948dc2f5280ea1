"""Clients that stop reading, under the server of ``servey run``: their connections end, whatever they were reading."""

import socket
import threading
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.responses import FileResponse

from servey import WEB_GET, Settings, action, create_app
from servey.server import WEBSOCKETS, GracefulServer
from tests.serving import free_port, wait_until

SIZE = 8 << 20


@action(triggers=WEB_GET)
async def text() -> str:
    return "x" * SIZE


@action(triggers=WEB_GET)
async def stream() -> AsyncIterator[str]:
    while True:
        yield "x" * 10_000


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr("servey.server.UNREAD_SECONDS", 0.5)
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * SIZE)

    @action(triggers=WEB_GET)
    async def file() -> FileResponse:
        return FileResponse(large, media_type="text/plain")

    app = create_app(actions=[text, stream, file], channels=[], settings=Settings(env="dev"))
    port = free_port()
    server = GracefulServer(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1, **WEBSOCKETS))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the server serves")
    yield server, port
    server.should_exit = True
    thread.join()


def asked_for(path: str, port: int, *, buffer: int = 4096) -> socket.socket:
    """A client that has sent a request and has read only the beginning of its response."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert client.recv(12).endswith(b"200")
    return client


def test_a_client_that_reads_slowly_keeps_its_connection(server):
    served, port = server
    client = asked_for("/actions/text", port, buffer=1 << 16)
    read = 0

    def has_read_for_seconds() -> bool:
        nonlocal read
        read += len(client.recv(8000))
        return read > 1_200_000

    wait_until(has_read_for_seconds, "a slow client has read a part")
    assert len(served.server_state.connections) == 1
    client.close()


def test_connections_of_clients_that_do_not_read_are_aborted(server):
    served, port = server
    reader = asked_for("/actions/text", port, buffer=1 << 20)
    clients = [asked_for(path, port) for path in ("/actions/text", "/actions/stream", "/actions/file")]
    left = SIZE

    def only_the_reader_is_left() -> bool:
        nonlocal left
        if left > 0:
            left -= len(reader.recv(1 << 18))
        return len(served.server_state.connections) == 1

    wait_until(only_the_reader_is_left, "the end of the connections of those who do not read")
    assert left <= 0
    for client in (*clients, reader):
        client.close()
