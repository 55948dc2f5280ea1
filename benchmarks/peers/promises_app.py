"""The bare ASGI callable with Servey's guarantees for each request: an id, a deadline, a limit on requests in flight."""

import asyncio
import uuid
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import to_json

IN_FLIGHT = 0


async def work(name: str) -> str:
    return f"Hello {name}!"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global IN_FLIGHT
    if scope["type"] != "http":
        return
    if scope["path"] != "/actions/hello" or IN_FLIGHT >= 500:
        raise RuntimeError
    IN_FLIGHT += 1
    try:
        request_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        if request_id is None:
            request_id = uuid.uuid4().hex.encode()
        query = dict(parse_qsl(scope["query_string"].decode()))
        async with asyncio.timeout(15):
            body = to_json(await work(query["name"]))
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
            (b"x-request-id", request_id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    finally:
        IN_FLIGHT -= 1
