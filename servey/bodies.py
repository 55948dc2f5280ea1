"""The bytes of a request's body, within their limits, and as JSON."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable
from types import CoroutineType
from typing import Any

from pydantic_core import from_json
from starlette.types import Message, Receive

from servey.errors import ActionError, InvalidParams
from servey.limits import check_length, read_body
from servey.steps import rest_of


def parse_json(raw: bytes) -> Any:
    """JSON from bytes; ``NaN`` and ``Infinity`` are none. Errors: InvalidParams of type ``json_invalid``."""
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        text = str(error)
        place = re.search(r" at line (\d+) column (\d+)$", text)
        loc: list[str | int] = ["body"]
        if place is not None:
            line, column = int(place[1]), int(place[2])
            loc.append(sum(len(each) + 1 for each in raw.split(b"\n")[: line - 1]) + column - 1)
            text = text[: place.start()]
        problem = {"type": "json_invalid", "loc": loc, "msg": "JSON decode error", "input": {}, "ctx": {"error": text}}
        raise InvalidParams([problem]) from None


async def body_chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The parts of a body as they come. Errors: ActionError 400 where the client leaves before its end."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ActionError(400, "http_400", "The request body ended early")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def whole_body(receive: Receive, *, length: str | None, limit_bytes: int, timeout: float) -> bytes:
    """A request's body within its limits; no timer is armed for one that is there already.

    Errors: those of `read_body` and of `body_chunks`.
    """
    check_length(length, limit_bytes)
    first: Any = receive()
    if isinstance(first, CoroutineType):
        try:
            first = rest_of(first, first.send(None))
        except StopIteration as done:
            message: Message = done.value
            raw: bytes = message.get("body", b"")
            if message["type"] == "http.request" and not message.get("more_body") and len(raw) <= limit_bytes:
                return raw
            first = _ready(message)
    chunks = body_chunks(_begun(first, receive))
    return await read_body(chunks, length=length, limit_bytes=limit_bytes, timeout=timeout)


async def _ready(message: Message) -> Message:
    return message


def _begun(first: Awaitable[Message], receive: Receive) -> Receive:
    """The same ``receive``, whose first message is being waited for already."""
    waiting: list[Awaitable[Message]] = [first]

    async def next_message() -> Message:
        return await (waiting.pop() if waiting else receive())

    return next_message
