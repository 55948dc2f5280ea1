"""Arguments and input fields with their defaults, and the marks of their annotations."""

from __future__ import annotations

from math import isfinite
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from servey.graphql.schema.shapes import NO_DEFAULT, BigIntMark, EnumOf, IdMark, Leaf, ListOf, Member, Place, Scalar

BITS_32 = 2**31


def member_of_input(
    shown: str, key: str, place: Place, description: str | None, required: bool, default: Any
) -> Member:
    """Return an argument or input field, with its default if the schema can express it."""
    visible = NO_DEFAULT if required or default is PydanticUndefined else _schema_default(default, place)
    optional = not required and visible is NO_DEFAULT
    return Member(shown, key, Place(place.shape, place.nullable or optional), description, visible, required)


def _schema_default(default: Any, place: Place) -> Any:
    """Return a default as a GraphQL value, or NO_DEFAULT if the schema cannot express it."""
    shape = place.shape
    if default is None:
        return None if place.nullable else NO_DEFAULT
    if isinstance(shape, ListOf):
        if not isinstance(default, list | tuple):
            return NO_DEFAULT
        items = [_schema_default(item, shape.item) for item in default]
        return NO_DEFAULT if any(item is NO_DEFAULT for item in items) else items
    if isinstance(shape, EnumOf):
        return default if any(default is value or default == value for value in shape.members.values()) else NO_DEFAULT
    if isinstance(shape, Leaf):
        try:
            plain = to_jsonable_python(default)
        except Exception:
            return NO_DEFAULT
        return plain if _fits(plain, shape.scalar) else NO_DEFAULT
    return NO_DEFAULT


def _fits(plain: Any, scalar: Scalar) -> bool:
    """Whether a GraphQL literal of this scalar can express a JSON value."""
    if scalar == "Boolean":
        return isinstance(plain, bool)
    if scalar == "Int":
        return type(plain) is int and -BITS_32 <= plain < BITS_32
    if scalar == "BigInt":
        return type(plain) is int
    if scalar == "Float":
        return type(plain) in (int, float) and isfinite(plain)
    return isinstance(plain, str | int | float)


def is_big(marks: tuple[Any, ...]) -> bool:
    """Whether an ``int`` is annotated as BigInt, or has bounds beyond 32 bits."""
    for mark in marks:
        inner = mark.metadata if isinstance(mark, FieldInfo) else ()
        if isinstance(mark, BigIntMark) or (inner and is_big(tuple(inner))):
            return True
        for name in ("ge", "gt", "le", "lt"):
            bound = getattr(mark, name, None)
            if isinstance(bound, int) and not -BITS_32 - 1 <= bound <= BITS_32:
                return True
    return False


def is_id(marks: tuple[Any, ...]) -> bool:
    """Whether a ``str`` is annotated as an ID."""
    return any(
        isinstance(mark, IdMark) or (isinstance(mark, FieldInfo) and is_id(tuple(mark.metadata))) for mark in marks
    )
