"""Real servers with event channels, and tokens for them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from servey import Authorization, Settings
from servey.auth.tokens import authorizer_of
from tests.serving import Server, free_port, serve, started

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
APP = "tests.ws.app:servey_app"
ENV = {"JWT_SECRET_KEY": SECRET, "SERVEY_CORS_ALLOWED_ORIGINS": "https://good.example", "SERVEY_ENV": "dev"}

PROTOCOL = ["--ws", "servey.ws.fanout:FanoutProtocol"]


def token(subject: str | None = "ada", *scopes: str, seconds: float = 60) -> str:
    """A token that the tests' app takes."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    signer = authorizer_of(Settings(jwt_secret_key=SECRET))
    return signer.sign(Authorization(subject, frozenset(scopes), expire_at=until), lifetime=seconds)


@pytest.fixture(scope="session", params=["uvicorn", "servey's protocol"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The tests' app, under plain uvicorn and with Servey's own websocket protocol."""
    with serve(APP, words=[] if request.param == "uvicorn" else PROTOCOL, **ENV) as server:
        yield server


def run_server(**env: str):
    """The tests' app under `servey run`."""
    port = free_port()
    production = {**ENV, "SERVEY_ENV": "prod", "SERVEY_DRAIN": "0", **env}
    return started(["-m", "servey", "run", APP, "--port", str(port)], port, **production)


def open_socket(server: Server, path: str = "", **options) -> ClientConnection:
    """A websocket below /subscription."""
    return connect(f"ws://127.0.0.1:{server.port}/subscription{path}", open_timeout=10, **options)


def publish(server: Server, channel: str, event: object, **to: str) -> None:
    """Publishes by an action over REST."""
    answer = httpx.post(f"{server.url}/actions/publish", json={"channel": channel, "event": event, **to})
    assert answer.status_code == 200, answer.text


def ask(socket: ClientConnection, **frame: object) -> dict:
    """The answer to a frame."""
    socket.send(json.dumps(frame))
    return received(socket)


def received(socket: ClientConnection) -> dict:
    """The next frame."""
    return json.loads(socket.recv(timeout=5))
