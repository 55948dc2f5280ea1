"""Parses GraphQL requests, over HTTP and over websockets.

Source: the GraphQL-over-HTTP specification, sections 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope

from servey.core.errors import ActionError, InvalidParams, UnsupportedMediaType
from servey.http.bodies import parse_json
from servey.http.web import JSON, header

RESPONSE_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class GraphQLRequest:
    """One request: the document, its variables, and the name of the operation to run."""

    query: str
    variables: dict[str, Any]
    operation_name: str | None = None


class BadRequest(ActionError):
    """A request that is not a valid GraphQL request."""

    def __init__(self, detail: str, code: str = "invalid_params") -> None:
        super().__init__(400, code, detail)


def parse_request(given: Any) -> GraphQLRequest:
    """Parse one request from decoded JSON. Errors: BadRequest."""
    if not isinstance(given, dict):
        raise BadRequest("A GraphQL request must be a JSON object with the key 'query'")
    query, variables, name = given.get("query"), given.get("variables"), given.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise BadRequest("'query' must be a string with a GraphQL document")
    if variables is not None and not isinstance(variables, dict):
        raise BadRequest("'variables' must be a JSON object")
    if name is not None and not isinstance(name, str):
        raise BadRequest("'operationName' must be a string")
    if not isinstance(given.get("extensions", {}), dict | None):
        raise BadRequest("'extensions' must be a JSON object")
    return GraphQLRequest(query, variables or {}, name or None)


_MANY_VALUES = 2000


def has_many_values(variables: dict[str, Any]) -> bool:
    """Whether variables have so many values that coercing them is slow."""
    count, waiting = 0, [*variables.values()]
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += 1 + len(inner)
        if count > _MANY_VALUES:
            return True
        waiting += inner
    return False


def parse_graphql_json(raw: bytes, what: str = "The request body") -> Any:
    """Parse JSON. Errors: BadRequest that names the position of the problem."""
    if not raw.strip():
        raise BadRequest(f"{what} is empty; send a JSON object with the key 'query'")
    try:
        return parse_json(raw)
    except InvalidParams as error:
        problem = error.detail[0]["ctx"]["error"]
        place = error.detail[0]["loc"][1:]
        raise BadRequest(
            f"{what} is not valid JSON: {problem}" + (f" at position {place[0]}" if place else "")
        ) from None


def parse_query_string(scope: Scope) -> GraphQLRequest:
    """Parse the query string of a GET request. Errors: BadRequest."""
    try:
        pairs = dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise BadRequest("The query string is not valid") from None
    given: dict[str, Any] = {"query": pairs.get("query"), "operationName": pairs.get("operationName")}
    for name in ("variables", "extensions"):
        if pairs.get(name):
            given[name] = parse_graphql_json(pairs[name].encode(), f"'{name}'")
    return parse_request(given)


def check_media_type(scope: Scope) -> None:
    """Require JSON: a cross-site form can send other types without a preflight. Errors: UnsupportedMediaType."""
    given = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if given != JSON:
        raise UnsupportedMediaType(given, JSON)


def preferred_media_type(scope: Scope) -> str:
    """Return the media type for the response: the supported one with the highest ``q``, or JSON.

    Of equal ones the first counts. Wildcards mean JSON: event streams and GraphQL's own type must be named.
    Source: RFC 9110 section 12.5.1.
    """
    best, best_weight = JSON, 0.0
    for value in (value for name, value in scope["headers"] if name == b"accept"):
        for part in value.decode("latin-1").split(","):
            name, *parameters = (each.strip().lower() for each in part.split(";"))
            name = JSON if name in ("*/*", "application/*") else name
            if name in (JSON, RESPONSE_JSON, EVENT_STREAM):
                weight = _weight(parameters)
                if weight > best_weight:
                    best, best_weight = name, weight
    return best


def _weight(parameters: list[str]) -> float:
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def error_media_type(scope: Scope) -> str:
    """Return the media type for an error response; never an event stream."""
    preferred = preferred_media_type(scope)
    return JSON if preferred == EVENT_STREAM else preferred
