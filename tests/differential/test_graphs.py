"""Dependencies run as FastAPI runs them: same order, same clean-up, same answers, in the request's own task."""

import asyncio
import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI

from servey import Servey, Settings, WebTrigger, WebTriggerMethod, action
from tests.differential.graphs import LOG, TRAIL, Sent, graph, log

SETTINGS = Settings(env="dev", jwt_secret_key="x" * 32)


async def answer(app: Any, sent: Sent) -> dict[str, Any]:
    """What an app makes of a request: status, body, headers, and everything that its functions log."""
    LOG.clear()
    headers = [(name.encode(), value.encode()) for name, value in sent.headers.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/it",
        "raw_path": b"/it",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            log(f"answer {message['status']}")
        messages.append(message)

    async def serve() -> tuple[str, ...]:
        try:
            await app(scope, receive, send)
        except ValueError as error:
            log(f"raised {error}")
        except Exception as error:
            log(f"raised {type(error).__name__}")
        return TRAIL.get()

    trail = await asyncio.get_running_loop().create_task(serve(), name="the request")
    start = messages[0] if messages else {"status": None, "headers": []}
    body = b"".join(each.get("body", b"") for each in messages[1:])
    seen = {name.decode(): value.decode() for name, value in start["headers"] if name.startswith((b"x-n", b"x-raised"))}
    return {"status": start["status"], "body": body, "headers": seen, "log": list(LOG), "trail": trail}


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same: an error's own code and the text of an unexpected one are ours."""
    # FastAPI raises an unexpected error to the server as well; what the functions have seen is the same.
    made = {**found, "log": [line for line in found["log"] if not line.startswith("raised")]}
    if found["status"] == 422:
        made["body"] = [(each["type"], each["loc"]) for each in json.loads(found["body"])["detail"]]
    elif found["status"] == 500:
        made["body"] = None
    elif found["status"] is not None and found["status"] >= 400:
        made["body"] = json.loads(found["body"])["detail"]
    return made


async def differences(seeds: range) -> tuple[list[str], int]:
    found, compared = [], 0
    for seed in seeds:
        endpoint, requests = graph(seed)
        theirs = FastAPI()
        theirs.get("/it")(endpoint)
        ours = Servey(
            actions=[action(endpoint, name="it", triggers=WebTrigger(WebTriggerMethod.GET, "/it"))], settings=SETTINGS
        )
        async with ours.running():
            for sent in requests:
                expected = comparable(await answer(theirs, sent))
                actual = comparable(await answer(ours, sent))
                compared += 1
                if actual != expected:
                    found.append(f"seed {seed}, {sent}\n  FastAPI {expected}\n  ours    {actual}")
    return found, compared


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.timeout(180)
def test_a_sample_of_graphs():
    found, compared = asyncio.run(differences(range(150)))
    assert compared == 600
    assert not found, f"{len(found)} differences, the first of them:\n" + "\n".join(found[:3])


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_thousands_of_graphs():
    found, compared = asyncio.run(differences(range(1000, 6000)))
    assert compared == 20_000
    assert not found, f"{len(found)} differences, the first of them:\n" + "\n".join(found[:3])
