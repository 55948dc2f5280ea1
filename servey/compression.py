"""Large answers gzipped, for clients that say they take that. Streams are not: their parts have to arrive as they come."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

from servey.web import header

LEAST_BYTES = 2048
"""Below this it saves nothing that a network would notice."""
IN_THREAD_BYTES = 1 << 17
LEVEL = 5
_TEXTS = re.compile(
    r"text/(?!event-stream)|application/([\w.+-]+\+)?(json|xml)(;|$)|application/javascript|image/svg\+xml"
)


def takes(scope: Scope, coding: str) -> bool:
    """Whether a client says that it takes a content coding. Source: RFC 9110 section 12.5.3."""
    field = header(scope, b"accept-encoding")
    if field is None:
        return False
    weights: dict[str, float] = {}
    for part in field.lower().split(","):
        name, _, params = part.partition(";")
        weight = re.search(r"q\s*=\s*([^;\s]*)", params)
        try:
            weights[name.strip()] = 1.0 if weight is None else float(weight[1])
        except ValueError:
            continue
    return weights.get(coding, weights.get("*", 0.0)) > 0


def with_gzip(scope: Scope, send: Send) -> Send:
    """The same ``send``, which compresses answers worth it; the very same for clients that do not take gzip."""
    for name, _ in scope["headers"]:
        if name == b"accept-encoding":
            break
    else:
        return send  # most programs, which every call of theirs must not pay for
    if scope["method"] == "HEAD" or not takes(scope, "gzip"):
        return send
    return _Compressing(send).send


class _Compressing:
    """One answer; its ETag, if any, becomes a weak one, since its bytes are others."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._compressor: Any = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if is_worth_it(message):
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._body(message, self._start)
            return
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
    """Whether an answer is text, whole, large, and not compressed already."""
    headers = {name.lower(): value for name, value in start["headers"]}
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or int(length) < LEAST_BYTES or start["status"] in (204, 206, 304):
        return False
    if b"content-encoding" in headers or b"content-range" in headers:
        return False
    if b"no-transform" in headers.get(b"cache-control", b""):
        return False
    return _TEXTS.match(headers.get(b"content-type", b"").decode("latin-1").lower()) is not None
