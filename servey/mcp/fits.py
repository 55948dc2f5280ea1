"""Whether a JSON value fits the schema of a result, as far as its structure goes: types, members, and fixed values.

It checks what validation has not: the JSON of a ``Response``, and numbers such as NaN, which JSON writes as null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


_Known = dict[tuple[int, int], str | None]
"""What was found for a schema and a value, by their identities: in a tree of unions each choice has the same parts again."""


def misfit(schema: Any, value: Any, defs: Mapping[str, Any]) -> str | None:
    """Return where and how a value does not fit a schema, or None if it fits."""
    return _misfit(schema, value, defs, "", {})


def _misfit(schema: Any, value: Any, defs: Mapping[str, Any], place: str, known: _Known) -> str | None:
    if not isinstance(value, dict | list):
        return _problem(schema, value, defs, place, known)
    key = id(schema), id(value)
    if key not in known:
        known[key] = _problem(schema, value, defs, place, known)
    return known[key]


def _problem(schema: Any, value: Any, defs: Mapping[str, Any], place: str, known: _Known) -> str | None:
    if not isinstance(schema, Mapping):
        return f"{place or 'it'} should not be there" if schema is False else None
    if value is None and schema.get("default", value) is None and "default" in schema:
        return None  # such as ``price: float = None``
    if "$ref" in schema:
        found = _misfit(defs.get(str(schema["$ref"]).rpartition("/")[2], {}), value, defs, place, known)
        if found is not None:
            return found
    for key in ("anyOf", "oneOf"):
        found_all = [_misfit(each, value, defs, place, known) for each in schema.get(key, ())]
        if found_all and None not in found_all:
            return found_all[0] if len(found_all) == 1 else f"{place or 'it'} fits none of its types"
    for each in schema.get("allOf", ()):
        if (found := _misfit(each, value, defs, place, known)) is not None:
            return found
    if "const" in schema and value != schema["const"]:
        return f"{place or 'it'} should be {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{place or 'it'} should be one of {schema['enum']!r:.200}"
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_of(kind, value) for kind in kinds):
        return f"{place or 'it'} should be of type {' or '.join(kinds)}"
    missing = [name for name in schema.get("required", ()) if isinstance(value, dict) and name not in value]
    if missing:
        return f"{place}.{missing[0]} is missing".lstrip(".")
    return next(
        (
            found
            for part, each, where in _parts(schema, value, place)
            if (found := _misfit(part, each, defs, where, known))
        ),
        None,
    )


def _is_of(kind: str, value: Any) -> bool:
    if kind == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    return isinstance(value, _TYPES.get(kind, object)) and (kind == "boolean" or not isinstance(value, bool))


def _parts(schema: Mapping[str, Any], value: Any, place: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield the parts of a value, each with its schema and its place."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for name, each in value.items():
            yield known.get(name, schema.get("additionalProperties", True)), each, f"{place}.{name}".lstrip(".")
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        for number, each in enumerate(value):
            yield first[number] if number < len(first) else schema.get("items", True), each, f"{place}[{number}]"


def has_numbers(schema: Any) -> bool:
    """Whether a schema has numbers, whose values may be NaN or infinite."""
    if isinstance(schema, Mapping):
        return schema.get("type") == "number" or any(has_numbers(each) for each in schema.values())
    return isinstance(schema, list) and any(has_numbers(each) for each in schema)
