"""What every HTTP transport shares: the bearer's token, error bodies, request ids."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

import fastapi
from fastapi import FastAPI
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from servey.errors import ActionError, InvalidParams, NotFound, ServeyError, Unauthenticated, internal_error
from servey.ids import new_request_id
from servey.limits import readable_error

logger = logging.getLogger("servey")

JSON = "application/json"
_FASTAPI_OWN = (http_exception_handler, request_validation_exception_handler)


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a request header; names are lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def bearer_token(scope: Scope) -> str | None:
    """The token that a request shows; None where it shows none.

    Source: RFC 6750 section 2.1. Two Authorization headers make a token that can not be valid.
    """
    values = [value for key, value in scope["headers"] if key == b"authorization"]
    return bearer_of(b", ".join(values)) if values else None


def bearer_of(authorization: bytes) -> str | None:
    """The token in an Authorization header; None where it is of another scheme."""
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    return token.strip(" ") if scheme == "Bearer" or scheme.lower() == "bearer" else None


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
) -> Response:
    """A JSON answer; what is not JSON in it is shown as text."""
    body = to_json(content, fallback=str, inf_nan_mode="null")
    return Response(body, status, dict(headers), media_type=JSON)


def error_response(error: ActionError) -> Response:
    """The answer that stands for an error; no one may keep it, unless the error says otherwise itself."""
    answer = json_response(error.body(), error.status, error.headers)
    answer.headers.setdefault("cache-control", "no-store")
    return answer


def as_action_error(error: Exception) -> ActionError | None:
    """What a caller may know of an exception; None where that is nothing at all."""
    if isinstance(error, ActionError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidParams([readable_error(item) for item in error.errors()[:100]])
    if isinstance(error, HTTPException):
        return ActionError(error.status_code, f"http_{error.status_code}", error.detail, headers=error.headers)
    return None


def known_error(error: Exception, request_id: str, action_name: str) -> ActionError:
    """What a caller may know of an exception; one that no one expected goes to the log, whole, under the request's id."""
    known = as_action_error(error)
    if known is None:
        logger.error(
            "action '%s' failed (request %s)",
            action_name,
            request_id,
            exc_info=error,
            extra={"request_id": request_id, "action": action_name},
        )
        return internal_error()
    return known


def exception_of(raised: BaseException) -> Exception:
    """What was raised inside of a call, as its failure.

    Errors: CancelledError where it is the request that was cancelled.
    """
    if isinstance(raised, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0:
            raise raised
        # Something that the action waited for was cancelled, not this request.
        error = ServeyError("the action ended with a CancelledError of its own")
        error.__cause__ = raised
        return error
    assert isinstance(raised, Exception)
    return raised


def for_host(error: Exception, app: Any) -> Exception | None:
    """The exception that the app's own exception handlers should see instead of our answer; None where there is no
    such handler. FastAPI's default handlers and ours are no one's own.
    """
    if not isinstance(app, FastAPI):
        return None
    candidates: list[Exception] = [error]
    if isinstance(error, InvalidParams):
        candidates.append(RequestValidationError(error.detail))
    elif isinstance(error, ActionError):
        # FastAPI's own class, so that a handler for it is found, and one for Starlette's above it too.
        candidates.append(fastapi.HTTPException(error.status, error.detail, dict(error.headers)))
    for candidate in candidates:
        keys: list[Any] = [cls for cls in type(candidate).__mro__ if cls is not Exception]
        if isinstance(candidate, HTTPException):
            keys.insert(0, candidate.status_code)
        elif not isinstance(error, ActionError):
            keys += [Exception, 500]
        for key in keys:
            handler = app.exception_handlers.get(key)
            if handler is not None:
                if handler in _FASTAPI_OWN or getattr(handler, "__module__", "").startswith("servey."):
                    break
                return candidate
    return None


def app_exception_handlers() -> dict[Any, Any]:
    """The handlers of an app of ours, for what happens outside of actions: unknown paths, wrong methods, own routes."""

    async def handle_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return error_response(ActionError(405, "method_not_allowed", error.detail, headers=error.headers))
        if error.status_code == 404 and "route" not in request.scope:
            return error_response(NotFound())
        if error.status_code == 401 and not error.headers:
            return error_response(Unauthenticated(str(error.detail)))
        known = as_action_error(error)
        assert known is not None
        return error_response(known)

    async def handle_known(request: Request, error: Exception) -> Response:
        known = as_action_error(error)
        assert known is not None
        return error_response(known)

    async def handle_unexpected(request: Request, error: Exception) -> Response:
        return error_response(internal_error())

    return {
        HTTPException: handle_http,
        RequestValidationError: handle_known,
        ActionError: handle_known,
        Exception: handle_unexpected,
    }


_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}", re.ASCII)


def request_id_of(scope: Scope) -> str:
    """The id of a request: its caller's own where that is fit for a header and a log line, else a new one."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if "request_id" not in state:
        given = header(scope, b"x-request-id")
        state["request_id"] = given if given is not None and _REQUEST_ID.fullmatch(given) else new_request_id()
    return str(state["request_id"])


def with_request_id(send: Send, request_id: str) -> Send:
    """The same ``send``, whose answers carry the request's id."""
    own = (b"x-request-id", request_id.encode("latin-1"))

    def tell(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            if own not in headers:
                message["headers"] = [*(pair for pair in headers if pair[0].lower() != b"x-request-id"), own]
        return send(message)

    return tell


def operation_id_of(name: str, prefix: str) -> str:
    """The operation id of a route of ours below a prefix: a host may have several of us."""
    return "_".join((*re.findall(r"\w+", prefix), name))


class Answer:
    """Sends one answer: with its request id, without a body where the request was a HEAD."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.started = False
        self._send = with_request_id(send, request_id)
        self._is_head = scope["method"] == "HEAD"

    async def send(self, message: Message) -> None:
        """Passes on one ASGI message."""
        if message["type"] == "http.response.start":
            self.started = True
        elif self._is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives a body that was read already, and then whatever comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
