"""The exception handlers of an app, and which of them see an action's error."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import fastapi
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from servey.core.errors import ActionError, InvalidParams, NotFound, Unauthenticated
from servey.core.process import Process
from servey.http.errors import error_response, logged_request_id, shown_error, shown_response
from servey.http.web import request_id_of

PARSED_BODY = "servey.body"
"""The scope key of a request's parsed body, which exception handlers read as ``exc.body``."""

IN_STACK = "servey.in_stack"
"""The scope key of a request that has passed Starlette's middleware for unexpected errors, and no exception handlers."""

_LIBRARIES = ("fastapi.", "starlette.", "servey.")


def error_for_handlers(error: Exception, scope: Scope) -> Exception | None:
    """Return the exception to raise for an exception handler that the user added to the app, or None if there is no such
    handler. The default handlers of FastAPI and Servey do not count.
    """
    active = scope.get("starlette.exception_handlers")
    by_class, by_status = active or _declared_handlers(scope)
    return _error_for(error, by_class, by_status, scope.get(PARSED_BODY))


def has_handler(error: Exception, app: Any) -> bool:
    """Whether the user added an exception handler to an app that handles this error."""
    by_class, by_status = _declared_handlers({"app": app})
    return _error_for(error, by_class, by_status, None) is not None


async def late_error(error: Exception, scope: Scope) -> Exception:
    """Return what to raise for an error after the start of the response, as Starlette does: a `RuntimeError` if the app has
    a handler for it, which can no longer answer. The app's handler for unexpected errors is called, to log it.
    """
    by_class, by_status = _declared_handlers(scope)
    has_status = isinstance(error, HTTPException) and error.status_code in by_status
    late = error
    if has_status or any(cls in by_class for cls in type(error).__mro__):
        late = RuntimeError("Caught handled exception, but response already started.")
        late.__cause__ = error
    if "starlette.exception_handlers" not in scope and IN_STACK not in scope:
        # Starlette's middleware, which would call it, was skipped.
        handler = next((each for key, each in reversed(list(by_status.items())) if key in (500, Exception)), None)
        if handler is not None and not getattr(handler, "__module__", "").startswith(_LIBRARIES):
            request = Request(scope)
            await (
                handler(request, late)
                if inspect.iscoroutinefunction(handler)
                else run_in_threadpool(handler, request, late)
            )
    return late


def _error_for(
    error: Exception, by_class: Mapping[Any, Any], by_status: Mapping[int, Any], body: Any
) -> Exception | None:
    candidates: list[Exception] = [error]
    if isinstance(error, InvalidParams):
        candidates.append(RequestValidationError(error.detail, body=body))
    elif isinstance(error, ActionError):
        # FastAPI's class, so that handlers for it and for its base class in Starlette are found.
        candidates.append(fastapi.HTTPException(error.status, error.detail, dict(error.headers)))
    for candidate in candidates:
        handler = by_status.get(candidate.status_code) if isinstance(candidate, HTTPException) else None
        if handler is None:
            handler = next((by_class[cls] for cls in type(candidate).__mro__ if cls in by_class), None)
        if handler is not None and not getattr(handler, "__module__", "").startswith(_LIBRARIES):
            return candidate
    return None


def _declared_handlers(scope: Mapping[str, Any]) -> tuple[Mapping[Any, Any], Mapping[int, Any]]:
    app = scope.get("app")
    handlers = app.exception_handlers if isinstance(app, FastAPI) else {}
    return {key: value for key, value in handlers.items() if key is not Exception}, handlers


def app_exception_handlers(runtime: Process) -> dict[Any, Any]:
    """Return the default exception handlers of an app, for errors outside of actions: unknown paths, wrong methods, other
    routes.
    """

    async def handle_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            known: ActionError = ActionError(405, "method_not_allowed", error.detail, headers=error.headers)
        elif error.status_code == 404 and "route" not in request.scope:
            known = NotFound()
        elif error.status_code == 401 and not error.headers:
            known = Unauthenticated(str(error.detail))
        else:
            return await handle_known(request, error)
        return error_response(known, runtime, request.scope)

    async def handle_known(request: Request, error: Exception) -> Response:
        shown, _ = shown_error(error, runtime, request_id_of(request.scope))
        return shown_response(shown, runtime, request.scope)

    async def handle_unexpected(request: Request, error: Exception) -> Response:
        return kept_failure(request.scope, error) or await handle_known(request, error)

    return {
        HTTPException: handle_http,
        RequestValidationError: handle_known,
        ActionError: handle_known,
        Exception: handle_unexpected,
    }


def keep_failure(scope: Scope, error: Exception, response: Response) -> None:
    """Keep the response for an unexpected exception while the exception passes through the middleware."""
    scope.setdefault("state", {})[_FAILURE] = (error, response)


_FAILURE = "_servey_failure"


def kept_failure(scope: Scope, error: Exception) -> Response | None:
    """Return the response that was kept for an exception."""
    kept, response = scope.get("state", {}).get(_FAILURE, (None, None))
    return response if kept is error else None


async def handle_unexpected_in_host(request: Request, error: Exception) -> Response:
    """Answer 500 in Servey's format for an action, and in Starlette's format for the host's own routes."""
    request_id = logged_request_id(error)
    response = kept_failure(request.scope, error)
    if request_id is None or response is None:
        return PlainTextResponse("Internal Server Error", 500)
    response.headers["X-Request-ID"] = request_id
    return response
