"""Parses query strings and forms: dots for nested objects, repeated keys for lists, strings stay strings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi.params import Query
from pydantic import BaseModel, PydanticUserError, TypeAdapter

from servey.calls.validation_errors import MAX_ERRORS, readable_error
from servey.compat.json_schema import is_text, surely_has_schema
from servey.core.actions import Action
from servey.core.errors import InvalidParams
from servey.core.params import Param, params_type
from servey.routers.rest.shapes import Shape

MAX_KEY_DEPTH = 64
"""Maximum number of parts of a key (``a.b.c``): each makes a nested object, and readers of nested objects are recursive."""

_PLAIN_FORM_BYTES = 1 << 16
_PLAIN_FORM_FIELDS = 1000
"""Starlette's parser refuses more fields, and longer ones than the longest plain form."""


def shapes_of(action: Action) -> dict[str, Shape]:
    """Return the shape of each client parameter by wire name.

    Errors: ConfigError for a type that has no JSON schema.
    """
    try:
        schema = action.params_schema
    except PydanticUserError as error:
        raise action.problem(f"has a type that has no JSON schema: {first_line(error)}", _unfit(action)) from error
    return _shapes(action, schema)


def structures_of(action: Action) -> dict[str, Shape]:
    """Return how each client parameter is read from text, by wire name. Errors: those of `shapes_of`."""
    shapes_of(action)
    return _shapes(action, action.params_structure)


def _shapes(action: Action, schema: Mapping[str, Any]) -> dict[str, Shape]:
    defs = schema.get("$defs", {})
    shapes = {name: Shape(field, defs) for name, field in schema.get("properties", {}).items()}
    return {name: shapes[param.alias] for param in action.signature.client for name in param.names}


def first_line(error: Exception) -> str:
    """Return the first line of an error message."""
    return str(error).partition("\n")[0]


def _unfit(action: Action) -> str | None:
    for param in action.signature.client:
        try:
            TypeAdapter(params_type("Probe", (param,))).json_schema()
        except PydanticUserError:
            return param.name
    return None


def check_shapes(action: Action, names: Iterable[str], inside: str) -> None:
    """Check that these parameters can be written as keys and values, and that all parameters have a JSON schema.

    Errors: ConfigError.
    """
    if _surely_fit(action, names):
        return
    shapes = structures_of(action)
    for name in sorted(names, key=list(shapes).index):
        what = shapes[name].unfit()
        if what is not None:
            raise action.problem(f"is {what}, which {inside} cannot contain; use a JSON body, e.g. WEB_POST", name)


def _surely_fit(action: Action, names: Iterable[str]) -> bool:
    # Two JSON schemas for each action would be a third of the time that an app takes to start.
    schema: Any = action.params.core_schema
    if not surely_has_schema(schema):
        return False
    fields = (schema["schema"] if schema["type"] == "definitions" else schema).get("fields", {})
    return all(param.name in fields and is_text(fields[param.name]) for param in _named(action, names))


def _named(action: Action, names: Iterable[str]) -> list[Param]:
    wanted = set(names)
    return [param for param in action.signature.client if not wanted.isdisjoint(param.names)]


@dataclass(frozen=True)
class Places:
    """The wire names that a route reads from each part of a request; each parameter is read from one part only."""

    path: frozenset[str]
    query: frozenset[str]
    body: frozenset[str]
    flat: str | None = None
    """The query parameter whose fields are parameters themselves: a model that is the only one, marked ``Query``."""


def places_of(action: Action, path_keys: Collection[str], *, takes_body: bool) -> Places:
    """Read path parameters from the path, parameters of methods without a body or marked ``Query`` from the query string,
    and all others from the body.
    """
    path, query, body = set[str](), set[str](), set[str]()
    models: list[str] = []
    for param in action.signature.client:
        marks = (param.info, *getattr(param.annotation, "__metadata__", ()))
        if any(name in path_keys for name in param.names):
            path.update(param.names)
        elif not takes_body or any(isinstance(mark, Query) for mark in marks):
            query.update(param.names)
            is_model = isinstance(param.info.annotation, type) and issubclass(param.info.annotation, BaseModel)
            if is_model and any(isinstance(mark, Query) for mark in marks):
                models.append(param.alias)
        else:
            body.update(param.names)
    flat = models[0] if len(models) == 1 == len(query) else None
    return Places(frozenset(path & set(path_keys)), frozenset(query), frozenset(body), flat)


def flatten(found: dict[str, Any], flat: str, fields: Mapping[str, Shape]) -> dict[str, Any]:
    """Return the value of a flat query model; it can also be given by its own name, with dots."""
    inner = found.get(flat)
    if flat not in fields and isinstance(inner, dict):
        found = {**{name: value for name, value in found.items() if name != flat}, **inner}
    return {flat: found}


