"""What pydantic's core schemas say of a type. Their shape is not called stable, so that whatever is not known is taken
for the worst: a type then only loses speed.

Source: pydantic_core/core_schema.py, 2.41 to 2.50.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

Schema = Mapping[str, Any]

_ALIKE = {
    "any",
    "bool",
    "dataclass",
    "dataclass-args",
    "dataclass-field",
    "date",
    "datetime",
    "default",
    "dict",
    "enum",
    "float",
    "int",
    "list",
    "literal",
    "model",
    "model-field",
    "model-fields",
    "none",
    "nullable",
    "str",
    "time",
    "typed-dict",
    "typed-dict-field",
    "uuid",
}
"""Schemas that take the same from JSON as from Python values, unless they are strict."""

_USERS_CODE = ("custom_init", "post_init")
_KNOWN = {"title", "allow_inf_nan", "extra_fields_behavior", "frozen", "populate_by_name", "validate_assignment"}
"""Parts of a type's config that say nothing of JSON, neither of reading it nor of writing it."""


def definitions_of(schema: Schema) -> tuple[Schema, dict[str, Schema]]:
    """A schema and those that it refers to, by their names."""
    found: dict[str, Schema] = {}
    while schema["type"] == "definitions":
        found |= {each["ref"]: each for each in schema["definitions"]}
        schema = schema["schema"]
    return schema, found


def same_in_json(schema: Schema) -> bool:
    """Whether JSON text means to a type what the values in it mean, and no code of a user's runs when it is read."""
    try:
        return _same_in_json(*definitions_of(schema))
    except _OTHER_SHAPE:
        return False


_OTHER_SHAPE = (KeyError, TypeError, AttributeError)
"""What comes of reading schemas of a pydantic that describes types in another way."""


def _same_in_json(schema: Schema, definitions: Mapping[str, Schema]) -> bool:
    seen: set[str] = set()
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        kind = each.get("type")
        if kind == "definition-ref":
            name = each["schema_ref"]
            if name not in definitions:
                return False
            if name not in seen:
                seen.add(name)
                waiting.append(definitions[name])
            continue
        if (
            kind not in _ALIKE
            or any(each.get(key) for key in _USERS_CODE)
            or not set(each.get("config") or ()) <= _KNOWN
        ):
            return False
        if each.get("strict") or each.get("default_factory") not in (None, list, dict, set):
            return False
        waiting += _parts(each)
    return True


def _parts(schema: Schema) -> Iterator[Schema]:
    for key in ("schema", "items_schema", "keys_schema", "values_schema"):
        part = schema.get(key)
        if isinstance(part, dict):
            yield part
    fields = schema.get("fields")
    for field in fields.values() if isinstance(fields, dict) else fields or ():
        if isinstance(field, dict):  # a dataclass lists the names of its fields, too
            yield field


@dataclass(frozen=True)
class Plain:
    """A type whose JSON is what is in its objects, as it stands.

    ``models`` are the classes that its objects may be of, each with the number of its fields; ``outer`` is the class of the
    object itself, or a type such as ``str``.
    """

    outer: type
    is_list: bool
    is_optional: bool
    models: Mapping[type, int]


_SCALARS: Mapping[str, type] = {"str": str, "int": int, "bool": bool, "datetime": datetime, "date": date, "uuid": UUID}
_PLAIN = {*_SCALARS, "none", "enum", "literal"}
_FIELD_KEYS = {"type", "schema", "metadata", "validation_alias", "frozen"}


def plain_of(schema: Schema) -> Plain | None:
    """How a type can be written without its serializer; None where it can not be."""
    try:
        return _plain_of(*definitions_of(schema))
    except _OTHER_SHAPE:
        return None


def _plain_of(schema: Schema, definitions: Mapping[str, Schema]) -> Plain | None:
    is_optional = schema["type"] == "nullable"
    if is_optional:
        schema = schema["schema"]
    is_list = schema["type"] == "list" and set(schema) <= {"type", "items_schema", "metadata"}
    if is_list:
        schema = schema.get("items_schema") or {"type": "any"}
    if schema["type"] == "definition-ref":
        schema = definitions.get(schema["schema_ref"], {"type": "any"})
    if schema["type"] in _SCALARS and not is_list and set(schema) <= {"type", "metadata", "microseconds_precision"}:
        return Plain(_SCALARS[schema["type"]], False, is_optional, {})
    models: dict[type, int] = {}
    if schema["type"] != "model" or not _collect(schema, definitions, models):
        return None
    # An object of a class below a field's own is written with the fields of the field's class alone.
    if any(a is not b and issubclass(a, b) for a in models for b in models):
        return None
    return Plain(schema["cls"], is_list, is_optional, models)


def _collect(schema: Schema, definitions: Mapping[str, Schema], models: dict[type, int]) -> bool:
    """Adds the classes of a schema; whether all of it is plain."""
    kind = schema.get("type")
    if kind == "definition-ref":
        schema = definitions.get(schema["schema_ref"], {})
        kind = schema.get("type")
    if "serialization" in schema:
        return False
    if kind in _PLAIN:
        return True
    if kind in ("nullable", "default", "list", "dict"):
        if kind == "dict" and schema.get("keys_schema", {}).get("type") != "str":
            return False
        inner = schema.get("values_schema" if kind == "dict" else "items_schema" if kind == "list" else "schema")
        if isinstance(schema.get("default"), bool) and inner is not None and inner.get("type") != "bool":
            return False  # a default is not validated, and pydantic writes True as 1 where a whole number stands
        return inner is not None and _collect(inner, definitions, models)
    return kind == "model" and _collect_model(schema, definitions, models)


def _collect_model(schema: Schema, definitions: Mapping[str, Schema], models: dict[type, int]) -> bool:
    cls: type = schema["cls"]
    if cls in models:
        return True
    config = schema.get("config") or {}
    inner = schema["schema"]
    if (
        schema.get("root_model")
        or not set(config) <= _KNOWN
        or config.get("extra_fields_behavior") == "allow"
        or inner.get("type") != "model-fields"
        or "serialization" in inner
        or inner.get("computed_fields")
        or inner.get("extra_behavior") == "allow"
        or any(isinstance(each, cached_property) for base in cls.__mro__ for each in vars(base).values())
    ):
        return False
    fields = inner["fields"]
    models[cls] = len(fields)
    return all(
        set(field) <= _FIELD_KEYS and _collect(field["schema"], definitions, models) for field in fields.values()
    )
