"""Requests of API Gateway (REST and HTTP), Function URLs and load balancers, answered by the app itself through Mangum.

Mangum makes an ASGI request of an event and an event's answer of an ASGI answer. What it leaves to others is done here:
the path and the query string as the client wrote them, the end of the function's time, streams, and answers that are
larger than Lambda gives out.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from mangum import Mangum
from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servey.errors import ActionError, ActionTimeout
from servey.web import JSON, Answer, error_response, request_id_of

logger = logging.getLogger("servey")

TEXT_TYPES = [
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/jsonl",
    "+json",
    "+xml",
]
"""Media types whose bytes are handed over as text; everything else goes as base64."""

STREAM_TYPES = (b"text/event-stream", b"application/jsonl", b"multipart/mixed")

LARGEST_ANSWER_BYTES = 6 * 1024 * 1024
"""Source: Lambda quotas, synchronous invocations. The whole answer counts, its frame and base64 too."""

_RESERVE_SECONDS = 0.5
"""What is kept of a function's time to give an answer that says that it is over."""

_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"


class Requests:
    """Answers requests; ``app`` is any ASGI app, and ``state`` what its lifespan has given."""

    def __init__(self, app: ASGIApp, state: Mapping[str, Any]) -> None:
        self._app = app
        self._state = state
        self._mangum = Mangum(self._answer, lifespan="off", text_mime_types=TEXT_TYPES)
        self._has_type = False

    def __call__(self, event: Mapping[str, Any], lambda_context: Any) -> dict[str, Any]:
        """The answer to one request, in the shape that its gateway wants."""
        if event.get("isBase64Encoded") and not _is_base64(event.get("body")):
            event = {**event, "body": None, "isBase64Encoded": False, "servey.bad_body": True}
        answer: dict[str, Any] = self._mangum(_complete(event), lambda_context)
        if _is_too_large(answer):
            logger.error("an answer is over the %d bytes that Lambda gives out", LARGEST_ANSWER_BYTES)
            text = f"The answer is over the {LARGEST_ANSWER_BYTES} bytes that an AWS Lambda function can give"
            answer = _error_event(ActionError(500, "internal", text), like=answer)
        elif not self._has_type and answer.get("headers"):
            # Mangum calls an answer of an HTTP API that has no type JSON.
            answer["headers"] = {key: value for key, value in answer["headers"].items() if key != "content-type"}
        return answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        event, lambda_context = scope["aws.event"], scope["aws.context"]
        scope["state"] = dict(self._state)
        _correct(scope, event)

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._has_type = any(key.lower() == b"content-type" for key, _ in message.get("headers", ()))
            await send(message)

        gate = _Gate(scope, note)
        if "servey.bad_body" in event:
            await error_response(ActionError(400, "http_400", "The body is not base64"))(scope, receive, gate.pass_on)
            return
        seconds = seconds_left(lambda_context)
        try:
            async with asyncio.timeout(seconds):
                await gate.run(self._app, receive)
        except TimeoutError:
            if gate.started:
                raise
            await error_response(ActionTimeout(round(seconds or 0, 1)))(scope, receive, gate.pass_on)


class _Gate:
    """Lets one answer through, unless it is a stream, which nothing here could pass on bit by bit."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._answer = Answer(scope, send, request_id_of(scope))
        self._stream: asyncio.Event = asyncio.Event()

    @property
    def started(self) -> bool:
        """Whether an answer has begun."""
        return self._answer.started

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        """Has the app answer; a stream is given up as soon as it shows itself, and a sentence sent instead."""
        answering = asyncio.ensure_future(_run(app, self._scope, receive, self._pass_on_whole))
        streaming = asyncio.ensure_future(self._stream.wait())
        try:
            await asyncio.wait({answering, streaming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            streaming.cancel()
            if not answering.done():
                answering.cancel()
                await asyncio.wait({answering})
        if self._stream.is_set():
            text = "An AWS Lambda function gives its answer whole, so that this stream is not served here"
            await error_response(ActionError(501, "not_implemented", text))(self._scope, receive, self.pass_on)
        elif not answering.cancelled():
            answering.result()

    async def _pass_on_whole(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_stream(message):
            self._stream.set()
            await asyncio.Event().wait()  # until it is cancelled
        await self.pass_on(message)

    async def pass_on(self, message: Message) -> None:
        """Sends one ASGI message."""
        if message["type"] == "http.response.start":
            message["headers"] = [(key, _as_utf8(value)) for key, value in message.get("headers", ())]
        await self._answer.send(message)


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def _is_stream(start: Message) -> bool:
    return any(
        key.lower() == b"content-type" and value.lower().startswith(STREAM_TYPES)
        for key, value in start.get("headers", ())
    )


def _as_utf8(value: bytes) -> bytes:
    """A header's value as Mangum reads it; HTTP's own Latin-1 may be no UTF-8."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value


