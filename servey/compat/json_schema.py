"""JSON schemas of types, for documents and for reading the structure of query strings and forms."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
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
