"""`servey run --server granian`: the same requests, websockets, limits and shutdown as with uvicorn."""

import signal
import socket

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from servey import granian_server
from servey.core.errors import ConfigError
from tests.serving import free_port, launched, listens_at, run, started, wait_until

pytestmark = pytest.mark.slow

ACTIONS = """
import asyncio
from collections.abc import AsyncIterator
from fastapi import Request, WebSocket
from fastapi.responses import FileResponse
from servey import *

@action(triggers=WEB_GET)
async def version() -> int:
    return 1

@action(triggers=WEB_GET)
async def client_host(request: Request) -> str:
    return f"{request.client.host} {request.scope['scheme']}"

@action(triggers=WEB_GET)
async def port(request: Request) -> int:
    assert isinstance(request.scope["server"][1], int)
    return request.client.port  # text would be an error

@action(triggers=WEB_GET)
async def source() -> FileResponse:
    return FileResponse(__file__)

@action(triggers=WEB_GET)
async def endless() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(3600)

@action(triggers=WEB_GET, timeout=60)
async def slow(seconds: float) -> str:
    print("has begun", flush=True)
    await asyncio.sleep(seconds)
    return "done"

@action(triggers=WEB_GET)
async def frozen() -> int:
    import gc
    return gc.get_freeze_count()

servey_app = create_app(actions=[version, frozen, client_host, port, source, endless, slow])

@servey_app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        async for text in websocket.iter_text():
            await websocket.send_text(text)
    finally:
        print("handler has ended", flush=True)
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "app.py").write_text(f"{ACTIONS}# {'x' * 2048}\n", encoding="utf-8")  # large enough to be compressed
    return tmp_path


def words(port, *more):
    return ["-m", "servey", "run", "app:servey_app", "--server", "granian", "--port", str(port), *more]


def log_of(server):
    return server.log.read_text(encoding="utf-8")


def test_it_serves_requests_streams_and_websockets(project):
    port = free_port()
    with started(words(port), port, cwd=project) as server:
        assert httpx.get(f"{server.url}/actions/version").json() == 1
        assert httpx.get(f"{server.url}/health/ready").json() == {"status": "ok"}
        forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        assert httpx.get(f"{server.url}/actions/client-host", headers=forwarded).json() == "203.0.113.9 https"
        assert httpx.get(f"{server.url}/actions/port").json() > 1023
        assert (
            httpx.get(f"{server.url}/actions/frozen").json() > 10_000
        )  # objects of the start, left out of collections
        source = httpx.get(f"{server.url}/actions/source")
        assert source.text == (project / "app.py").read_text(encoding="utf-8")
        assert source.headers["content-encoding"] == "gzip"
        with connect(f"ws://127.0.0.1:{port}/echo") as websocket:
            websocket.send("x" * (1 << 20))
            assert len(websocket.recv()) == 1 << 20
            websocket.send("x" * ((1 << 20) + 1))
            with pytest.raises(ConnectionClosed) as closed:
                websocket.recv()
        assert closed.value.rcvd.code == 1009
        with httpx.stream("GET", f"{server.url}/actions/endless") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "1"
            assert server.end() < 5
            assert list(lines) == []  # it ended in order
        assert server.process.returncode == 0
        assert "Traceback" not in log_of(server)


def test_it_drains_after_sigterm(project):
    port = free_port()
    with started(words(port), port, cwd=project, SERVEY_DRAIN="3", SERVEY_GRACE="10") as server:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /actions/slow?seconds=4 HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: "has begun" in log_of(server), "the request")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: httpx.get(f"{server.url}/health/ready").status_code == 503, "the drain time")
            answer = httpx.get(f"{server.url}/actions/version")
            assert (answer.json(), answer.headers["connection"]) == (1, "close")
            assert b'"done"' in connection.makefile("rb").read()
        assert server.process.wait(10) == 0
        assert "shutting down; still serving for 3 s" in log_of(server)


def test_a_second_signal_skips_the_drain_time_and_requests_end_with_the_grace_period(project):
    port = free_port()
    with started(words(port), port, cwd=project, SERVEY_DRAIN="60", SERVEY_GRACE="1") as server:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /actions/slow?seconds=50 HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: "has begun" in log_of(server), "the request")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "shutting down" in log_of(server), "the drain time")
            assert server.end() < 8
        assert server.process.returncode == 0
        assert "1 requests did not end within 1 s" in log_of(server)


def test_it_listens_on_a_unix_socket_below_a_path(project):
    place = project / "web.sock"
    command = ["-m", "servey", "run", "app:servey_app", "--server", "granian"]
    with launched([*command, "--uds", str(place), "--root-path", "/shop"], cwd=project) as server:
        wait_until(lambda: listens_at(place), "the socket")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(place)), base_url="http://shop") as http:
            assert [http.get(path).status_code for path in ("/actions/version", "/shop/actions/version")] == [200, 200]
            # A client can send the first address; the last one is the proxy's own.
            forwarded = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9", "X-Forwarded-Proto": "https"}
            assert http.get("/actions/client-host", headers=forwarded).json() == "9.9.9.9 https"
            assert http.get("/actions/client-host").json() == "unix: http"
        server.end()
        assert server.process.returncode == 0
        assert not place.exists()


def test_systemd_is_told_of_start_and_stop(project):
    place = project / "notify.sock"
    port = free_port()
    command = words(port, "--host", "localhost")  # a name and not an address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place))
        listener.settimeout(30)
        with launched(command, cwd=project, NOTIFY_SOCKET=str(place), SERVEY_DRAIN="0") as server:
            assert listener.recv(100) == b"READY=1"
            assert httpx.get(f"http://127.0.0.1:{port}/actions/version").json() == 1
            server.process.send_signal(signal.SIGTERM)
            assert listener.recv(100) == b"STOPPING=1"
            assert server.process.wait(20) == 0
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.recv(100)


def test_a_call_whose_client_has_left_finishes_before_the_end(project):
    port = free_port()
    with started(words(port), port, cwd=project, SERVEY_DRAIN="0", SERVEY_GRACE="10") as server:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /actions/slow?seconds=1.5 HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: "has begun" in log_of(server), "the request")
        server.end()
        assert server.process.returncode == 0
        assert "GET /actions/slow 200" in log_of(server)


def test_an_open_websocket_of_the_app_does_not_delay_the_end(project):
    port = free_port()
    with started(words(port), port, cwd=project, SERVEY_DRAIN="0", SERVEY_GRACE="30") as server:
        with connect(f"ws://127.0.0.1:{port}/echo") as websocket:
            websocket.send("x")
            assert websocket.recv() == "x"
            assert server.end() < 8
        assert server.process.returncode == 0
        assert "handler has ended" in log_of(server)


def with_lifespan(failing):
    text = ACTIONS.replace("actions=[version", "lifespan=failing, actions=[version")
    return text.replace(
        "servey_app =", f"from contextlib import asynccontextmanager\n@asynccontextmanager\n{failing}\nservey_app ="
    )


def test_an_app_that_cannot_start_ends_the_process(project):
    failing = "async def failing(app):\n    raise LookupError('no database')\n    yield\n"
    (project / "app.py").write_text(with_lifespan(failing), encoding="utf-8")
    done = run(*words(free_port()), cwd=project)
    assert done.returncode == 1
    assert "no database" in done.stderr


def test_an_app_that_fails_while_it_stops_is_logged(project):
    failing = "async def failing(app):\n    yield\n    raise LookupError('not closed')\n"
    (project / "app.py").write_text(with_lifespan(failing), encoding="utf-8")
    port = free_port()
    with started(words(port), port, cwd=project, SERVEY_DRAIN="0") as server:
        server.end()
        assert "LookupError: not closed" in log_of(server)


@pytest.mark.parametrize(
    ("where", "workers", "error"),
    [({"port": 1}, 2, "--server granian runs one process, not --workers 2"), ({"fd": 3}, 1, "(--fd)")],
)
def test_what_it_cannot_do_is_an_error(where, workers, error):
    with pytest.raises(ConfigError) as raised:
        granian_server.check(where, workers)
    assert error in str(raised.value)


def test_an_error_is_one_line(project):
    done = run(*words(free_port(), "--workers", "2"), cwd=project)
    assert (done.returncode, done.stderr.count("\n"), done.stderr.startswith("error: --server granian")) == (1, 1, True)
