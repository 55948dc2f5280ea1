"""Parameters of actions, and paths of requests, as text for people, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

from pydantic import PydanticUserError
from starlette.types import Scope

from servey.compat.starlette import get_route_path

if TYPE_CHECKING:
    from servey.core.actions import Action

HIDDEN = "•••"
MORE = "…"
MAX_PATH = 300
MOST_VALUES = 10_000
_SECRET_NAMES = re.compile(
    r"passw(or)?d|passphrase|secret|token$|(api|private|access)_?key|credential|authorization", re.IGNORECASE
)
"""Many a password is a plain ``str``."""
_CAPABILITIES = frozenset({"subscriber_id"})
"""Who knows such a value may use it."""
_PLACES = re.compile(r"{(\w+)(?::\w+)?}")
_LONG_PART = 20
_ANYTHING: Mapping[str, Any] = {}


def shown_params(action: Action, params: Any, most: int = MOST_VALUES) -> str:
    """Return at most ``most`` values of the parameters of an action as JSON by wire name, without secrets: see
    `without_secrets`.

    Of parameters without a JSON schema, or nested too deeply, only the names are shown, and of values that are not JSON
    only their types.
    """
    try:
        schema = action.params_schema
        shown = without_secrets(params, [schema], schema.get("$defs", {}), count(most, -1))
        return json.dumps(shown, indent=2, ensure_ascii=False, default=_type_name, skipkeys=True)
    except (PydanticUserError, RecursionError):
        return hidden_params(params)


def shown_path(scope: Scope, route: Any) -> str:
    """Return the path of a request to a route, if any, without secrets: see `without_secrets`.

    Middleware, or a redirect to the path with or without a slash at its end, may have answered before the request reached
    a route; then the path is that of the route which has secrets there. Without a route nothing is known of its parts, so
    long ones, which may be tokens, are hidden.
    """
    path: str = scope["path"]
    template: str | None = getattr(route, "path", None)
    if template is None:
        template = _template_with_secrets(scope)
        if template is not None:
            return template
        return "/".join(part if len(part) < _LONG_PART else HIDDEN for part in path[:MAX_PATH].split("/"))
    if "{" not in template:
        return path[:MAX_PATH]
    secret = _secret_places(_action_of(route), template)
    if not secret:
        return path[:MAX_PATH]
    below = get_route_path(scope)
    pattern: re.Pattern[str] | None = getattr(route, "path_regex", None)
    found = None if pattern is None else pattern.match(below)
    if found is None:
        return template
    start = len(path) - len(below)
    for first, last in sorted((found.span(name) for name in secret), reverse=True):
        path = path[: start + first] + HIDDEN + path[start + last :]
    return path[:MAX_PATH]


def _template_with_secrets(scope: Scope) -> str | None:
    """Return the path of the first route of the app that has secrets and that a request without a route would reach."""
    below = get_route_path(scope)
    for route in getattr(scope.get("app"), "routes", ()):
        template, pattern = getattr(route, "path", None), getattr(route, "path_regex", None)
        is_secret = bool(template and "{" in template and _secret_places(_action_of(route), template))
        if is_secret and pattern is not None and any(map(pattern.match, (below, below.rstrip("/"), f"{below}/"))):
            path: str = scope["path"]
            return f"{path[: len(path) - len(below)]}{template}"
    return None


def _action_of(route: Any) -> Action | None:
    served = getattr(route, "served", None)
    return None if served is None else served.action


@lru_cache(maxsize=4096)
def _secret_places(action: Action | None, template: str) -> tuple[str, ...]:
    """Return the names of the path parameters of a route that are secrets, by their names or by the schema of the action."""
    names = _PLACES.findall(template)
    secret = {name for name in names if _SECRET_NAMES.search(name) or name in _CAPABILITIES}
    if action is not None and names:
        try:
            schema = action.params_schema
            shown = without_secrets(dict.fromkeys(names, ""), [schema], schema.get("$defs", {}), count(MOST_VALUES, -1))
            secret |= {name for name in names if shown.get(name) == HIDDEN}
        except (PydanticUserError, RecursionError):
            secret.update(names)
    return tuple(name for name in names if name in secret)


def hidden_params(params: Any) -> str:
    """Return the names of parameters as JSON."""
    return json.dumps(
        dict.fromkeys(params, HIDDEN) if isinstance(params, Mapping) else HIDDEN, indent=2, ensure_ascii=False
    )


def _type_name(value: Any) -> str:
    return f"<{type(value).__name__}>"


def without_secrets(
    value: Any, schemas: Sequence[Mapping[str, Any]], definitions: Mapping[str, Any], left: Iterator[int]
) -> Any:
    """Return a value without the secrets of its JSON schemas, and without what fits none of them.

    A secret may be there under another name than its schema has: an alias, or one that the caller has misspelled. A text is
    also a secret by its name.
    Shape: ``left`` counts down the values that are shown; the rest is cut, since a client may send many.
    """
    # Each choice once: those of a tree of unions would double with each level.
    choices = list({id(choice): choice for each in schemas for choice in _choices(each, definitions)}.values())
    if any(map(_is_secret, choices)):
        return HIDDEN
    if isinstance(value, Mapping):
        found: dict[Any, Any] = {}
        for name, each in value.items():
            if next(left) <= 0:
                return {**found, MORE: MORE}
            members = [part for choice in choices if (part := _member(choice, name)) is not None]
            is_shown = members and not (isinstance(each, str) and _SECRET_NAMES.search(str(name)))
            found[name] = without_secrets(each, members, definitions, left) if is_shown else HIDDEN
        return found
    if isinstance(value, list | tuple):
        items: list[Any] = []
        for number, each in enumerate(value):
            if next(left) <= 0:
                return [*items, MORE]
            parts = [part for choice in choices if (part := _item(choice, number)) is not None]
            items.append(without_secrets(each, parts, definitions, left) if parts else HIDDEN)
        return items
    if isinstance(value, str) and all(each.get("type") in ("object", "array", "null") for each in choices):
        return HIDDEN  # it may be their JSON
    return value


def _choices(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas of which a value has one, without references."""
    if _is_secret(schema):
        yield schema
    elif "$ref" in schema:
        yield from _choices(definitions.get(str(schema["$ref"]).rpartition("/")[2], {}), definitions)
    elif parts := [part for kind in ("anyOf", "oneOf", "allOf") for part in schema.get(kind, ())]:
        for part in parts:
            yield from _choices(part, definitions)
    else:
        yield schema


def _is_secret(schema: Mapping[str, Any]) -> bool:
    # What ``pydantic.Json`` reads is not looked into.
    return bool(schema.get("writeOnly") or schema.get("format") == "password" or "contentSchema" in schema)


def _member(schema: Mapping[str, Any], name: Any) -> Mapping[str, Any] | None:
    """Return the schema of a member of an object, or None if there is none of this name."""
    if schema.get("type", "object") != "object":
        return None
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    if name in known:
        return _as_schema(known[name])
    if patterns:
        return {"anyOf": [*patterns.values()]}
    return _as_schema(schema.get("additionalProperties", not known))


def _item(schema: Mapping[str, Any], number: int) -> Mapping[str, Any] | None:
    """Return the schema of an item of an array, or None if there is none at this place."""
    if schema.get("type", "array") != "array":
        return None
    first = schema.get("prefixItems", ())
    return _as_schema(first[number] if number < len(first) else schema.get("items", not first))


def _as_schema(schema: Any) -> Mapping[str, Any] | None:
    """Return a JSON schema as an object: true allows everything, false nothing."""
    return schema if isinstance(schema, Mapping) else _ANYTHING if schema else None
