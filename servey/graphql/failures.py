"""Error responses: message, location, path and code. Unexpected errors are masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from graphql import GraphQLError
from pydantic_core import to_jsonable_python

from servey.core.errors import ActionError, InvalidParams, internal_error
from servey.core.process import Process
from servey.http.errors import known_error, shown_error

INVALID_DOCUMENT = "invalid_document"
INVALID_PARAMS = "invalid_params"
_TEXT_KEYS = ("message", "msg", "detail", "title", "error", "reason")


def request_failure(error: ActionError) -> dict[str, Any]:
    """Return the response to a request that was not executed."""
    return {"errors": [_entry(error)]}


def _entry(error: ActionError) -> dict[str, Any]:
    """Return an error entry. A structured detail, or the app's own body, goes into the extensions; the message is text."""
    extensions: dict[str, Any] = {"code": error.code}
    if error.own_body is not None:
        extensions |= to_jsonable_python(error.own_body, fallback=str, inf_nan_mode="null")
    elif not isinstance(error.detail, str):
        extensions["detail"] = to_jsonable_python(error.detail, fallback=str, inf_nan_mode="null")
    return {"message": _message(error), "extensions": extensions}


def _message(error: ActionError) -> str:
    detail = error.detail
    if isinstance(detail, str):
        return detail
    if isinstance(error, InvalidParams):
        return str(error)
    for part in detail if isinstance(detail, list) and detail else [detail]:
        texts = [part] if isinstance(part, str) else []
        if isinstance(part, Mapping):
            texts = [part[name] for name in _TEXT_KEYS if isinstance(part.get(name), str)]
        if texts:
            return str(texts[0])
    if type(error).__str__ is not Exception.__str__:
        return str(error)
    try:
        return HTTPStatus(error.status).phrase
    except ValueError:
        return error.code


def document_failures(errors: Iterable[GraphQLError], code: str = INVALID_DOCUMENT) -> dict[str, Any]:
    """Return the response to an invalid document or to invalid variables."""
    shown = []
    for error in errors:
        entry: dict[str, Any] = {"message": error.message, "extensions": {"code": code}}
        if error.locations:
            entry["locations"] = [each.formatted for each in error.locations]
        shown.append(entry)
    return {"errors": shown}


def field_failure(
    error: GraphQLError, runtime: Process, request_id: str, action_name: str | None = None
) -> dict[str, Any]:
    """Return the error entry of a failed field. An unexpected error is logged once and masked."""
    path = error.path or []
    name = action_name or ".".join(str(part) for part in path if isinstance(part, str)) or "GraphQL"
    known = _known(error, runtime, request_id, name)
    entry = _entry(known)
    if error.locations:
        entry["locations"] = [each.formatted for each in error.locations]
    if path:
        entry["path"] = list(path)
    return entry


def _known(error: GraphQLError, runtime: Process, request_id: str, name: str) -> ActionError:
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if isinstance(cause, GraphQLError):
        text = cause.message
        if text.startswith("Int cannot represent non 32-bit"):
            known = internal_error()
            return ActionError(
                known.status, known.code, "A number does not fit into GraphQL's 32-bit Int; annotate its type as BigInt"
            )
        if not _is_result_error(text):
            return shown_error(ActionError(422, INVALID_PARAMS, text), runtime, request_id, "graphql")[0]
    return known_error(cause if isinstance(cause, Exception) else error, runtime, request_id, name, "graphql")


def _is_result_error(text: str) -> bool:
    """Whether a graphql-core error is about a result, not about the client's input."""
    return not text.startswith(("Argument ", "Variable ", "Unknown argument", "Directive "))
