"""The query dialect: dots for nested objects, a repeated key for a list, strings that stay strings.

Forms are read by the same rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi.params import Query
from pydantic import PydanticUserError, TypeAdapter

from servey.actions import Action
from servey.errors import InvalidParams
from servey.limits import MAX_ERRORS, readable_error
from servey.params import params_type


class Shape:
    """How the text of one parameter, or of one part of it, is put together: read from its JSON schema.

    ``fields`` are the parts of an object, by name; ``is_list`` says that the key may be repeated.
    """

    def __init__(self, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> None:
        self.schema = schema
        self._defs = defs
        self._alternatives = list(_alternatives(schema, defs))
        self.is_list = any(_is_array(each) for each in self._alternatives)
        self._fields: dict[str, Shape] | None = None

    @property
    def is_text(self) -> bool:
        """Whether it may be any text, so that an empty one means something."""
        return any(
            each.get("type") == "string" and not {"format", "enum", "const"} & set(each) for each in self._alternatives
        )

    @property
    def is_secret(self) -> bool:
        """Whether it is nothing to be shown."""
        return any(each.get("format") == "password" for each in self._alternatives)

    @property
    def fields(self) -> Mapping[str, Shape]:
        """The parts of an object; empty for anything else. Made when asked for, since types may hold themselves."""
        if self._fields is None:
            self._fields = {
                name: Shape(field, self._defs)
                for each in self._alternatives
                for name, field in each.get("properties", {}).items()
            }
        return self._fields

    def unfit(self, depth: int = 0) -> str | None:
        """Why it can not be written in a query string; None where it can."""
        for each in self._alternatives:
            if _is_array(each) and any("properties" in item or _is_map(item) for item in self._items(each)):
                return "a list of objects"
            if _is_map(each):
                return "a dict"
        # A type inside itself is fit all the way down where it is fit a few levels deep.
        inner = self.fields.values() if depth < 8 else ()
        return next((what for field in inner if (what := field.unfit(depth + 1))), None)

    def _items(self, array: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        for part in (array.get("items"), *array.get("prefixItems", ())):
            if isinstance(part, dict):
                yield from _alternatives(part, self._defs)

    def required(self) -> set[str]:
        """The fields that an object must have, whichever of its alternatives it is."""
        objects = [each for each in self._alternatives if "properties" in each]
        return set.intersection(*(set(each.get("required", ())) for each in objects)) if objects else set()

    def described(self) -> dict[str, Any]:
        """Its JSON schema with every reference resolved, for a document that has no place for definitions."""
        inlined: dict[str, Any] = _inlined(self.schema, self._defs, ())
        return inlined


def _alternatives(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if "$ref" in schema:
        yield from _alternatives(defs[schema["$ref"].rpartition("/")[2]], defs)
        return
    parts = [part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, ())]
    if not parts:
        yield schema
    for part in parts:
        yield from _alternatives(part, defs)


def _is_array(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array"


def _is_map(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object" and "properties" not in schema


def _inlined(value: Any, defs: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_inlined(item, defs, above) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        rest = {key: item for key, item in value.items() if key != "$ref"}
        if name in above:
            return rest
        return {**_inlined(defs[name], defs, (*above, name)), **rest}
    return {key: _inlined(item, defs, above) for key, item in value.items() if key != "$defs"}


def shapes_of(action: Action) -> dict[str, Shape]:
    """The shape of each parameter that a client gives, by wire name.

    Errors: ConfigError for a type that has no JSON schema, and so nothing that a client could send.
    """
    try:
        schema = action.params_schema
    except PydanticUserError as error:
        raise action.problem(f"has a type that no JSON stands for: {first_line(error)}", _unfit(action)) from error
    defs = schema.get("$defs", {})
    shapes = {name: Shape(field, defs) for name, field in schema.get("properties", {}).items()}
    return {name: shapes[param.alias] for param in action.signature.client for name in param.names}


def first_line(error: Exception) -> str:
    """What an error says, without the advice below it."""
    return str(error).partition("\n")[0]


def _unfit(action: Action) -> str | None:
    for param in action.signature.client:
        try:
            TypeAdapter(params_type("Probe", (param,))).json_schema()
        except PydanticUserError:
            return param.name
    return None


def check_shapes(action: Action, names: Iterable[str], inside: str) -> None:
    """Makes sure that these parameters can be written as keys and values. Errors: ConfigError."""
    shapes = shapes_of(action)
    for name in sorted(names, key=list(shapes).index):
        what = shapes[name].unfit()
        if what is not None:
            raise action.problem(f"is {what}, which {inside} can not hold; use a JSON body, e.g. WEB_POST", name)


@dataclass(frozen=True)
class Places:
    """Which of an action's wire names a route reads from where; a parameter is read from one place only."""

    path: frozenset[str]
    query: frozenset[str]
    body: frozenset[str]


