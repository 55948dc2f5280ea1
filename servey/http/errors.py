"""Error responses: Servey's own, in the shape of the app's `errors` function, or as problem details (RFC 9457)."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from servey.calls.validation_errors import readable_error
from servey.core.context import Transport
from servey.core.errors import ActionError, ConfigError, InvalidParams, body_of, internal_error, with_body
from servey.core.process import Process
from servey.http.web import JSON, has_body, header, request_id_of

logger: logging.Logger = logging.getLogger("servey")

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True)
class ErrorFacts:
    """An error, as the app's `errors` function gets it.

    Shape: ``raised`` is the exception itself; ``status``, ``code`` and ``detail`` are what clients see by default:
    500, ``internal`` and a fixed text if the exception is unexpected.
    """

    raised: Exception
    status: int
    code: str
    detail: Any
    request_id: str
    transport: Transport


ErrorFunction: TypeAlias = Callable[[ErrorFacts], ActionError | Mapping[str, Any] | None]
"""Decides how clients see an error: None for the default, a mapping for another body, an `ActionError` for its meaning."""


def checked_errors(errors: ErrorFunction | None) -> ErrorFunction | None:
    """Return an app's `errors` function. Errors: ConfigError if it cannot be called, or only awaited."""
    if errors is not None and (not callable(errors) or inspect.iscoroutinefunction(errors)):
        raise ConfigError(f"errors is {errors!r}; pass a plain function that takes ErrorFacts")
    return errors


def as_action_error(error: Exception) -> ActionError | None:
    """Return the public form of an exception, or None if it is unexpected."""
    if isinstance(error, ActionError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidParams([readable_error(item) for item in error.errors()[:100]])
    if isinstance(error, HTTPException):
        return ActionError(error.status_code, f"http_{error.status_code}", error.detail, headers=error.headers)
    return None


def shown_error(
    error: Exception, runtime: Process, request_id: str, transport: Transport = "rest"
) -> tuple[ActionError, bool]:
    """Return the public form of an exception, with the body of the app's `errors` function, and whether it is unexpected."""
    known = as_action_error(error)
    is_unexpected = known is None
    shown = internal_error() if known is None else known
    if runtime.errors is None:
        return shown, is_unexpected
    try:
        decided = runtime.errors(_facts(error, shown, request_id, transport))
        if isinstance(decided, ActionError):
            # The meaning of an exception; its body has the same shape as that of any other error.
            shown, is_unexpected = decided, False
            decided = runtime.errors(_facts(shown, shown, request_id, transport))
        if isinstance(decided, ActionError):
            return decided, is_unexpected
        if decided is None:
            return shown, is_unexpected
        body = dict(decided)
        to_json(body, fallback=str)
        return with_body(shown, body), is_unexpected
    except Exception:
        logger.exception("the app's errors function failed (request %s); the default body is sent", request_id)
        return shown, is_unexpected


def _facts(error: Exception, shown: ActionError, request_id: str, transport: Transport) -> ErrorFacts:
    return ErrorFacts(error, shown.status, shown.code, shown.detail, request_id, transport)


def known_error(
    error: Exception, runtime: Process, request_id: str, action_name: str, transport: Transport = "rest"
) -> ActionError:
    """Return the public form of an exception; an unexpected one is logged with the request id."""
    shown, is_unexpected = shown_error(error, runtime, request_id, transport)
    if is_unexpected:
        log_unexpected(error, request_id, action_name)
    return shown


def error_response(error: ActionError, runtime: Process, scope: Scope) -> Response:
    """Return the response for an error."""
    return shown_response(shown_error(error, runtime, request_id_of(scope))[0], runtime, scope)


def shown_response(error: ActionError, runtime: Process, scope: Scope) -> Response:
    """Return the response for the public form of an error, with ``Cache-Control: no-store`` unless it sets its own."""
    is_problem = runtime.settings.problems or _asks_for_problem(scope)
    body = problem_of(error, scope) if is_problem else body_of(error)
    content = _encoded(body) if has_body(error.status) else b""
    answer = Response(content, error.status, dict(error.headers), media_type=_media_type(error, is_problem))
    answer.headers.setdefault("cache-control", "no-store")
    return answer


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return to_json(body, fallback=str, inf_nan_mode="null")
    except ValueError:  # half of a surrogate pair, as in the name of a file that is not UTF-8
        return json.dumps(body, default=str, skipkeys=True).encode()


def _media_type(error: ActionError, is_problem: bool) -> str | None:
    if not has_body(error.status):
        return None
    return PROBLEM_JSON if is_problem else JSON


def _asks_for_problem(scope: Scope) -> bool:
    for part in (header(scope, b"accept") or "").lower().split(","):
        name, _, params = part.partition(";")
        if name.strip() == PROBLEM_JSON:
            return re.search(r"q\s*=\s*0(\.0*)?\s*(;|$)", params) is None
    return False


def problem_of(error: ActionError, scope: Scope) -> dict[str, Any]:
    """Return an error as problem details, with the members of the app's own body. Source: RFC 9457 section 3."""
    try:
        title = HTTPStatus(error.status).phrase
    except ValueError:
        title = f"Error {error.status}"
    problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": error.status}
    if isinstance(error, InvalidParams):
        problem["detail"] = "The parameters are invalid"
        problem["errors"] = [_problem_item(item) for item in error.detail]
    elif isinstance(error.detail, str):
        problem["detail"] = error.detail
    else:
        problem["errors"] = error.detail
    problem |= {"instance": scope.get("path", ""), "code": error.code}
    return problem | dict(error.own_body or {})


def _problem_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return one invalid parameter: a JSON pointer into the body, or the name of another part of the request."""
    made: dict[str, Any] = {"detail": item["msg"], "type": item["type"]}
    place, *path = [str(part) for part in item["loc"]] or ["body"]
    if place == "body":
        return made | {"pointer": "#" + "".join("/" + each.replace("~", "~0").replace("/", "~1") for each in path)}
    return made | {"in": place, "parameter": ".".join(path)}


def log_unexpected(error: Exception, request_id: str, action_name: str) -> None:
    """Log an unexpected exception with the request id, and mark it, so that a server need not log it again."""
    logger.error(
        "action '%s' failed (request %s)",
        action_name,
        request_id,
        exc_info=error,
        extra={"request_id": request_id, "action": action_name},
    )
    with suppress(AttributeError, TypeError):
        vars(error)[_LOGGED] = request_id


_LOGGED = "_servey_request_id"


def logged_request_id(error: Any) -> str | None:
    """Return the request id that an exception of an action was logged with, or None for any other exception."""
    return getattr(error, "__dict__", {}).get(_LOGGED)


def log_exceptions_once() -> None:
    """Keep uvicorn from logging exceptions that were logged with their request already."""
    logging.getLogger("uvicorn.error").addFilter(_is_new)


def _is_new(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or logged_request_id(error) is None
