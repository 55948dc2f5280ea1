"""Reads properties of types from pydantic's core schemas.

The format of core schemas is not a stable API, so unknown content always selects the general, slower code.

Source: pydantic_core/core_schema.py, 2.41 to 2.50.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic_core import SchemaSerializer, SchemaValidator

Schema = Mapping[str, Any]

_SAME_IN_JSON = {
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
"""Schemas that validate JSON text and Python values alike, unless they are strict."""

_USER_CODE = ("custom_init", "post_init")
_HARMLESS_CONFIG = {
    "title",
    "allow_inf_nan",
    "extra_fields_behavior",
    "frozen",
    "populate_by_name",
    "validate_assignment",
}
"""Config keys that do not change how JSON is read or written."""


def definitions_of(schema: Schema) -> tuple[Schema, dict[str, Schema]]:
    """Return a schema and its definitions by name."""
    found: dict[str, Schema] = {}
    while schema["type"] == "definitions":
        found |= {each["ref"]: each for each in schema["definitions"]}
        schema = schema["schema"]
    return schema, found


def instance_checks(schema: Any) -> Iterator[type]:
    """Yield the class of every check by ``isinstance`` that a schema contains."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "is-instance" and isinstance(schema.get("cls"), type):
            yield schema["cls"]
        for key, part in schema.items():
            if key not in ("serialization", "metadata", "default"):
                yield from instance_checks(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from instance_checks(part)


def same_in_json(schema: Schema) -> bool:
    """Whether a type validates JSON text like the parsed values, without running user code."""
    try:
        return _same_in_json(*definitions_of(schema))
    except _SCHEMA_ERRORS:
        return False


def runs_user_code(schema: Any) -> bool:
    """Whether validating or serializing a type may run code of the project: validators, serializers, computed fields."""
    if isinstance(schema, list | tuple):
        return any(map(runs_user_code, schema))
    if not isinstance(schema, Mapping):
        return False
    kind = schema.get("type")
    if kind in _CUSTOM_KINDS or "function" in schema or any(schema.get(key) for key in _CUSTOM_KEYS):
        return True
    if kind == "model" and _has_serializers(schema["cls"]):
        return True
    return any(runs_user_code(part) for key, part in schema.items() if key not in ("metadata", "default", "config"))


def splits(schema: Schema) -> bool:
    """Whether the parts of a list can be validated and serialized one after another: the type is a list without constraints,
    or None, and runs no code of the project."""
    try:
        inner, _ = definitions_of(schema)
        while inner["type"] == "nullable" and set(inner) <= {"type", "schema", "metadata"}:
            inner = inner["schema"]
        return (
            inner["type"] == "list"
            and set(inner) <= {"type", "items_schema", "metadata"}
            and not runs_user_code(schema)
        )
    except _SCHEMA_ERRORS:
        return False


_CUSTOM_KINDS = {"is-instance", "is-subclass", "callable", "call", "custom-error"}
_CUSTOM_KEYS = (*_USER_CODE, "computed_fields", "default_factory", "missing", "discriminator_function")


_SCHEMA_ERRORS = (KeyError, TypeError, AttributeError)
"""Raised when a schema has another structure, for example in another pydantic version."""


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
            kind not in _SAME_IN_JSON
            or any(each.get(key) for key in _USER_CODE)
            or not set(each.get("config") or ()) <= _HARMLESS_CONFIG
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
        if isinstance(field, dict):  # a dataclass also lists its field names
            yield field


@dataclass(frozen=True)
class Plain:
    """A type that needs no serializer: its JSON is the content of its objects.

    Shape: ``models`` maps each model class to the names of its fields, in order; ``outer`` is the class of the object
    itself, or a type such as ``str``.
    """

    outer: type
    is_list: bool
    is_optional: bool
    models: Mapping[type, tuple[str, ...]]


_SCALARS: Mapping[str, type] = {"str": str, "int": int, "bool": bool, "datetime": datetime, "date": date, "uuid": UUID}
_COMMON = {"type", "ref", "metadata", "strict"}
_BOUNDS = {"le", "ge", "lt", "gt"}
_SIZES = {"min_length", "max_length", "fail_fast"}
_MOMENTS = _BOUNDS | {"now_op", "now_utc_offset"}
_PLAIN_KEYS: Mapping[str, set[str]] = {
    "str": {
        "pattern",
        "min_length",
        "max_length",
        "strip_whitespace",
        "to_lower",
        "to_upper",
        "regex_engine",
        "coerce_numbers_to_str",
    },
    "int": _BOUNDS | {"multiple_of"},
    "bool": set(),
    "datetime": _MOMENTS | {"tz_constraint", "microseconds_precision"},
    "date": _MOMENTS,
    "uuid": {"version"},
    "none": set(),
    "enum": {"cls", "members", "sub_type", "missing"},
    "literal": {"expected"},
    "nullable": {"schema"},
    "default": {
        "schema",
        "default",
        "default_factory",
        "default_factory_takes_data",
        "on_error",
        "validate_default",
        "copy_default",
    },
    "list": {"items_schema"} | _SIZES,
    "dict": {"keys_schema", "values_schema"} | _SIZES,
    "definition-ref": {"schema_ref"},
    "model": {"cls", "schema", "config", "custom_init", "post_init", "root_model", "frozen", "generic_origin"},
    "model-fields": {"fields", "model_name", "computed_fields", "extra_behavior"},
    "model-field": {"schema", "validation_alias", "frozen"},
}
"""The keys of schemas that do not affect JSON output, by schema type. Any other key, ``serialization`` above all, means
that a serializer is needed.
"""


def plain_of(schema: Schema) -> Plain | None:
    """Describe a type that needs no serializer; return None if it does."""
    try:
        return _plain_of(*definitions_of(schema))
    except _SCHEMA_ERRORS:
        return None


def _plain_of(schema: Schema, definitions: Mapping[str, Schema]) -> Plain | None:
    if not _has_plain_keys(schema):
        return None
    is_optional = schema["type"] == "nullable"
    if is_optional:
        schema = schema["schema"]
    is_list = schema["type"] == "list" and set(schema) <= {"type", "items_schema", "metadata"}
    if is_list:
        schema = schema["items_schema"]
    if not _has_plain_keys(schema):
        return None
    if schema["type"] == "definition-ref":
        schema = definitions[schema["schema_ref"]]
    if schema["type"] in _SCALARS and not is_list and set(schema) <= {"type", "metadata", "microseconds_precision"}:
        return Plain(_SCALARS[schema["type"]], False, is_optional, {})
    models: dict[type, tuple[str, ...]] = {}
    if schema["type"] != "model" or not _collect(schema, definitions, models):
        return None
    # Pydantic writes a subclass instance with the fields of the declared class only.
    if any(a is not b and issubclass(a, b) for a in models for b in models):
        return None
    return Plain(schema["cls"], is_list, is_optional, models)


def _has_plain_keys(schema: Schema) -> bool:
    kind = schema["type"]
    return kind in _PLAIN_KEYS and set(schema) <= _COMMON | _PLAIN_KEYS[kind]


def _collect(schema: Schema, definitions: Mapping[str, Schema], models: dict[type, tuple[str, ...]]) -> bool:
    """Collect the model classes of a schema and return whether all of it is plain."""
    if not _has_plain_keys(schema):  # a reference can have a serializer of its own, so this comes before resolving it
        return False
    kind = schema["type"]
    if kind == "definition-ref":
        return _collect(definitions[schema["schema_ref"]], definitions, models)
    if kind in _SCALARS or kind == "none":
        return True
    if kind == "literal":
        return all(type(value) in (str, int, bool, NoneType) for value in schema["expected"])
    if kind == "enum":
        return all(type(member.value) in (str, int) for member in schema["members"])
    if kind == "model":
        return _collect_model(schema, definitions, models)
    if kind == "dict" and schema["keys_schema"]["type"] != "str":
        return False
    if kind == "dict" and not _has_plain_keys(schema["keys_schema"]):
        return False
    inner = schema["values_schema" if kind == "dict" else "items_schema" if kind == "list" else "schema"]
    if isinstance(schema.get("default"), bool) and inner["type"] != "bool":
        return False  # defaults are not validated, and pydantic writes True in an int field as 1
    return _collect(inner, definitions, models)


def _collect_model(schema: Schema, definitions: Mapping[str, Schema], models: dict[type, tuple[str, ...]]) -> bool:
    cls: type = schema["cls"]
    if cls in models:
        return True
    config = schema.get("config") or {}
    inner = schema["schema"]
    if (
        schema.get("root_model")
        or not set(config) <= _HARMLESS_CONFIG
        or config.get("extra_fields_behavior") == "allow"
        or inner["type"] != "model-fields"
        or not _has_plain_keys(inner)
        or inner.get("computed_fields")
        or inner.get("extra_behavior") == "allow"
        or _has_serializers(cls)
        or any(isinstance(each, cached_property) for base in cls.__mro__ for each in vars(base).values())
    ):
        return False
    fields = inner["fields"]
    models[cls] = tuple(fields)
    return all(_has_plain_keys(field) and _collect(field["schema"], definitions, models) for field in fields.values())


def _has_serializers(cls: Any) -> bool:
    """Whether a model declares serializers, whatever its schema says."""
    found = cls.__pydantic_decorators__
    return bool(
        found.field_serializers
        or found.model_serializers
        or found.computed_fields
        or cls.model_config.get("json_encoders")
        or type(cls.__pydantic_serializer__) is not SchemaSerializer
    )


_HOLDING_ITEMS = {"list", "set", "frozenset", "tuple", "dict"}
_NOT_SCHEMAS = {"metadata", "default", "serialization", "expected", "config", "members"}


def stops_at_first_item(schema: Any) -> SchemaValidator:
    """Return a validator that stops at the first invalid item of each list, set, tuple and dict."""
    # Without _use_prebuilt=False, the validator of each model class would be used as it is.
    changed = _fail_fast(schema)
    try:
        return SchemaValidator(changed, _use_prebuilt=False)
    except TypeError:  # an older pydantic, which has no such option
        return SchemaValidator(changed)


def _fail_fast(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(map(_fail_fast, schema))
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if not isinstance(kind, str):
        return {name: _fail_fast(each) for name, each in schema.items()}
    made = {name: each if name in _NOT_SCHEMAS else _fail_fast(each) for name, each in schema.items()}
    return {**made, "fail_fast": True} if kind in _HOLDING_ITEMS else made