def places_of(action: Action, path_keys: Collection[str], *, takes_body: bool) -> Places:
    """Path parameters from the path; the others from the query string where there is no body or where they are marked
    ``Query``; else from the body.
    """
    path, query, body = set[str](), set[str](), set[str]()
    for param in action.signature.client:
        marks = (param.info, *getattr(param.annotation, "__metadata__", ()))
        if any(name in path_keys for name in param.names):
            path.update(param.names)
        elif not takes_body or any(isinstance(mark, Query) for mark in marks):
            query.update(param.names)
        else:
            body.update(param.names)
    return Places(frozenset(path & set(path_keys)), frozenset(query), frozenset(body))


def leaves(
    shapes: Mapping[str, Shape], prefix: str = "", above: tuple[int, ...] = ()
) -> Iterable[tuple[str, Shape, bool]]:
    """Every key that a query may hold, with its shape and whether objects around it want it; a type inside itself once."""
    for name, shape in shapes.items():
        key = f"{prefix}{name}"
        if not shape.fields:
            yield key, shape, True
        elif id(shape.schema) not in above:
            required = shape.required()
            for path, leaf, wanted in leaves(shape.fields, f"{key}.", (*above, id(shape.schema))):
                first = path[len(key) + 1 :].partition(".")[0]
                yield path, leaf, wanted and first in required


def parse_query(query: bytes, where: str = "query") -> list[tuple[str, str]]:
    """The keys and values of a query string, or of a form written like one, in order.

    Source: WHATWG URL, application/x-www-form-urlencoded parsing.
    Errors: InvalidParams for text that is not UTF-8, and for NUL characters.
    """
    pairs = []
    for part in query.split(b"&"):
        if part:
            key, _, value = part.partition(b"=")
            pairs.append((_text(key, where), _text(value, where)))
    return pairs


def _text(quoted: bytes, where: str) -> str:
    if b"%" in quoted or b"+" in quoted:
        quoted = unquote_to_bytes(quoted.replace(b"+", b" "))
    return checked_text(quoted, where)


def checked_text(raw: bytes, where: str) -> str:
    """Text that came in bytes. Errors: InvalidParams for what is not UTF-8, and for NUL characters."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _bad_text(where, "is not valid UTF-8") from None
    if "\0" in text:
        raise _bad_text(where, "holds a NUL character")
    return text


def _bad_text(where: str, what: str) -> InvalidParams:
    return InvalidParams([{"type": "string_unicode", "loc": [where], "msg": f"The {where} {what}", "input": None}])


def refuse_unknown(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Lets pass what was asked for. Errors: InvalidParams that lists everything else."""
    unknown = [name for name in given if name not in known]
    if unknown:
        message = "Extra inputs are not permitted"
        items = [
            {"type": "extra_forbidden", "loc": [where, name], "msg": message, "input": given[name]} for name in unknown
        ]
        raise InvalidParams([readable_error(item) for item in items[:MAX_ERRORS]])


def nest(pairs: Iterable[tuple[str, Any]], shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The parameters that these keys and values spell, ready to be validated."""
    params: dict[str, Any] = {}
    for key, value in pairs:
        place, name, shape = params, key, shapes.get(key)
        if shape is None and "." in key:
            first, *rest = key.split(".")
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
    return params
