"""HTTP requests from API Gateway (REST and HTTP APIs), Function URLs and load balancers, through Mangum.

Mangum converts an event to an ASGI request, and the ASGI response to the format of the gateway. This module adds the raw
path and query string as the client sent them, the function's timeout, and clear errors for streams and for responses
that are larger than Lambda allows.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote, unquote

from mangum import Mangum
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servey.aws.claims import GatewayAuthorizer, verified_by_gateway
from servey.core.errors import ActionError, ActionTimeout, internal_error
from servey.http.web import JSON, Answer, json_response, request_id_of

logger: logging.Logger = logging.getLogger("servey")

TEXT_TYPES = [
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/jsonl",
    "+json",
    "+xml",
]
"""Media types whose bodies are returned as text; every other body is returned as base64."""

STREAM_TYPES = (b"text/event-stream", b"application/jsonl", b"multipart/mixed")

LARGEST_RESPONSE_BYTES = 6 * 1024 * 1024
"""Source: Lambda quotas, synchronous invocations. The limit counts the whole JSON, with headers and base64."""
LARGEST_BALANCED_BYTES = 1024 * 1024
"""Source: Elastic Load Balancing user guide, "Lambda functions as targets", limits."""

_RESERVE_SECONDS = 0.5
"""Time reserved at the end of an invocation to send the timeout error."""

_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"


class StreamSink(Protocol):
    """Where the ASGI messages of a streamed response go."""

    @property
    def is_open(self) -> bool:
        """Whether the response has started and has not ended."""
        ...

    async def send(self, message: Message) -> None:
        """Send one message."""
        ...

    async def end(self, error: BaseException | None = None) -> None:
        """End the response; with an error, it is not complete."""
        ...


class Requests:
    """Handles HTTP events. ``app`` is any ASGI app; ``state`` is the state of its lifespan.

    With ``authorizer``, callers that API Gateway has verified need no token; ``scheme`` is one of the accepted schemes of
    the ``Authorization`` header.
    """

    def __init__(
        self,
        app: ASGIApp,
        state: Mapping[str, Any],
        authorizer: GatewayAuthorizer | None = None,
        scheme: str = "Bearer",
    ) -> None:
        self._app = app
        self._state = state
        self._authorizer = authorizer
        self._scheme = scheme
        self._mangum = Mangum(self._answer, lifespan="off", text_mime_types=TEXT_TYPES)
        self._has_content_type = False

    def __call__(self, event: Mapping[str, Any], lambda_context: Any) -> dict[str, Any]:
        """Return the response to one request, in the format of its gateway."""
        answer: dict[str, Any] = self._mangum(_complete(_readable(event)), lambda_context)
        is_balanced = "elb" in event["requestContext"]
        limit = LARGEST_BALANCED_BYTES if is_balanced else LARGEST_RESPONSE_BYTES
        if _is_too_large(answer, limit):
            whose = "the load balancer's" if is_balanced else "AWS Lambda's"
            logger.error("a response is larger than %s limit of %d bytes", whose, limit)
            text = f"The response is larger than {whose} limit of {limit} bytes"
            answer = _error_event(ActionError(500, "internal", text), like=answer)
        elif not self._has_content_type and answer.get("headers"):
            # For an HTTP API, Mangum adds a JSON content type to a response that has none.
            answer["headers"] = {key: value for key, value in answer["headers"].items() if key != "content-type"}
        return answer

    async def stream(self, event: Mapping[str, Any], lambda_context: Any, sink: StreamSink) -> None:
        """Send the response to one request of a Function URL while the app makes it.

        Lambda does not say when the client has left. Shortly before the function's timeout an event stream ends, because
        its clients connect again; any other stream breaks off.
        """
        handler = self._mangum.infer(_complete(_readable(event)), lambda_context)
        messages: list[Message] = [{"type": "http.request", "body": handler.body, "more_body": False}]
        started = is_event_stream = False

        async def receive() -> Message:
            if not messages:
                await asyncio.Event().wait()  # until it is cancelled
            return messages.pop()

        async def send(message: Message) -> None:
            nonlocal started, is_event_stream
            if message["type"] == "http.response.start":
                started = True
                is_event_stream = _is_stream(message, (b"text/event-stream",))
            await sink.send(message)

        try:
            await self._answer(handler.scope, receive, send, can_stream=True)
            if not started:
                raise RuntimeError("the app has sent no response")
            if sink.is_open:
                # The error has been handled, and its response cannot be completed.
                await sink.end(RuntimeError("the response is not complete"))
        except Exception as error:
            if sink.is_open and isinstance(error, TimeoutError) and is_event_stream:
                await sink.end()
                return
            logger.exception("a request to the function's URL failed")
            if not started:
                await _response(internal_error())(handler.scope, receive, sink.send)
            elif sink.is_open:
                await sink.end(error)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, can_stream: bool = False) -> None:
        event, lambda_context = scope["aws.event"], scope["aws.context"]
        scope["state"] = dict(self._state)
        scope["servey.is_buffered"] = not can_stream
        _correct(scope, event)
        _identify(scope, lambda_context)

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._has_content_type = any(key.lower() == b"content-type" for key, _ in message.get("headers", ()))
            await send(message)

        gate = _Gate(scope, note, can_stream=can_stream)
        if "servey.bad_body" in event:
            await _response(ActionError(400, "http_400", "The body is not base64"))(scope, receive, gate.send)
            return
        seconds = seconds_left(lambda_context)
        try:
            async with asyncio.timeout(seconds):
                with self._verified(scope, event):
                    await gate.run(self._app, receive)
        except TimeoutError:
            if gate.started:
                raise
            await _response(ActionTimeout(round(seconds or 0, 1)))(scope, receive, gate.send)

    @contextmanager
    def _verified(self, scope: Scope, event: Mapping[str, Any]) -> Iterator[None]:
        """Replace the token of a request whose caller API Gateway has verified."""
        authorization = verified_by_gateway(event) if self._authorizer is not None else None
        if self._authorizer is None or authorization is None:
            yield
            return
        with self._authorizer.verified(authorization) as token:
            kept = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            scope["headers"] = [*kept, (b"authorization", f"{self._scheme} {token}".encode())]
            yield


def _response(error: ActionError) -> Response:
    return json_response(error.body(), error.status, {"Cache-Control": "no-store", **error.headers})


class _Gate:
    """Sends one response, or an error if the response is a stream and cannot be one here."""

    def __init__(self, scope: Scope, send: Send, *, can_stream: bool) -> None:
        self._scope = scope
        self._can_stream = can_stream
        self._answer = Answer(scope, send, request_id_of(scope))
        self._stream: asyncio.Event = asyncio.Event()

    @property
    def started(self) -> bool:
        """Whether the response has started."""
        return self._answer.started

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        """Run the app. If the response is a stream, cancel the app at once and send a 501 error."""
        running = asyncio.ensure_future(_run(app, self._scope, receive, self._send_unless_stream))
        streaming = asyncio.ensure_future(self._stream.wait())
        try:
            await asyncio.wait({running, streaming}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            streaming.cancel()
            if not running.done():
                running.cancel()
                await asyncio.wait({running})
        if self._stream.is_set():
            text = "Streaming responses are not supported on AWS Lambda"
            await _response(ActionError(501, "not_implemented", text))(self._scope, receive, self.send)
        elif not running.cancelled():
            running.result()

    async def _send_unless_stream(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._can_stream and _is_stream(message, STREAM_TYPES):
            self._stream.set()
            await asyncio.Event().wait()  # until it is cancelled
        await self.send(message)

    async def send(self, message: Message) -> None:
        """Send one ASGI message."""
        if message["type"] == "http.response.start":
            message["headers"] = [(key, _as_utf8(value)) for key, value in message.get("headers", ())]
        await self._answer.send(message)


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def _is_stream(start: Message, types: tuple[bytes, ...]) -> bool:
    return any(
        key.lower() == b"content-type" and value.lower().startswith(types) for key, value in start.get("headers", ())
    )


def _as_utf8(value: bytes) -> bytes:
    """Encode a header's value as UTF-8, which Mangum expects; HTTP allows Latin-1."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value


