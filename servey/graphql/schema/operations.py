"""GraphQL operations as text: one field with its arguments as variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from servey.graphql.schema.shapes import EnumOf, Field, Leaf, ListOf, ObjectOf, Place, UnionOf

_MAX_DEPTH = 3


@dataclass(frozen=True)
class Operation:
    """A field as an operation that selects its scalars.

    Shape: ``kind`` is query, mutation or subscription; ``arguments`` are the GraphQL name and type by wire name.
    """

    kind: str
    field: str
    arguments: Mapping[str, tuple[str, str]]
    selection: str

    def text(self, given: Iterable[str]) -> str:
        """Return the operation with these arguments, by wire name, as variables."""
        used = [self.arguments[name] for name in given if name in self.arguments]
        declared = f"({', '.join(f'${name}: {type_}' for name, type_ in used)})" if used else ""
        passed = f"({', '.join(f'{name}: ${name}' for name, _ in used)})" if used else ""
        return f"{self.kind}{declared} {{\n  {self.field}{passed}{self.selection}\n}}"


def operation_of(kind: str, field: Field) -> Operation:
    """Return the operation of a root field."""
    arguments = {member.key: (member.name, type_name(member.place)) for member in field.arguments.values()}
    return Operation(kind, field.name, arguments, _selection(field.place, 1))


def variables_of(field: Field, given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert parameters, as JSON by wire name, to the variables of a field's operation."""
    members = [member for member in field.arguments.values() if member.key in given]
    return {member.name: input_of(member.place, given[member.key]) for member in members}


def type_name(place: Place) -> str:
    """Return the name of an input type, such as ``[Int!]!``."""
    shape = place.shape
    if isinstance(shape, ListOf):
        name = f"[{type_name(shape.item)}]"
    else:
        name = shape.scalar if isinstance(shape, Leaf) else shape.name
    return name if place.nullable else f"{name}!"


def input_of(place: Place, value: Any) -> Any:
    """Convert a parameter from JSON to GraphQL: fields in camel case, enums by name."""
    shape = place.shape
    if isinstance(shape, ListOf) and isinstance(value, list):
        return [input_of(shape.item, item) for item in value]
    if isinstance(shape, EnumOf):
        return enum_name(shape, value)
    if isinstance(shape, ObjectOf) and isinstance(value, dict):
        return {
            member.name: input_of(member.place, value[member.key])
            for member in shape.members.values()
            if member.key in value
        }
    return value


def enum_name(shape: EnumOf, value: Any) -> Any:
    """Return the name of an enum's member by its value."""
    plain = getattr(value, "value", value)
    return next((name for name, each in shape.members.items() if getattr(each, "value", each) == plain), value)


def _selection(place: Place, depth: int) -> str:
    """Return the selection set of a place, to a small depth; an empty string for a scalar."""
    shape = place.shape
    while isinstance(shape, ListOf):
        shape = shape.item.shape
    if isinstance(shape, UnionOf):
        return " { __typename }"
    if not isinstance(shape, ObjectOf):
        return ""
    indent, lines = "  " * (depth + 1), []
    for member in shape.members.values():
        inner = _selection(member.place, depth + 1)
        if not inner or depth < _MAX_DEPTH:
            lines.append(f"{indent}{member.name}{inner}")
    return " {\n" + "\n".join(lines or [f"{indent}__typename"]) + f"\n{'  ' * depth}}}"