def _complete(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event with what Mangum can not do without."""
    made = {key: value for key, value in event.items() if value is not None}
    for name in ("headers", "multiValueHeaders"):
        if name in made:
            made[name] = {key: value for key, value in made[name].items() if value is not None}
    context = made["requestContext"]
    if isinstance(context.get("http"), Mapping):
        made["version"] = "2.0"
        made.setdefault("headers", {})
        made["requestContext"] = {
            **context,
            "http": {"sourceIp": None, "path": "/", "method": "GET", **context["http"]},
        }
    elif "elb" not in context:
        made.setdefault("resource", "/{proxy+}")
        made.pop("version", None)
        made["requestContext"] = {**context, "identity": context.get("identity") or {}}
    elif "multiValueHeaders" not in made:
        made.setdefault("headers", {})
    return made


def _correct(scope: Scope, event: Mapping[str, Any]) -> None:
    """Gives the scope the path as the client wrote it.

    An HTTP API has decoded it once; a REST API, a Function URL and a load balancer pass it on encoded. Below a stage the
    stage belongs to ``root_path``, so that the app knows under which address it is asked.
    """
    context = event["requestContext"]
    root = ""
    if "http" in context:
        raw = event.get("rawPath") or context["http"]["path"]
        if ".lambda-url." not in str(context.get("domainName")):
            raw = quote(raw, safe=_PATH_CHARACTERS)
        stage = str(context.get("stage") or "$default")
        if stage != "$default" and (raw == f"/{stage}" or raw.startswith(f"/{stage}/")):
            root = f"/{stage}"
    else:
        raw = event["path"] or "/"
        whole = str(context.get("path") or raw)
        if "elb" not in context and whole != raw and whole.endswith(raw.rstrip("/")):
            root = whole[: len(whole) - len(raw.rstrip("/"))].rstrip("/")
            raw = root + raw
    scope["raw_path"] = raw.encode("ascii", "replace")
    scope["path"] = unquote(raw)
    scope["root_path"] = root


def seconds_left(lambda_context: Any) -> float | None:
    """How long the function may still take, with a reserve for an answer; None where no one says."""
    remaining = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return None if remaining is None else max(0.05, remaining() / 1000 - _RESERVE_SECONDS)


def _is_base64(body: Any) -> bool:
    try:
        b64decode(body or "")
    except (binascii.Error, ValueError, TypeError):
        return False
    return True


def _is_too_large(answer: Mapping[str, Any]) -> bool:
    # JSON writes a character of text in 6 bytes at most, so that small ones need not be written to be measured.
    if len(answer.get("body") or "") * 6 < LARGEST_ANSWER_BYTES - 64 * 1024:
        return False
    return len(to_json(answer)) > LARGEST_ANSWER_BYTES


def _error_event(error: ActionError, *, like: Mapping[str, Any]) -> dict[str, Any]:
    made = {**like, "statusCode": error.status, "body": to_json(error.body()).decode(), "isBase64Encoded": False}
    for name in ("headers", "multiValueHeaders"):
        if name in made:
            made[name] = {key: value for key, value in made[name].items() if key == "x-request-id"}
    if "headers" in made:
        made["headers"]["content-type"] = JSON
    else:
        made["multiValueHeaders"]["content-type"] = [JSON]
    return made
