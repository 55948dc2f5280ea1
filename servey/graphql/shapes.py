"""What a type looks like in GraphQL: facts, made of Python's types before any GraphQL library is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from servey.actions import Action

Scalar: TypeAlias = Literal[
    "BigInt", "Boolean", "Date", "DateTime", "Decimal", "Duration", "Float", "ID", "Int", "JSON", "String",
    "Time", "UUID", "Void",
]  # fmt: skip

NO_DEFAULT: Any = object()
"""In the place of a default that there is not, or that GraphQL can not show."""


class BigIntMark:
    """Says of an ``int`` that it may be beyond GraphQL's 32 bits."""

    def __repr__(self) -> str:
        return "BigInt"


BigInt = Annotated[int, BigIntMark()]
"""An ``int`` that may be beyond GraphQL's 32 bits; everywhere else it is a plain ``int``."""


@dataclass(frozen=True)
class Leaf:
    """A scalar. ``reason`` says of JSON why it stands there."""

    scalar: Scalar
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class EnumOf:
    """An enum: the Python value of each of its names."""

    name: str
    members: Mapping[str, Any]
    description: str | None = None


@dataclass(frozen=True)
class ListOf:
    """A list of something."""

    item: Place


@dataclass(eq=False)
class ObjectOf:
    """An object, or an input object; its members are filled in after it is known, since it may hold itself.

    Shape: ``cls`` is the user's own class, ``keyed`` says that its values are read by key.
    """

    name: str
    cls: Any
    description: str | None
    keyed: bool = False
    members: dict[str, Member] = field(default_factory=dict)
    actions: dict[str, Field] = field(default_factory=dict)


@dataclass(eq=False)
class UnionOf:
    """One of several objects."""

    name: str
    choices: tuple[ObjectOf, ...]


Shape: TypeAlias = Leaf | EnumOf | ListOf | ObjectOf | UnionOf


@dataclass(frozen=True)
class Place:
    """Where a value stands: its shape, and whether it may be null.

    ``dump`` makes plain JSON of a value that has no GraphQL shape of its own.
    """

    shape: Shape
    nullable: bool = False
    dump: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Member:
    """A field of an object, an input field, or an argument.

    Shape: ``key`` is the attribute or the key that it is read from, or the name that pydantic takes it by; ``read`` gets
    it off its object where it is no plain attribute.
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
    """An action as a field: of the queries, the mutations, the subscriptions, or of the class that it is a method of."""

    name: str
    action: Action
    arguments: Mapping[str, Member]
    place: Place


def leaf_of(place: Place) -> Leaf | EnumOf | None:
    """The scalar or enum at the bottom of a place, through lists; None where objects are there."""
    shape = place.shape
    while isinstance(shape, ListOf):
        shape = shape.item.shape
    return shape if isinstance(shape, Leaf | EnumOf) else None
