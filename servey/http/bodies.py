"""Reads a request's body within its limits and parses it as JSON, or as a form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from json import detect_encoding
from types import CoroutineType
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.types import Message, Receive

from servey.calls.steps import resume_coroutine
from servey.core.errors import ActionError, InvalidParams, TooLarge, UnsupportedMediaType

_CHARSETS = ("", "utf-8", "utf8", "us-ascii")


def check_charset(content_type: str | None) -> None:
    """Refuse a form in another charset than UTF-8: some of Python's codecs are slow or decode to half a surrogate pair.

    Source: RFC 7578 section 5.1.2 (multipart fields are UTF-8 by default). Errors: UnsupportedMediaType.
    """
    for parameter in (content_type or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip("\"'").lower() not in _CHARSETS:
            raise UnsupportedMediaType(content_type or "", "a form in UTF-8")


async def read_form(request: Request, *, max_fields: int = 1000) -> FormData:
    """Return the form of a request. Errors: UnsupportedMediaType for another charset than UTF-8."""
    check_charset(request.headers.get("content-type"))
    return await request.form(max_fields=max_fields)


def parse_json(raw: bytes) -> Any:
    """Parse JSON; ``NaN`` and ``Infinity`` are invalid. Errors: InvalidParams of type ``json_invalid``."""
    encoding = detect_encoding(raw)
    if encoding != "utf-8":
        raw = raw.decode(encoding, "replace").encode()  # with a byte order mark, or in UTF-16 or UTF-32
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


def parsed_or_text(raw: bytes) -> Any:
    """Return the JSON value of a body, or its text if it is not JSON, or None if it is empty."""
    try:
        return parse_json(raw) if raw else None
    except InvalidParams:
        return raw.decode(errors="replace")


async def body_chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the chunks of a body. Errors: ActionError 400 if the client disconnects before the end."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ActionError(400, "http_400", "The request body ended early")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def check_length(length: str | None, limit_bytes: int) -> None:
    """Reject a body whose ``Content-Length`` is over the limit. Errors: TooLarge; ActionError 400 if it is not a number."""
    if length is None:
        return
    if not (length.isascii() and length.isdigit()):
        raise ActionError(400, "http_400", "The Content-Length is not a number")
    if int(length[:20]) > limit_bytes:
        raise TooLarge(limit_bytes)


async def read_body(chunks: AsyncIterator[bytes], *, length: str | None, limit_bytes: int, timeout: float) -> bytes:
    """Read a request's body within its limits; ``length`` is its ``Content-Length``.

    Errors: TooLarge as soon as the limit is exceeded; ActionError 408 if the client is too slow.
    """
    check_length(length, limit_bytes)
    parts: list[bytes] = []
    total = 0
    try:
        async with asyncio.timeout(timeout):
            async for chunk in chunks:
                total += len(chunk)
                if total > limit_bytes:
                    raise TooLarge(limit_bytes)
                parts.append(chunk)
    except TimeoutError:
        raise ActionError(408, "http_408", f"The request body did not arrive within {timeout:g} s") from None
    return b"".join(parts)


async def whole_body(receive: Receive, *, length: str | None, limit_bytes: int, timeout: float) -> bytes:
    """Read a request's body within its limits, without a timer if it has already arrived.

    Errors: those of `read_body` and `body_chunks`.
    """
    check_length(length, limit_bytes)
    first: Any = receive()
    if isinstance(first, CoroutineType):
        try:
            first = resume_coroutine(first, first.send(None))
        except StopIteration as done:
            message: Message = done.value
            raw: bytes = message.get("body", b"")
            if message["type"] == "http.request" and not message.get("more_body") and len(raw) <= limit_bytes:
                return raw
            first = _ready(message)
    chunks = body_chunks(_resumed(first, receive))
    return await read_body(chunks, length=length, limit_bytes=limit_bytes, timeout=timeout)


async def _ready(message: Message) -> Message:
    return message


def _resumed(first: Awaitable[Message], receive: Receive) -> Receive:
    """Return a ``receive`` whose first message is already awaited."""
    waiting: list[Awaitable[Message]] = [first]

    async def next_message() -> Message:
        return await (waiting.pop() if waiting else receive())

    return next_message
