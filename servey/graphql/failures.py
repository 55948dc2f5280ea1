"""What a client is told of an error: its text, its place, its code; of an unexpected one no more than that it happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphql import GraphQLError

from servey.errors import ActionError, InvalidParams, internal_error
from servey.web import known_error

INVALID_DOCUMENT = "invalid_document"
INVALID_PARAMS = "invalid_params"


def request_failure(error: ActionError) -> dict[str, Any]:
    """The answer to a request of which nothing was run."""
    return {"errors": [{"message": str(error.detail), "extensions": {"code": error.code}}]}


def document_failures(errors: Iterable[GraphQLError], code: str = INVALID_DOCUMENT) -> dict[str, Any]:
    """The answer to a document that can not be run, or to variables that do not fit it."""
    shown = []
    for error in errors:
        entry: dict[str, Any] = {"message": error.message, "extensions": {"code": code}}
        if error.locations:
            entry["locations"] = [each.formatted for each in error.locations]
        shown.append(entry)
    return {"errors": shown}


def field_failure(error: GraphQLError, request_id: str, action_name: str | None = None) -> dict[str, Any]:
    """What is told of a field that failed; what no one expected goes to the log, once."""
    path = error.path or []
    name = action_name or ".".join(str(part) for part in path if isinstance(part, str)) or "GraphQL"
    known = _known(error, request_id, name)
    extensions: dict[str, Any] = {"code": known.code}
    message = known.detail if isinstance(known.detail, str) else str(known)
    if isinstance(known, InvalidParams):
        extensions["detail"] = known.detail
    entry: dict[str, Any] = {"message": message, "extensions": extensions}
    if error.locations:
        entry["locations"] = [each.formatted for each in error.locations]
    if path:
        entry["path"] = list(path)
    return entry


def _known(error: GraphQLError, request_id: str, name: str) -> ActionError:
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if isinstance(cause, GraphQLError):
        text = cause.message
        if text.startswith("Int cannot represent non 32-bit"):
            known = internal_error()
            return ActionError(
                known.status, known.code, "A number is beyond GraphQL's 32 bits; its type should be BigInt"
            )
        if not _is_of_result(text):
            return ActionError(422, INVALID_PARAMS, text)
    return known_error(cause if isinstance(cause, Exception) else error, request_id, name)


def _is_of_result(text: str) -> bool:
    """Whether graphql-core complains of a result, and not of what the client gave."""
    return not text.startswith(("Argument ", "Variable ", "Unknown argument", "Directive "))
