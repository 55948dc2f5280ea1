"""GraphQL types as plain data, derived from Python types without importing a GraphQL library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from servey.core.actions import Action

Scalar: TypeAlias = Literal[
    "BigInt", "Boolean", "Date", "DateTime", "Decimal", "Duration", "Float", "ID", "Int", "JSON", "String",
    "Time", "UUID", "Void",
]  # fmt: skip

NO_DEFAULT: Any = object()
"""No default, or a default that GraphQL cannot express."""


class BigIntMark:
    """Annotation for an ``int`` that may exceed 32 bits."""

    def __repr__(self) -> str:
        return "BigInt"


BigInt = Annotated[int, BigIntMark()]
"""An ``int`` that may exceed the 32 bits of GraphQL's Int. Other transports treat it as ``int``."""


class IdMark:
    """Annotation for a ``str`` that is a GraphQL ID."""

    def __repr__(self) -> str:
        return "ID"


ID = Annotated[str, IdMark()]
"""A ``str`` that is an ID in GraphQL. Other transports treat it as ``str``."""


@dataclass(frozen=True)
class Leaf:
    """A scalar. ``reason`` explains why a type is JSON."""

    scalar: Scalar
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class EnumOf:
    """An enum: its names and their Python values."""

    name: str
    members: Mapping[str, Any]
    description: str | None = None


@dataclass(frozen=True)
class ListOf:
    """A list."""

    item: Place


@dataclass(eq=False)
class ObjectOf:
    """An object type or an input object type. Members are added after creation, since it may contain itself.

    Shape: ``cls`` is the user's own class; ``keyed`` objects are dicts; ``annotation`` includes the class's type arguments.
    """

    name: str
    cls: Any
    description: str | None
    keyed: bool = False
    members: dict[str, Member] = field(default_factory=dict)
    actions: dict[str, Field] = field(default_factory=dict)
    annotation: Any = None


@dataclass(eq=False)
class UnionOf:
    """A union of object types."""

    name: str
    choices: tuple[ObjectOf, ...]


Shape: TypeAlias = Leaf | EnumOf | ListOf | ObjectOf | UnionOf


@dataclass(frozen=True)
class Place:
    """The type of a field or argument: a shape, and whether it is nullable.

    ``dump`` converts a value without a GraphQL type to JSON.
    """

    shape: Shape
    nullable: bool = False
    dump: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Member:
    """A field of an object, an input field, or an argument.

    Shape: ``key`` is the attribute or dict key of an output field, or the name in Pydantic's input; ``read`` reads
    a field that is not a plain attribute.
    """

    name: str
    key: str
    place: Place
    description: str | None = None
    default: Any = NO_DEFAULT
    required: bool = True
    read: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Field:
    """An action as a root field, or as a field of the class that it is a method of."""

    name: str
    action: Action
    arguments: Mapping[str, Member]
    place: Place


def leaf_of(place: Place) -> Leaf | EnumOf | None:
    """Return the innermost scalar or enum, through lists, or None for objects."""
    shape = place.shape
    while isinstance(shape, ListOf):
        shape = shape.item.shape
    return shape if isinstance(shape, Leaf | EnumOf) else None
