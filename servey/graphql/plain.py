"""The fields of a schema outside of a GraphQL engine: arguments and results as plain JSON, for a gateway such as AppSync.

A gateway executes the document itself and calls one field at a time. It shows clients only what its schema has, and sends
the whole object back when a field is a method of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic_core import to_jsonable_python

from servey.core.actions import Action
from servey.core.payloads import NotStorable, Payload, payload_of_value
from servey.graphql.schema.fields import fields_of, shapes_of
from servey.graphql.schema.shapes import EnumOf, Field, ListOf, Member, ObjectOf, Place, UnionOf
from servey.graphql.schema.unions import member_of
from servey.runtime.runtime import Runtime

WHOLE = "_servey"
"""The key of the whole object, for a class with methods whose visible fields are not enough to restore it. No schema has
this field."""


@dataclass(frozen=True, eq=False)
class PlainField:
    """A field of the schema. Shape: ``owner`` is the type that it is a method of."""

    field: Field
    owner: ObjectOf | None = None

    @property
    def action(self) -> Action:
        """The action that the field calls."""
        return self.field.action

    def params(self, arguments: Mapping[str, Any], source: Any) -> dict[str, Any]:
        """Return the action's parameters for the arguments of the field and its object.

        A value that does not match its type is passed on unchanged, and the action's validator reports it.
        """
        known = self.field.arguments
        given = {
            known[name].key if name in known else name: _read(known[name].place, value) if name in known else value
            for name, value in arguments.items()
        }
        return given if self.owner is None else {**given, "self": _parent(self.owner, source)}

    def shown(self, result: Any) -> Any:
        """Return a result as the schema shows it: fields by their GraphQL names, by the serializers of their types."""
        return _shown(_dumped(self.field.place, result), self.field.place)


def plain_fields(runtime: Runtime) -> Callable[[str, str], PlainField | None]:
    """Return a function that finds a field by the names of its type and of itself. Errors: ConfigError."""
    fields = fields_of(runtime)
    found: dict[tuple[str, str], PlainField] = {}
    for root, members in (("Query", fields.queries), ("Mutation", fields.mutations)):
        found |= {(root, name): PlainField(each) for name, each in members.items()}
    for shape in shapes_of(fields):
        if isinstance(shape, ObjectOf):
            found |= {(shape.name, name): PlainField(each, shape) for name, each in shape.actions.items()}
    return lambda parent, name: found.get((parent, name))


# ---------------------------------------------------------------------------------------------------------- input


def _read(place: Place, value: Any) -> Any:
    shape = place.shape
    if isinstance(shape, ListOf):
        return [_read(shape.item, item) for item in value] if isinstance(value, list) else value
    if isinstance(shape, EnumOf) and isinstance(value, str) and value in shape.members:
        member = shape.members[value]
        return member.value if isinstance(member, Enum) else member
    if isinstance(shape, ObjectOf) and isinstance(value, Mapping):
        return _members(shape, value)
    return value


def _members(shape: ObjectOf, value: Mapping[str, Any]) -> dict[str, Any]:
    return {each.key: _read(each.place, value[name]) for name, each in shape.members.items() if name in value}


def _parent(owner: ObjectOf, source: Any) -> Any:
    if not isinstance(source, Mapping):
        return source
    whole = source.get(WHOLE)
    if isinstance(whole, Mapping) and "params" in whole:
        return Payload(whole["params"], whole.get("tagged") is True).read()
    return _members(owner, source)


# --------------------------------------------------------------------------------------------------------- output


def _dumped(place: Place, value: Any) -> Any:
    return value if place.dump is None else place.dump(value)


def _shown(value: Any, place: Place) -> Any:
    shape = place.shape
    if value is None:
        return None
    if isinstance(shape, ListOf):
        return [_shown(item, shape.item) for item in value]
    if isinstance(shape, EnumOf):
        return next((name for name, each in shape.members.items() if _is_member(value, each)), value)
    if isinstance(shape, UnionOf):
        choice = member_of(shape, value)
        return to_jsonable_python(value) if choice is None else _shown_object(value, choice)
    return _shown_object(value, shape) if isinstance(shape, ObjectOf) else to_jsonable_python(value)


def _is_member(value: Any, member: Any) -> bool:
    return value is member or (type(value) is type(member) and value == member) or getattr(member, "value", ()) == value


def _shown_object(value: Any, shape: ObjectOf) -> dict[str, Any]:
    made = {name: _shown(_value_of(value, each, shape), each.place) for name, each in shape.members.items()}
    whole = _whole(value) if shape.actions else None
    if whole is not None and whole.params != _members(shape, made):
        # A method needs the values that serializers hide or change.
        made[WHOLE] = {"params": whole.params, "tagged": whole.tagged}
    return made


def _whole(value: Any) -> Payload | None:
    try:
        return payload_of_value(value)
    except NotStorable:
        return None


def _value_of(value: Any, member: Member, shape: ObjectOf) -> Any:
    if member.read is not None:
        return member.read(value)
    found = value.get(member.key) if shape.keyed else getattr(value, member.key)
    return _dumped(member.place, found)
