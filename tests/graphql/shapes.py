"""Builds values, types and selections for a field's shape."""

from typing import Any

from servey.graphql.schema.shapes import EnumOf, Leaf, ListOf, ObjectOf, Place


def type_text(place: Place) -> str:
    """Return a type in GraphQL syntax."""
    shape = place.shape
    if isinstance(shape, ListOf):
        text = f"[{type_text(shape.item)}]"
    else:
        text = shape.scalar if isinstance(shape, Leaf) else shape.name
    return text if place.nullable else f"{text}!"


def selection_of(place: Place) -> str:
    """Select every attribute of a type that is not recursive."""
    shape = place.shape
    if isinstance(shape, ListOf):
        return selection_of(shape.item)
    if not isinstance(shape, ObjectOf):
        return ""
    return " { " + " ".join(name + selection_of(member.place) for name, member in shape.members.items()) + " }"


def by_name(value: Any, place: Place) -> Any:
    """Convert a JSON value to GraphQL input, with enums by name."""
    shape = place.shape
    if isinstance(shape, ListOf) and isinstance(value, list):
        return [by_name(item, shape.item) for item in value]
    if isinstance(shape, ObjectOf) and isinstance(value, dict):
        known = {member.key: member for member in shape.members.values()}
        return {known[key].name: by_name(item, known[key].place) for key, item in value.items()}
    if isinstance(shape, EnumOf):
        return next((name for name, member in shape.members.items() if member.value == value), value)
    return value


def by_value(value: Any, place: Place) -> Any:
    """Convert a GraphQL result to REST's JSON: enums by value, Python names."""
    shape = place.shape
    if isinstance(shape, ListOf) and isinstance(value, list):
        return [by_value(item, shape.item) for item in value]
    if isinstance(shape, ObjectOf) and isinstance(value, dict):
        return {shape.members[name].key: by_value(item, shape.members[name].place) for name, item in value.items()}
    if isinstance(shape, EnumOf) and value is not None:
        return shape.members[value].value
    return value