def parse_query(query: bytes, where: str = "query") -> list[tuple[str, str]]:
    """Return the keys and values of a query string or a URL-encoded form, in order.

    Source: WHATWG URL, application/x-www-form-urlencoded parsing.
    Errors: InvalidParams for text that is not UTF-8, and for NUL characters.
    """
    pairs = []
    for part in query.split(b"&"):
        if part:
            key, _, value = part.partition(b"=")
            pairs.append((_text(key, where), _text(value, where)))
    return pairs


def parse_plain_form(raw: bytes) -> list[tuple[str, str]] | None:
    """Return the keys and values of a URL-encoded form in which every part has a key and one ``=``, as browsers send it, or
    None for others and for large ones, which Starlette's parser has to read.

    Errors: InvalidParams for encoded text that is not UTF-8, and for NUL characters.
    """
    if (
        len(raw) > _PLAIN_FORM_BYTES
        or raw.count(b"&") >= _PLAIN_FORM_FIELDS
        or not raw.isascii()
        or b";" in raw
        or b"\0" in raw
    ):
        return None
    pairs = []
    for part in raw.decode("ascii").split("&"):
        name, _, value = part.partition("=")
        if not name or part.count("=") != 1:
            return None
        if "%" in part or "+" in part:
            name, value = unquote(name), unquote(value)
        pairs.append((name, value))
    return pairs


def _text(quoted: bytes, where: str) -> str:
    if b"%" in quoted or b"+" in quoted:
        quoted = unquote_to_bytes(quoted.replace(b"+", b" "))
    return checked_text(quoted, where)


def unquote(text: str) -> str:
    """Decode a name or a value of a query string. Errors: InvalidParams for invalid text."""
    return checked_text(unquote_to_bytes(text.replace("+", " ")), "query")


def checked_text(raw: bytes, where: str) -> str:
    """Decode text. Errors: InvalidParams if it is not UTF-8 or contains a NUL character."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _bad_text(where, "is not valid UTF-8") from None
    if "\0" in text:
        raise _bad_text(where, "contains a NUL character")
    return text


def _bad_text(where: str, what: str) -> InvalidParams:
    return InvalidParams([{"type": "string_unicode", "loc": [where], "msg": f"The {where} {what}", "input": None}])


def refuse_unknown(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Reject unknown names. Errors: InvalidParams that lists them."""
    unknown = [name for name in given if name not in known]
    if unknown:
        message = "Extra inputs are not permitted"
        items = [
            {"type": "extra_forbidden", "loc": [where, name], "msg": message, "input": given[name]} for name in unknown
        ]
        raise InvalidParams([readable_error(item) for item in items[:MAX_ERRORS]])


def nest(pairs: Iterable[tuple[str, Any]], shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Build the parameters from keys and values, ready for validation."""
    params: dict[str, Any] = {}
    for key, value in pairs:
        place, name, shape = params, key, shapes.get(key)
        if shape is None and "." in key:
            first, *rest = key.split(".", MAX_KEY_DEPTH)
            if len(rest) == MAX_KEY_DEPTH:
                message = f"A key has at most {MAX_KEY_DEPTH} parts"
                raise InvalidParams([readable_error({"type": "too_deep", "loc": [key], "msg": message, "input": None})])
            shape = shapes.get(first)
            if shape is not None and shape.fields:
                name = first
                for part in rest:
                    inner = place.get(name)
                    if not isinstance(inner, dict):
                        inner = place[name] = {}
                    place, name = inner, part
                    shape = shape.fields.get(part) if shape is not None else None
        if shape is not None and shape.is_list:
            given = place.get(name)
            if isinstance(given, list):
                given.append(value)
            else:
                place[name] = [value]
        else:
            place[name] = value
    for name, given in params.items():
        if isinstance(given, dict) and name in shapes:
            _settle(given, shapes[name])
    return params


def _settle(given: dict[str, Any], shape: Shape) -> None:
    """Make single values of an object scalars if the alternative that they fit has a scalar there."""
    objects = shape.objects
    fitting = [
        each
        for each in objects
        if each.required() <= set(given)
        and all(each.fields[key].accepts(given[key]) for key in given if key in each.fields)
    ]
    fields = max(fitting or objects, key=lambda each: len(set(given) & set(each.fields))).fields if objects else {}
    for key, value in given.items():
        field = fields.get(key)
        if field is None:
            continue
        if isinstance(value, dict):
            _settle(value, field)
        elif isinstance(value, list) and len(value) == 1 and not field.is_list:
            given[key] = value[0]
