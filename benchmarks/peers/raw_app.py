"""A bare ASGI callable: the floor under every framework, for the one case that it answers."""

from typing import Any
from urllib.parse import parse_qs

from pydantic_core import to_json


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = to_json(f"Hello {parse_qs(scope['query_string'].decode())['name'][0]}!")
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
