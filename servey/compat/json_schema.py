"""JSON schemas of types, for documents and for reading the structure of query strings and forms."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import CoreSchema


def json_schema_of(adapter: TypeAdapter[Any], mode: JsonSchemaMode) -> dict[str, Any]:
    """Return the JSON schema of a type, with its definitions in ``$defs``.

    `TypeAdapter.json_schema` fails if a default or an example contains a ``$ref`` key, so it is not used.
    Errors: PydanticUserError for a type that has no JSON schema.
    """
    return _generated(GenerateJsonSchema(), adapter.core_schema, mode)


def structure_of(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return a JSON schema of what a type validates, whatever its annotations show in documents instead.

    A type without a JSON schema accepts anything.
    """
    return _generated(_Structure(), _without_metadata(adapter.core_schema), "validation")


def _generated(generator: GenerateJsonSchema, schema: CoreSchema, mode: JsonSchemaMode) -> dict[str, Any]:
    schemas, definitions = generator.generate_definitions([("type", mode, schema)])
    found: dict[str, Any] = schemas["type", mode]
    while set(found) == {"$ref"}:
        found = definitions[found["$ref"].rpartition("/")[2]]
    return {**found, "$defs": definitions} if definitions else found


class _Structure(GenerateJsonSchema):
    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Ignore defaults that are not JSON; the structure does not need them."""


def flat_schema_of(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the JSON schema of what a type validates, where a value that may be None is one that may be left out."""
    return _generated(_Flat(), adapter.core_schema, "validation")


class _Flat(GenerateJsonSchema):
    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


_BY_NAME = {"fields", "choices"}
_VALUES = {"default", "expected", "members", "config", "serialization"}


def _without_metadata(schema: Any) -> Any:
    """Return a core schema without what only changes its documentation."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_without_metadata, schema))
    if not isinstance(schema, dict):
        return schema
    stripped: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, dict):
            stripped[key] = {name: _without_metadata(each) for name, each in value.items()}
        elif key != "metadata":
            stripped[key] = value if key in _VALUES else _without_metadata(value)
    return stripped


def surely_has_schema(schema: Any) -> bool:
    """Whether a core schema has only parts that always have a JSON schema, so that none needs to be generated to see it.

    False means that it is not known.
    """
    if type(schema) is not dict:
        return False
    kind = schema.get("type")
    if kind not in _PARTS or "serialization" in schema or not _is_plain_metadata(schema):
        return False
    if kind == "default" and not _is_plain_value(schema.get("default")):
        return False
    if kind == "literal":
        return all(map(_is_plain_value, schema["expected"]))
    fields = {} if kind == "dataclass" else schema.get("fields", {})  # a dataclass has their names here
    inner = [*(fields.values() if isinstance(fields, dict) else fields), *schema.get("definitions", ())]
    inner += [schema[key] for key in ("schema", "items_schema") if key in schema]
    return not schema.get("computed_fields") and all(map(surely_has_schema, inner))


def is_text(schema: Any) -> bool:
    """Whether a core schema is one of a scalar or of a list of scalars, whose values a key of a query string can have."""
    while schema.get("type") in ("default", "nullable", "typed-dict-field", "list"):
        schema = schema.get("schema") or schema.get("items_schema") or {}
    return schema.get("type") in _SCALARS


_SCALARS = {
    "none", "bool", "int", "float", "str", "date", "time", "datetime", "timedelta", "uuid", "decimal", "literal", "enum",
}  # fmt: skip
_PARTS = _SCALARS | {
    "nullable", "list", "default", "definitions", "definition-ref", "typed-dict", "typed-dict-field", "model",
    "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field",
}  # fmt: skip
_PLAIN_VALUES = {str, int, float, bool, type(None)}


def _is_plain_value(value: Any) -> bool:
    return type(value.value if isinstance(value, Enum) else value) in _PLAIN_VALUES or value == []


def _is_plain_metadata(schema: dict[str, Any]) -> bool:
    """Whether nothing of the user runs when the JSON schema of a part is generated."""
    metadata = schema.get("metadata") or {}
    if not metadata.keys() <= {"pydantic_js_functions", "pydantic_js_updates"}:
        return False
    cls = schema.get("cls")
    if cls is None or schema["type"] == "typed-dict":
        return "pydantic_js_functions" not in metadata
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    if callable(config.get("json_schema_extra")):
        return False
    own = getattr(cls, "__get_pydantic_json_schema__", None)
    return own is None or getattr(own, "__func__", None) is _MODELS_OWN


_MODELS_OWN = BaseModel.__get_pydantic_json_schema__.__func__  # type: ignore[attr-defined]
