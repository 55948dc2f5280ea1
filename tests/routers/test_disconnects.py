"""A client that disconnects while its call runs: `action(cancel_on_disconnect=True)`."""

import socket

import httpx
import pytest

from servey import ConfigError, action
from tests.serving import free_port, started, wait_until

ACTIONS = """
import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from servey import WEB_GET, WEB_POST, action

EVENTS: list[str] = []

async def session() -> AsyncIterator[str]:
    EVENTS.append("open")
    try:
        yield "session"
    finally:
        await asyncio.sleep(0)
        EVENTS.append("closed")

async def search(name: str) -> str:
    EVENTS.append(f"{name} begins")
    try:
        for _ in range(100):
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        EVENTS.append(f"{name} is cancelled")
        raise
    EVENTS.append(f"{name} ends")
    return name

@action(triggers=WEB_GET, cancel_on_disconnect=True)
async def cancelled(session: Annotated[str, Depends(session)]) -> str:
    return await search("cancelled")

@action(triggers=WEB_POST, cancel_on_disconnect=True)
async def posted(number: int) -> int:
    return len(await search("posted")) + number

@action(triggers=WEB_GET)
async def kept() -> str:
    return await search("kept")

@action(triggers=WEB_GET, cancel_on_disconnect=True)
async def quick(fails: bool = False) -> str:
    if fails:
        raise asyncio.CancelledError
    return "quick"

@action(triggers=WEB_GET)
async def events() -> list[str]:
    return EVENTS
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "actions.py").write_text(ACTIONS, encoding="utf-8")
    port = free_port()
    with started(["-m", "servey", "run", "--port", str(port)], port, cwd=folder) as server:
        yield server


def leave(server, request, begun):
    """Send a request, and disconnect when its function has begun."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request)
        wait_until(lambda: begun in events(server), begun)


def events(server):
    return httpx.get(f"{server.url}/actions/events", timeout=20).json()


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def test_a_call_is_cancelled_and_its_dependencies_are_closed(server):
    before = server.log.read_text(encoding="utf-8").count("Traceback")  # of another test
    leave(server, get("/actions/cancelled"), "cancelled begins")
    wait_until(lambda: "closed" in events(server), "the end")
    seen = [each for each in events(server) if not each.startswith(("posted", "kept"))]
    assert seen == ["open", "cancelled begins", "cancelled is cancelled", "closed"]
    wait_until(lambda: "GET /actions/cancelled 499" in server.log.read_text(encoding="utf-8"), "the line of the log")
    assert server.log.read_text(encoding="utf-8").count("Traceback") == before


def test_a_call_with_a_body_too(server):
    body = b"POST /actions/posted HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
    leave(server, body.replace(b"Host: a", b"Host: 127.0.0.1") + b'{"number":1}', "posted begins")
    wait_until(lambda: "posted is cancelled" in events(server), "the cancellation")


def test_other_calls_run_to_their_end(server):
    leave(server, get("/actions/kept"), "kept begins")
    wait_until(lambda: "kept ends" in events(server), "the end")


def test_a_client_that_stays_gets_its_answer(server):
    assert httpx.get(f"{server.url}/actions/quick", timeout=20).json() == "quick"


def test_a_cancellation_of_the_functions_own_is_an_error(server):
    assert httpx.get(f"{server.url}/actions/quick?fails=true", timeout=20).status_code == 500


def test_only_a_boolean_turns_it_on():
    with pytest.raises(ConfigError, match="cancel_on_disconnect is 'yes'; write True or False"):

        @action(cancel_on_disconnect="yes")  # type: ignore[call-overload]
        async def wrong() -> None: ...
