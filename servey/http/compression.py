"""Compresses large responses with gzip for clients that accept it; streams are never compressed."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable
from functools import lru_cache
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

LEAST_BYTES = 2048
"""Smaller responses do not become measurably faster."""
IN_THREAD_BYTES = 1 << 17
LEVEL = 5
_TEXTS = re.compile(
    r"text/(?!event-stream)|application/([\w.+-]+\+)?(json|xml)(;|$)|application/javascript|image/svg\+xml"
)


def takes(scope: Scope, coding: str) -> bool:
    """Whether a client accepts a content coding. Source: RFC 9110 section 12.5.3."""
    field = next((value for name, value in scope["headers"] if name == b"accept-encoding"), None)
    return field is not None and _accepts(field, coding)


def _accepts(field: bytes, coding: str) -> bool:
    accepts = _remembered if len(field) <= _REMEMBERED_BYTES else _remembered.__wrapped__
    return accepts(field, coding)


_REMEMBERED_BYTES = 200


@lru_cache(maxsize=256)
def _remembered(field: bytes, coding: str) -> bool:
    weights: dict[str, float] = {}
    for part in field.decode("latin-1").lower().split(","):
        name, _, params = part.partition(";")
        weight = re.search(r"q\s*=\s*([^;\s]*)", params)
        try:
            weights[name.strip()] = 1.0 if weight is None else float(weight[1])
        except ValueError:
            continue
    return weights.get(coding, weights.get("*", 0.0)) > 0


def with_gzip(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that compresses large responses, or the same ``send`` if the client does not accept gzip."""
    for name, field in scope["headers"]:
        if name == b"accept-encoding":
            return _Compressing(send).send if scope["method"] != "HEAD" and _accepts(field, "gzip") else send
    return send


class _Compressing:
    """Compresses one response. Its ETag becomes weak, because the bytes differ."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._compressor: Any = None

    def send(self, message: Message) -> Awaitable[None]:
        """Send one ASGI message. Most responses are small: their messages are passed on as they are."""
        if self._start is None and not (message["type"] == "http.response.start" and is_worth_it(message)):
            return self._send(message)
        return self._compress(message)

    async def _compress(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._body(message, self._start)
        else:
            # Such as `http.response.pathsend`: the server reads the file itself, so it cannot be compressed here.
            start, self._start = self._start, None
            if start is not None and self._compressor is None:
                await self._send(start)
            await self._send(message)

    async def _body(self, message: Message, start: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._compressor is None:
            self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
            headers = MutableHeaders(raw=list(start["headers"]))
            headers["content-encoding"] = "gzip"
            headers.add_vary_header("Accept-Encoding")
            for name in ("content-length", "accept-ranges"):
                if name in headers:
                    del headers[name]
            if headers.get("etag", "").startswith('"'):
                headers["etag"] = f"W/{headers['etag']}"
            if not more:
                body = await self._compressed(body, more)
                headers["content-length"] = str(len(body))
            await self._send({**start, "headers": headers.raw})
            if not more:
                await self._send({**message, "body": body})
                return
        await self._send({**message, "body": await self._compressed(body, more)})

    async def _compressed(self, body: bytes, more: bool) -> bytes:
        def compress() -> bytes:
            part: bytes = self._compressor.compress(body)
            return part if more else part + self._compressor.flush()

        return compress() if len(body) < IN_THREAD_BYTES else await asyncio.to_thread(compress)


def is_worth_it(start: Message) -> bool:
    """Whether a response is a large, complete text that is not compressed yet."""
    for name, value in start["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) < LEAST_BYTES:
            return False
    headers = {name.lower(): value for name, value in start["headers"]}
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or int(length) < LEAST_BYTES or start["status"] in (204, 206, 304):
        return False
    if b"content-encoding" in headers or b"content-range" in headers:
        return False
    if b"no-transform" in headers.get(b"cache-control", b""):
        return False
    return _TEXTS.match(headers.get(b"content-type", b"").decode("latin-1").lower()) is not None
