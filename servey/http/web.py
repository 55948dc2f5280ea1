"""Shared by all HTTP transports: bearer tokens, error bodies, request ids."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from servey.calls.ids import new_request_id
from servey.core.errors import ServeyError
from servey.core.settings import Settings

logger: logging.Logger = logging.getLogger("servey")

JSON = "application/json"


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a request header; the name is lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def bearer_token(scope: Scope, settings: Settings) -> str | None:
    """Return the bearer token of a request, or None.

    Source: RFC 6750 section 2.1. Two Authorization headers result in an invalid token.
    """
    values = [value for key, value in scope["headers"] if key == b"authorization"]
    return bearer_of(b", ".join(values).decode("latin-1"), settings.token_schemes) if values else None


def bearer_of(authorization: str, schemes: Collection[str]) -> str | None:
    """Return the token of an Authorization header, or None if its scheme is not one of these, in any case."""
    scheme, _, token = authorization.partition(" ")
    return token.strip(" ") if scheme in schemes or scheme.lower() in map(str.lower, schemes) else None


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
) -> Response:
    """Return a JSON response; values that are not JSON become strings."""
    if not has_body(status):
        return Response(b"", status, dict(headers))
    body = to_json(content, fallback=str, inf_nan_mode="null")
    return Response(body, status, dict(headers), media_type=JSON)


def has_body(status: int) -> bool:
    """Whether a response with this status can have a body. Source: RFC 9110 section 6.4.1."""
    return status >= 200 and status not in (204, 205, 304)


def exception_of(raised: BaseException) -> Exception:
    """Return the exception of a failed call.

    Errors: CancelledError if the request itself was cancelled.
    """
    if isinstance(raised, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0:
            raise raised
        # The action awaited something that was cancelled; the request itself was not.
        error = ServeyError("the action ended with a CancelledError of its own")
        error.__cause__ = raised
        return error
    assert isinstance(raised, Exception)
    return raised


_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}", re.ASCII)


_GIVEN_ID = "servey.given_request_id"
"""The scope key of the X-Request-ID that the request had when its id was decided."""


def request_id_of(scope: Scope) -> str:
    """Return the request id: the caller's ``X-Request-ID`` if it is safe for headers and logs, else a new one.

    A middleware may replace it, in the headers of the request or as ``request.state.request_id``.
    """
    state: dict[str, Any] = scope.setdefault("state", {})
    given = header(scope, b"x-request-id")
    is_known = "request_id" in state
    is_replaced = given is not None and given != scope.get(_GIVEN_ID, given)
    if not is_known or is_replaced:
        scope[_GIVEN_ID] = given
        if given is not None and _REQUEST_ID.fullmatch(given):
            state["request_id"] = given
        elif not is_known:
            state["request_id"] = new_request_id()
    return str(state["request_id"])


def with_request_id(send: Send, request_id: str) -> Send:
    """Return a ``send`` that adds the request id to the response."""
    own = (b"x-request-id", request_id.encode("latin-1"))

    def send_with_id(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            if own not in headers:
                message["headers"] = [*(pair for pair in headers if pair[0].lower() != b"x-request-id"), own]
        return send(message)

    return send_with_id


def with_one_request_id(send: Send, scope: Scope) -> Send:
    """Return a ``send`` that adds the request id to a response which middleware may have given one: theirs is kept, once."""
    request_id_of(scope)  # before middleware replaces it

    def send_with_id(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            own = request_id_of(scope).encode("latin-1")
            given = [value for name, value in headers if name.lower() == b"x-request-id"]
            if given != [own]:
                kept = next((value for value in reversed(given) if value != own), own)
                scope["state"]["request_id"] = kept.decode("latin-1")
                message["headers"] = [
                    *(pair for pair in headers if pair[0].lower() != b"x-request-id"),
                    (b"x-request-id", kept),
                ]
        return send(message)

    return send_with_id


def operation_id_of(name: str, prefix: str) -> str:
    """Return the operation id of a built-in route; it contains the prefix, since a host may install several apps."""
    return "_".join((*re.findall(r"\w+", prefix), name))


class Answer:
    """Sends one response with its request id, and without a body for a HEAD request."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.started: bool = False
        self._send = with_request_id(send, request_id)
        self._is_head = scope["method"] == "HEAD"

    def send(self, message: Message) -> Awaitable[None]:
        """Send one ASGI message."""
        if message["type"] == "http.response.start":
            self.started = True
        elif self._is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        return self._send(message)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that repeats a body that was already read, then continues with the original."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
