"""The structure of a type as its JSON schema shows it: how it is written in query strings and forms, and described there.

Types may refer to each other in any way, so nothing here follows every path through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

MAX_INLINED = 500
"""Maximum number of references that a schema without definitions resolves completely."""

MAX_SHOWN_OBJECTS = 200
"""Maximum number of nested objects whose keys are documented, or are fields of a generated form."""


class Shape:
    """How one parameter, or one part of it, is written in a query string; derived from its JSON schema.

    Shape: ``fields`` are the parts of an object by name; ``is_list`` means that the key may be repeated.
    """

    def __init__(self, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> None:
        self.schema = schema
        self._defs = defs
        self._alternatives = list(_alternatives(schema, defs))
        self.is_list: bool = any(_is_array(each) for each in self._alternatives)
        self._fields: dict[str, Shape] | None = None

    @property
    def is_text(self) -> bool:
        """Whether any text is valid, so that an empty string is a value."""
        return any(
            each.get("type") == "string" and not {"format", "enum", "const"} & set(each) for each in self._alternatives
        )

    @property
    def is_secret(self) -> bool:
        """Whether the value must not be displayed."""
        return any(each.get("format") == "password" for each in self._alternatives)

    @property
    def fields(self) -> Mapping[str, Shape]:
        """The parts of an object, or an empty mapping; computed on first access because types may be recursive."""
        if self._fields is None:
            schemas: dict[str, list[Mapping[str, Any]]] = {}
            for each in self._alternatives:
                for name, field in each.get("properties", {}).items():
                    if field not in (found := schemas.setdefault(name, [])):
                        found.append(field)
            self._fields = {
                name: Shape(found[0] if len(found) == 1 else {"anyOf": found}, self._defs)
                for name, found in schemas.items()
            }
        return self._fields

    @cached_property
    def objects(self) -> list[Shape]:
        """The alternatives that are objects."""
        return [Shape(each, self._defs) for each in self._alternatives if "properties" in each]

    def accepts(self, text: Any) -> bool:
        """Whether a text can be one of the constants of its type, or its type is not limited to constants."""
        known = [
            each["enum"] if "enum" in each else [each["const"]] for each in self._alternatives if _CONSTANT & set(each)
        ]
        limited = known and len(known) == len(self._alternatives)
        return not limited or not isinstance(text, str) or text in [str(value) for each in known for value in each]

    def unfit(self) -> str | None:
        """Return why it cannot be written in a query string, or None if it can."""
        seen: set[frozenset[int]] = set()
        waiting: list[Shape] = [self]
        while waiting:
            shape = waiting.pop()
            if shape._identity in seen:
                continue
            seen.add(shape._identity)
            for each in shape._alternatives:
                if _is_array(each) and any("properties" in item or _is_map(item) for item in shape._items(each)):
                    return "a list of objects"
                if _is_map(each):
                    return "a dict"
            waiting.extend(reversed(list(shape.fields.values())))
        return None

    @property
    def _identity(self) -> frozenset[int]:
        """The same for all shapes of one type: they share its schema's parts."""
        return frozenset(map(id, self._alternatives))

    def _items(self, array: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        for part in (array.get("items"), *array.get("prefixItems", ())):
            if isinstance(part, dict):
                yield from _alternatives(part, self._defs)

    def required(self) -> set[str]:
        """Return the fields that every alternative of an object requires."""
        objects = [each for each in self._alternatives if "properties" in each]
        return set.intersection(*(set(each.get("required", ())) for each in objects)) if objects else set()

    def described(self) -> dict[str, Any]:
        """Return its JSON schema with its references resolved, for places without definitions.

        If types refer to each other so often that their schema would not end, each one is resolved where it first occurs
        and is only named elsewhere.
        """
        try:
            inlined: dict[str, Any] = _Inliner(self._defs, MAX_INLINED).of(self.schema, ())
        except _TooOften:
            inlined = _Inliner(self._defs, None).of(self.schema, ())
        return inlined


_CONSTANT = {"enum", "const"}


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


_SCHEMAS_BY_NAME = {"properties", "patternProperties", "dependentSchemas"}
_SCHEMA_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_SCHEMAS = {"items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"}


class _TooOften(Exception):
    """A schema has more references than a description resolves."""


class _Inliner:
    """Resolves the references of a schema; a ``$ref`` in a default, an example or as a property's name is data.

    Shape: with a ``limit``, every reference is resolved; without one, only the first to each definition.
    """

    def __init__(self, defs: Mapping[str, Any], limit: int | None) -> None:
        self._defs = defs
        self._limit = limit
        self._resolved: list[str] = []

    def of(self, schema: Any, above: tuple[str, ...]) -> Any:
        """Return a schema without references. Errors: _TooOften."""
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return self._reference(schema, above)
        inlined: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _SCHEMAS_BY_NAME:
                inlined[key] = {name: self.of(each, above) for name, each in value.items()}
            elif key in _SCHEMA_LISTS:
                inlined[key] = [self.of(each, above) for each in value]
            elif key in _SCHEMAS:
                inlined[key] = self.of(value, above)
            elif key not in ("$defs", "discriminator"):  # a discriminator maps to definitions, which are inlined
                inlined[key] = value
        return inlined

    def _reference(self, schema: Mapping[str, Any], above: tuple[str, ...]) -> Any:
        name = schema["$ref"].rpartition("/")[2]
        rest = {key: item for key, item in schema.items() if key != "$ref"}
        if name in above:
            return rest
        if self._limit is None and name in self._resolved:
            return {"title": self._defs[name].get("title", name), **rest}
        if len(self._resolved) == self._limit:
            raise _TooOften
        self._resolved.append(name)
        return {**self.of(self._defs[name], (*above, name)), **rest}


def leaves(shapes: Mapping[str, Shape]) -> Iterable[tuple[str, Shape, bool]]:
    """Yield every key of a query with its shape and whether all objects around it require it; recursive types once.

    If types refer to each other so often that the keys would not end, the deepest ones are left out.
    """
    return _leaves(shapes, "", (), _depth_of(shapes))


def _depth_of(shapes: Mapping[str, Shape]) -> int:
    """Return how many levels of objects have at most `MAX_SHOWN_OBJECTS` objects together."""
    depth, count = 0, 0
    level: list[tuple[Shape, tuple[int, ...]]] = [(shape, ()) for shape in shapes.values()]
    while level and count <= MAX_SHOWN_OBJECTS:
        inner = [
            (field, (*above, id(shape.schema)))
            for shape, above in level
            if shape.fields and id(shape.schema) not in above
            for field in shape.fields.values()
        ]
        count += sum(bool(shape.fields) for shape, _ in inner)
        depth += 1
        level = inner
    return depth


def _leaves(
    shapes: Mapping[str, Shape], prefix: str, above: tuple[int, ...], depth: int
) -> Iterable[tuple[str, Shape, bool]]:
    for name, shape in shapes.items():
        key = f"{prefix}{name}"
        if not shape.fields:
            yield key, shape, True
        elif depth and id(shape.schema) not in above:
            required = shape.required()
            for path, leaf, wanted in _leaves(shape.fields, f"{key}.", (*above, id(shape.schema)), depth - 1):
                first = path[len(key) + 1 :].partition(".")[0]
                yield path, leaf, wanted and first in required