def _readable(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the event without a body that is not the base64 which it says it is; the request then gets 400."""
    if not event.get("isBase64Encoded") or _is_base64(event.get("body")):
        return event
    return {**event, "body": None, "isBase64Encoded": False, "servey.bad_body": True}


def _complete(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event with the fields that Mangum requires."""
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
    """Set the scope's path to the path that the client sent.

    An HTTP API decodes the path; a REST API, a Function URL and a load balancer do not. A stage in the path becomes part
    of ``root_path``, so that the app creates correct URLs.
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
    if "elb" in context:
        # A load balancer appends its client to what the client sent.
        given = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        scope["client"] = (given[-1].decode("latin-1").rpartition(",")[2].strip() if given else "", 0)


def _identify(scope: Scope, lambda_context: Any) -> None:
    """Give a request without an id that of its invocation, by which CloudWatch finds the other lines of Lambda.

    It becomes a header, because the app reads the id there in each of its forms.
    """
    invocation = str(getattr(lambda_context, "aws_request_id", "") or "")
    if invocation and not any(name == b"x-request-id" for name, _ in scope["headers"]):
        scope["headers"] = [*scope["headers"], (b"x-request-id", invocation.encode("latin-1", "replace"))]


def seconds_left(lambda_context: Any) -> float | None:
    """Return the remaining seconds of the invocation, minus a reserve for the response; None without a Lambda context."""
    remaining = getattr(lambda_context, "get_remaining_time_in_millis", None)
    return None if remaining is None else max(0.05, remaining() / 1000 - _RESERVE_SECONDS)


def _is_base64(body: Any) -> bool:
    try:
        b64decode(body or "")
    except (binascii.Error, ValueError, TypeError):
        return False
    return True


def _is_too_large(answer: Mapping[str, Any], limit: int) -> bool:
    # A character takes at most 6 bytes in JSON, so a short body needs no serialization to be measured.
    if len(answer.get("body") or "") * 6 < limit - 64 * 1024:
        return False
    return len(to_json(answer)) > limit


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
