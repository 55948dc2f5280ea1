"""What a client asks for, by HTTP or over a websocket, read off its bytes.

Source: the GraphQL-over-HTTP specification, sections 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope

from servey.bodies import parse_json
from servey.errors import ActionError, UnsupportedMediaType
from servey.web import JSON, header

RESPONSE_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Asked:
    """One operation: its document, which of the document's operations it is, and its variables."""

    query: str
    variables: dict[str, Any]
    operation_name: str | None = None


class BadRequest(ActionError):
    """A request that is none of GraphQL's."""

    def __init__(self, detail: str, code: str = "invalid_params") -> None:
        super().__init__(400, code, detail)


def asked_of(given: Any) -> Asked:
    """One operation as JSON has it. Errors: BadRequest that says what is wrong."""
    if not isinstance(given, dict):
        raise BadRequest("A request is a JSON object with a 'query'")
    query, variables, name = given.get("query"), given.get("variables"), given.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise BadRequest("'query' has to be the text of a GraphQL document")
    if variables is not None and not isinstance(variables, dict):
        raise BadRequest("'variables' has to be a JSON object")
    if name is not None and not isinstance(name, str):
        raise BadRequest("'operationName' has to be a string")
    if not isinstance(given.get("extensions", {}), dict | None):
        raise BadRequest("'extensions' has to be a JSON object")
    return Asked(query, variables or {}, name or None)


def asked_in_query(scope: Scope) -> Asked:
    """What a GET asks for. Errors: BadRequest; InvalidParams for variables that are no JSON."""
    try:
        pairs = dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise BadRequest("The query string can not be read") from None
    given: dict[str, Any] = {"query": pairs.get("query"), "operationName": pairs.get("operationName")}
    for name in ("variables", "extensions"):
        if pairs.get(name):
            given[name] = parse_json(pairs[name].encode())
    return asked_of(given)


def check_media_type(scope: Scope) -> None:
    """Errors: UnsupportedMediaType for whatever a page of another site can send without being asked."""
    given = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if given != JSON:
        raise UnsupportedMediaType(given, JSON)


def answer_type(scope: Scope) -> str:
    """The media type that a client wants its answer in: the first one that it names of those there are, else JSON."""
    for part in (header(scope, b"accept") or "").split(","):
        name = part.partition(";")[0].strip().lower()
        if name in (JSON, RESPONSE_JSON, EVENT_STREAM):
            return name
    return JSON
