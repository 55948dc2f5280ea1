"""Values, types and selections by the shape of a field, as a client writes them who knows the schema."""

from typing import Any

from servey.graphql.shapes import EnumOf, Leaf, ListOf, ObjectOf, Place


def type_text(place: Place) -> str:
    """A type as GraphQL writes it."""
    shape = place.shape
    if isinstance(shape, ListOf):
        text = f"[{type_text(shape.item)}]"
    else:
        text = shape.scalar if isinstance(shape, Leaf) else shape.name
    return text if place.nullable else f"{text}!"


def selection_of(place: Place) -> str:
    """Everything that is not an action, of something that does not hold itself."""
    shape = place.shape
    if isinstance(shape, ListOf):
        return selection_of(shape.item)
    if not isinstance(shape, ObjectOf):
        return ""
    return " { " + " ".join(name + selection_of(member.place) for name, member in shape.members.items()) + " }"


def by_name(value: Any, place: Place) -> Any:
    """A JSON value as GraphQL takes it: its enums by name."""
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
    """What GraphQL gives, as JSON elsewhere: enums by value, names as in Python."""
    shape = place.shape
    if isinstance(shape, ListOf) and isinstance(value, list):
        return [by_value(item, shape.item) for item in value]
    if isinstance(shape, ObjectOf) and isinstance(value, dict):
        return {shape.members[name].key: by_value(item, shape.members[name].place) for name, item in value.items()}
    if isinstance(shape, EnumOf) and value is not None:
        return shape.members[value].value
    return value
