"""The query dialect: dots for nested objects, a repeated key for a list, strings that stay strings.

Forms are read by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from servey.actions import Action
from servey.errors import InvalidParams


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
    """The shape of each parameter that a client gives, by wire name."""
    schema = action.params.json_schema(mode="validation")
    defs = schema.get("$defs", {})
    return {name: Shape(field, defs) for name, field in schema.get("properties", {}).items()}


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


def parse_query(query: bytes) -> list[tuple[str, str]]:
    """The keys and values of a query string, in order.

    Source: WHATWG URL, application/x-www-form-urlencoded parsing.
    Errors: InvalidParams for text that is not UTF-8, and for NUL characters.
    """
    pairs = []
    for part in query.split(b"&"):
        if part:
            key, _, value = part.partition(b"=")
            pairs.append((_text(key), _text(value)))
    return pairs


def _text(quoted: bytes) -> str:
    if b"%" in quoted or b"+" in quoted:
        quoted = unquote_to_bytes(quoted.replace(b"+", b" "))
    return checked_text(quoted, "query")


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
