"""Finds the member of a union that a value belongs to."""

from __future__ import annotations

import collections.abc
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from servey.graphql.schema.shapes import EnumOf, Leaf, ListOf, Member, ObjectOf, Place, UnionOf

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "BigInt": (int,),
    "Boolean": (bool,),
    "Date": (dt.date,),
    "DateTime": (dt.datetime,),
    "Decimal": (Decimal,),
    "Duration": (dt.timedelta,),
    "Float": (float, int),
    "ID": (str,),
    "Int": (int,),
    "String": (str,),
    "Time": (dt.time,),
    "UUID": (uuid.UUID,),
    "Void": (type(None),),
}
_MAX_DEPTH = 20
_MAX_ITEMS = 100


def member_of(union: UnionOf, value: Any) -> ObjectOf | None:
    """Return the member that a value is an instance of, or None.

    The closest class wins. Parametrizations of one generic class have the same class at run time, so their fields decide.
    """
    for cls in type(value).__mro__:
        candidates = [choice for choice in union.choices if choice.cls is cls]
        if not candidates:
            candidates = [choice for choice in union.choices if origin_of(choice.cls) is cls]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            annotation = getattr(value, "__orig_class__", None)
            declared = [choice for choice in candidates if annotation is not None and choice.annotation == annotation]
            return next((choice for choice in [*declared, *candidates] if _has_fields(value, choice, 0)), candidates[0])
    return None


def origin_of(cls: Any) -> Any:
    """Return the generic class of a parametrized Pydantic model, or the class itself."""
    generic = getattr(cls, "__pydantic_generic_metadata__", None)
    return (generic and generic["origin"]) or cls


def _has_fields(value: Any, shape: ObjectOf, depth: int) -> bool:
    return depth > _MAX_DEPTH or all(_fits_member(value, shape, member, depth) for member in shape.members.values())


def _fits_member(value: Any, shape: ObjectOf, member: Member, depth: int) -> bool:
    if member.read is not None:
        return True
    try:
        item = value[member.key] if shape.keyed else getattr(value, member.key)
    except KeyError:
        return not member.required or member.place.nullable
    except AttributeError:
        return False
    return _fits(item, member.place, depth + 1)


def _fits(value: Any, place: Place, depth: int) -> bool:
    shape = place.shape
    if value is None:
        return place.nullable
    if isinstance(shape, ListOf):
        if not isinstance(value, collections.abc.Collection) or isinstance(value, str | bytes | dict):
            return False
        items = zip(range(_MAX_ITEMS), value, strict=False)
        return all(_fits(item, shape.item, depth) for _, item in items)
    if isinstance(shape, UnionOf):
        return any(_fits(value, Place(choice), depth) for choice in shape.choices)
    if isinstance(shape, EnumOf):
        return any(value is each or (type(value) is type(each) and value == each) for each in shape.members.values())
    if isinstance(shape, Leaf):
        expected = _PYTHON_TYPES.get(shape.scalar)
        if expected is None or place.dump is not None:
            return True
        if isinstance(value, bool):
            return shape.scalar == "Boolean"
        return isinstance(value, expected) and not (shape.scalar == "Date" and isinstance(value, dt.datetime))
    expected_type = dict if shape.keyed else origin_of(shape.cls)
    return isinstance(value, expected_type) and _has_fields(value, shape, depth)
